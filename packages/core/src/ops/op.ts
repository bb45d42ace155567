/**
 * An op: one step of a program, on every device. Its description is plain data (what to do, no addresses). Its spec
 * defines the types of the results, the mathematics, and the kernels.
 *
 *   infer -> (the program plans where values lie) -> wasm | wgsl -> a device binds the calls to addresses and runs them
 */
import type { Arithmetic } from '../decompose/decompose.reference.ts';
import type { KernelCall } from '../kernel-spec.ts';

/** What a value's elements are. bool is one byte, 0 or 1. */
export type DType = 'f32' | 'i32' | 'bool';

/** A dense value, row-major. */
export interface TensorType {
  readonly dtype: DType;
  readonly dims: readonly number[];
}

/** A value in JavaScript memory, for references. */
export interface Tensor extends TensorType {
  readonly data: Float32Array | Float64Array | Int32Array | Uint8Array;
}

/** The kernel calls of an op, in order. */
export interface KernelPlan {
  readonly calls: readonly KernelCall[];
  /** Bytes that the calls share while they run; 64-byte aligned. */
  readonly scratchBytes: number;
}

/**
 * One dispatch of an op on a GPU. Its code knows operands by name; the device decides where they lie and which of them
 * share a buffer. The device declares the parameters (`p.name`) and, for an operand called `x`,
 *
 *   f32, i32   fn x(i: u32) -> f32 | i32, and of an output fn set_x(i: u32, value: f32 | i32)
 *   bool       fn x(i: u32) -> bool, and of an output fn set_x(i: u32, four: u32): the bools from 4·i on, a byte each
 */
export interface WgslCall {
  /** The id of the code and of the names in it: equal ids mean equal code. */
  readonly id: string;
  /** Operand numbers by name: inputs (absent ones too), then outputs. An absent operand has no name. */
  readonly operands: Readonly<Record<string, number>>;
  /** u32 values, or f32 values as bits. */
  readonly params: Readonly<Record<string, number>>;
  /** Functions and `main`; neither bindings nor parameters. */
  code(): string;
  /** In a row; `LINEAR_ID` finds a workgroup's number, however many dimensions they take. */
  readonly workgroups: number;
}

export interface OpSpec<O> {
  readonly name: string;
  /**
   * Types of the outputs. Absent optional inputs are `undefined`.
   * @throws {@link RangeError} that names the op, the operand, what was expected and got
   */
  infer(op: O, inputs: readonly (TensorType | undefined)[]): readonly TensorType[];
  /**
   * The specification. 'float64' is the mathematics (f32 outputs are Float64Arrays then), 'float32' the bits that every WASM
   * kernel has to give. Without it, the op does not run on the reference.
   */
  reference?(op: O, inputs: readonly (Tensor | undefined)[], outputs: readonly Tensor[], arithmetic: Arithmetic): void;
  /** WebAssembly calls. Operands are numbered: inputs (absent ones too), then outputs. Nothing in it depends on addresses. */
  wasm(op: O, inputs: readonly (TensorType | undefined)[], outputs: readonly TensorType[]): KernelPlan;
  /** WebGPU dispatches, in order. Without it, the op does not run on a GPU. Nothing in it depends on where operands lie. */
  wgsl?(op: O, inputs: readonly (TensorType | undefined)[], outputs: readonly TensorType[]): readonly WgslCall[];
  /** May this output lie where that input lies, if both have the same type and dimensions? Default: no. */
  inPlace?(op: O, output: number, input: number): boolean;
}

/** An op that the reference runs, too. */
export type CompleteOp<O> = OpSpec<O> & Required<Pick<OpSpec<O>, 'reference'>>;

/**
 * An op with what devices other than WASM need of it. That is half of its code: bundlers leave it out of pages that use
 * `op` alone.
 */
export const complete = <O>(op: OpSpec<O>, more: Pick<CompleteOp<O>, 'reference' | 'wgsl'>): CompleteOp<O> => ({
  ...op,
  ...more,
});

/** May an output lie where an input lies? */
export function mayReplace<O>(
  { spec, op, inputs }: { spec: OpSpec<O>; op: O; inputs: readonly (TensorType | undefined)[] },
  outputs: readonly TensorType[],
  output: number,
  input: number,
): boolean {
  const [from, to] = [inputs[input], outputs[output]];
  const isSame = from?.dtype === to.dtype && from.dims.join() === to.dims.join();
  return isSame && spec.inPlace?.(op, output, input) === true;
}

/** Arrays that hold a value's elements, as they lie in memory. */
export const tensorArrays = { f32: Float32Array, i32: Int32Array, bool: Uint8Array } as const;

export const byteSize = (dtype: DType): 1 | 4 => (dtype === 'bool' ? 1 : 4);
export const elementCount = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);
export const byteLength = ({ dtype, dims }: TensorType): number => byteSize(dtype) * elementCount(dims);
