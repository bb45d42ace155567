/** One kernel on a memory, without the cache and the warm-up that backends put around it: for peaks, tests and benchmarks. */
import { Module } from './emitter.ts';

export function instantiate(
  memory: WebAssembly.Memory,
  id: string,
  emit: (module: Module) => void,
): (...args: number[]) => void {
  const module = new Module();
  emit(module);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.toBytes()), { env: { memory } });
  return exports[id] as (...args: number[]) => void;
}
