/** Kernels of a family in tests: called by the names of their arguments. */
import { argsOf, argumentList, type KernelSpec, kernelOf } from '../src/kernel-spec.ts';
import { Module } from '../src/wasm/emitter.ts';
import { instantiate } from './instantiate.ts';

/** A kernel on a memory. */
export function kernelOn<P, A extends string>(
  memory: WebAssembly.Memory,
  spec: KernelSpec<P, A>,
  params: NoInfer<P>,
): (args: Readonly<Record<A, number>>) => void {
  const kernel = instantiate(memory, spec.id(params), (module) => spec.emit(module, params));
  return (args) => kernel(...argumentList<P, A, number>(spec, params, args));
}

function bytesOf<P>(spec: KernelSpec<P>, params: P): Uint8Array<ArrayBuffer> {
  const module = new Module();
  spec.emit(module, params);
  return module.toBytes();
}

/**
 * What holds for every family: one function of its id per variant, different ids, and a trial call that stays inside 64 KiB.
 * @throws if not
 */
export function checkFamily<P, A extends string>(spec: KernelSpec<P, A>): void {
  const ids = new Set<string>();
  for (const params of spec.variants()) {
    const { id, trial } = kernelOf(spec, params);
    if (ids.has(id)) throw new Error(`${spec.family}: two variants are called ${id}.`);
    ids.add(id);
    const memory = new WebAssembly.Memory({ initial: 3 });
    const module = new WebAssembly.Module(bytesOf(spec, params));
    const exports = WebAssembly.Module.exports(module).map(({ name }) => name);
    if (exports.join() !== id) throw new Error(`${spec.family}: ${id} exports ${exports.join()}.`);
    const kernel = new WebAssembly.Instance(module, { env: { memory } }).exports[id] as (...args: number[]) => void;
    if (kernel.length !== argsOf(spec, params).length)
      throw new Error(`${id}: takes ${kernel.length} arguments, names ${argsOf(spec, params).length}.`);
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(0xa5, 0, 65536);
    bytes.fill(0xa5, 2 * 65536);
    kernel(...trial(65536));
    const outside = bytes.findIndex((byte, i) => byte !== 0xa5 && (i < 65536 || i >= 2 * 65536));
    if (outside >= 0) throw new Error(`${id}: its trial call wrote at ${outside - 65536} of 65536 bytes.`);
  }
}
