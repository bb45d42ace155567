/** Runs ops in tests: their kernels on a memory of their own, their references beside them. */
import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import type { Arithmetic } from '../src/decompose/decompose.reference.ts';
import { type Arg, argsOf, type KernelCall, type KernelSpec } from '../src/kernel-spec.ts';
import {
  byteLength,
  type DType,
  elementCount,
  type OpSpec,
  type Tensor,
  type TensorType,
  tensorArrays,
} from '../src/ops/op.ts';
import { Module } from '../src/wasm/emitter.ts';
import { instantiate } from '../src/wasm/instantiate.ts';

const LINE = 64;
const CANARY = 0xa5;
type Kernel = (...args: number[]) => void;
/** One for all runs: thousands of memories would reserve address space, and wait for a collector. */
const memory = new WebAssembly.Memory({ initial: 1 });
const kernels = new Map<string, Kernel>();

export const tensor = (dtype: DType, dims: readonly number[], values: ArrayLike<number>): Tensor => ({
  dtype,
  dims,
  data: tensorArrays[dtype].from(values),
});

const typed = ({ dtype, dims }: TensorType, arithmetic: Arithmetic): Tensor => ({
  dtype,
  dims,
  data: new (dtype === 'f32' && arithmetic === 'float64' ? Float64Array : tensorArrays[dtype])(elementCount(dims)),
});

/** Outputs of the reference. */
export function referenceOp<O>(
  spec: OpSpec<O>,
  op: O,
  inputs: readonly (Tensor | undefined)[],
  arithmetic: Arithmetic = 'float32',
): Tensor[] {
  const outputs = spec.infer(op, inputs).map((type) => typed(type, arithmetic));
  spec.reference!(op, inputs, outputs, arithmetic);
  return outputs;
}

/** An output that lies where an input lies. */
interface InPlace {
  readonly output: number;
  readonly input: number;
}

/** @param cuts chunks that the rows of every shared call are cut into: results must not depend on it */
export function wasmOp<O>(
  spec: OpSpec<O>,
  op: O,
  inputs: readonly (Tensor | undefined)[],
  cuts = 1,
  inPlace?: InPlace,
): Tensor[] {
  const types = spec.infer(op, inputs);
  const { calls, scratchBytes } = spec.wasm(op, inputs, types);
  const sizes = [...inputs.map((input) => (input ? byteLength(input) : 0)), ...types.map(byteLength)];
  const isAbsent = (i: number) => i < inputs.length && !inputs[i];
  let top = LINE;
  const place = (length: number) => {
    const at = top + LINE; // between canaries
    top = at + Math.ceil(length / LINE) * LINE + LINE;
    return at;
  };
  const places = [...sizes.map((size, i) => (isAbsent(i) ? 0 : place(size))), place(scratchBytes * cuts)];
  // Behind the last canaries memory ends: what runs on traps.
  const bytes = memoryOf(top);
  const begin = bytes.length - top;
  const [scratch, ...addresses] = [places.pop()!, ...places].map((at) => (at === 0 ? 0 : begin + at));
  if (inPlace) addresses[inputs.length + inPlace.output] = addresses[inPlace.input];
  bytes.fill(CANARY, begin);
  inputs.forEach((input, i) => {
    if (input) bytes.set(new Uint8Array(input.data.buffer, input.data.byteOffset, input.data.byteLength), addresses[i]);
  });
  const before = bytes.slice(begin);
  for (const call of calls) runCall(call, addresses, scratch, cuts);
  const written = [...types.keys()].map((i) => [addresses[inputs.length + i], byteLength(types[i])]);
  for (const [at, length] of [...written, [scratch, scratchBytes * cuts]])
    before.set(bytes.subarray(at, at + length), at - begin);
  const changed = firstDifference(before, bytes.subarray(begin));
  if (changed >= 0) {
    const operand = addresses.findLastIndex((at) => at <= begin + changed + LINE);
    const from = changed + begin - addresses[operand];
    expect.fail(`${spec.name}: byte ${from} of operand ${operand}, which has ${sizes[operand]}, was written.`);
  }
  return types.map((type, i) => {
    const data = bytes.slice(addresses[inputs.length + i], addresses[inputs.length + i] + byteLength(type));
    return { ...type, data: new tensorArrays[type.dtype](data.buffer) };
  });
}

