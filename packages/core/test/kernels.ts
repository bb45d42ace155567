/** Kernels of a family in tests: called by the names of their arguments. */
import { argumentList, type KernelFamily, type KernelSpec } from '../src/kernel-spec.ts';
import { Module } from '../src/wasm/emitter.ts';
import { relaxedDot } from '../src/wasm/features.ts';
import { instantiate } from '../src/wasm/instantiate.ts';

/** A kernel on a memory. */
export function kernelOn<P, A extends string>(
  memory: WebAssembly.Memory,
  spec: KernelSpec<P, A>,
  params: NoInfer<P>,
): (args: Readonly<Record<A, number>>) => void {
  const kernel = instantiate(memory, spec.id(params), (module) => spec.emit(module, params));
  return (args) => kernel(...argumentList<P, A, number>(spec, params, args));
}

const CANARY = 0xa5;

/** First byte that is no canary outside of the second 64 KiB, or -1. Thousands of kernels are asked: a plain loop. */
function firstWritten(bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== CANARY && (i < 65536 || i >= 2 * 65536)) return i;
  return -1;
}

/**
 * What holds for every family: one function of its id per kernel, different ids, and a trial call that stays inside 64 KiB.
 * @throws if not
 */
export function checkFamily({ family, kernels }: KernelFamily): void {
  const ids = new Set<string>();
  for (const { id, emit, trial, fill } of kernels()) {
    if (ids.has(id)) throw new Error(`${family}: two kernels are called ${id}.`);
    ids.add(id);
    const memory = new WebAssembly.Memory({ initial: 3 });
    const written = new Module();
    emit(written);
    const code = written.toBytes();
    if (!relaxedDot() && !WebAssembly.validate(code)) continue; // never dispatched: no such instructions
    const module = new WebAssembly.Module(code);
    const exports = WebAssembly.Module.exports(module).map(({ name }) => name);
    if (exports.join() !== id) throw new Error(`${family}: ${id} exports ${exports.join()}.`);
    const kernel = new WebAssembly.Instance(module, { env: { memory } }).exports[id] as (...args: number[]) => void;
    const args = trial(65536);
    if (kernel.length !== args.length || !args.every(Number.isInteger))
      throw new Error(`${id}: takes ${kernel.length} arguments, its trial has [${args}].`);
    const bytes = new Uint8Array(memory.buffer);
    fill?.(new Int32Array(memory.buffer, 65536, 16384), 65536);
    bytes.fill(CANARY, 0, 65536);
    bytes.fill(CANARY, 2 * 65536);
    kernel(...args);
    const outside = firstWritten(bytes);
    if (outside >= 0) throw new Error(`${id}: its trial call wrote at ${outside - 65536} of 65536 bytes.`);
  }
}