function runCall(call: KernelCall, addresses: readonly number[], scratch: number, cuts: number) {
  const kernel = kernelOf(call);
  const { rows: total } = call.share ?? { rows: 0 };
  const size = Math.max(1, Math.ceil(total / (call.share ? cuts : 1)));
  for (let row = 0, thread = 0; row === 0 || row < total; row += size, thread++) {
    const rows = Math.min(size, total - row);
    const argument = ({ operand, scratch: own, value = 0, perRow = 0, rows: times = 0, perThread = 0 }: Arg) =>
      value +
      (operand === undefined ? 0 : addresses[operand]) +
      (own ? scratch : 0) +
      perRow * row +
      times * rows +
      perThread * thread;
    kernel(...call.args.map(argument));
  }
}

/** All of it, at least so many bytes. */
function memoryOf(byteLength: number): Uint8Array<ArrayBuffer> {
  const missing = byteLength - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / 65536));
  return new Uint8Array(memory.buffer);
}

function kernelOf(call: KernelCall): Kernel {
  let known = kernels.get(call.id);
  if (!known) kernels.set(call.id, (known = instantiate(memory, call.id, (module) => call.emit(module))));
  return known;
}

/** The kernels give the bits of the f32 contract, in any number of chunks, and in place where the op allows it. NaN equals any NaN. */
export function expectBits<O>(spec: OpSpec<O>, op: O, inputs: readonly (Tensor | undefined)[]): Tensor[] {
  const expected = referenceOp(spec, op, inputs);
  const check = (cuts: number, inPlace?: InPlace) =>
    wasmOp(spec, op, inputs, cuts, inPlace).forEach((output, i) => {
      const at = firstDifference(expected[i].data, output.data);
      if (at < 0) return;
      const types = inputs.map((input) => input && `${input.dtype}[${input.dims}]`).join(', ');
      const how = `${cuts} chunks${inPlace ? `, output ${inPlace.output} in place of input ${inPlace.input}` : ''}`;
      expect.fail(
        `${spec.name} ${JSON.stringify(op)} of ${types}: output ${i} at ${at}, expected ${expected[i].data[at]}, got ${output.data[at]} (${how}).`,
      );
    });
  for (const cuts of [1, 3]) check(cuts);
  for (const [output, type] of expected.entries())
    for (const [input, own] of inputs.entries())
      if (own?.dtype === type.dtype && own.dims.join() === type.dims.join() && spec.inPlace?.(op, output, input))
        check(1, { output, input });
  return expected;
}

function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return i;
  return -1;
}

/** The trial of every kernel of a family writes nothing but the 64 KiB that it is given. */
export function expectTrials<P>(spec: KernelSpec<P>, variants: () => Iterable<P>): void {
  const at = 65536;
  for (const params of variants()) {
    const memory = new WebAssembly.Memory({ initial: 3 });
    const bytes = new Uint8Array(memory.buffer).fill(CANARY);
    bytes.fill(0, at, 2 * at);
    const values = spec.trial(params, at);
    const module = new Module();
    spec.emit(module, params);
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.toBytes()), { env: { memory } });
    (exports[spec.id(params)] as (...args: number[]) => void)(...argsOf(spec, params).map((name) => values[name]));
    const outside = [bytes.subarray(0, at), bytes.subarray(2 * at)].flatMap((part) =>
      part.findIndex((byte) => byte !== CANARY),
    );
    expect(outside, spec.id(params)).toEqual([-1, -1]);
  }
}

/** Every kernel of a family that ships, by the hash of its bytes. @param limit that a page may compile synchronously: 4 KB */
export function kernelHashes<P>(spec: KernelSpec<P>, variants: () => Iterable<P>, limit = 4096): string[] {
  return Array.from(variants(), (params) => {
    const module = new Module();
    spec.emit(module, params);
    const bytes = module.toBytes();
    expect(bytes.length, spec.id(params)).toBeLessThan(limit);
    return `${spec.id(params)} ${bytes.length} ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
  });
}
