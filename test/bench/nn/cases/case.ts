/** One op at a shape of a named model, beside what a user would take instead. */
import type { OpSpec, Tensor } from '@msd/core/nn';
import type { DataTypeName, NodeSpec, TensorSpec } from '@msd/onnx/write';
import { gaussian } from '../../models/random.ts';
import { DECODE_ROWS, PREFILL_ROWS } from '../../shapes.ts';

export type Data = Float32Array | Int32Array | Uint8Array;

/** The op as nodes of a graph. */
export interface OnnxForm {
  /** Over x0, x1, … (the inputs by number) and `also`; they give y0, y1, … */
  readonly nodes: readonly NodeSpec[];
  /** Constants that are no inputs of the op. */
  readonly also?: readonly TensorSpec[];
  /** Inputs that onnxruntime-web wants in another type, by number. */
  readonly as?: Readonly<Record<number, Omit<TensorSpec, 'name'>>>;
}

export interface NnCase<O> {
  readonly op: O;
  readonly inputs: readonly (Tensor | undefined)[];
  /** Numbers of the inputs that belong to the model: constants of a session. */
  readonly constants?: readonly number[];
  readonly onnx: OnnxForm;
  /** The loop that one would write, over the inputs that are there. Overwrites the outputs. */
  plain(inputs: readonly Data[], outputs: readonly Data[]): void;
  /** What has to be read and written. Default: all bytes of all operands. */
  readonly bytes?: number;
  /** Multiplications with an addition each. */
  readonly macs?: number;
  /** What the machine could not do faster: reading so many bytes, or multiplying and adding f32. Absent: neither is near. */
  readonly limit?: 'read' | 'mulAdd';
}

/** A case at several numbers of rows. */
export interface NnEntry {
  readonly spec: OpSpec<unknown>;
  /** What it does, and in which model. */
  readonly name: string;
  readonly rows: readonly number[];
  at(M: number): NnCase<unknown>;
}

/** `caseOf(norm)('RMSNorm, Qwen2.5-0.5B', (M) => ({ … }))` */
export const caseOf =
  <O>(spec: OpSpec<O>) =>
  (name: string, at: (M: number) => NnCase<O>): NnEntry => ({
    spec: spec as OpSpec<unknown>,
    name,
    rows: [DECODE_ROWS, PREFILL_ROWS],
    at,
  });

/** Elements of a tensor. */
export const count = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);

/** Normally distributed. */
export const f32 = (dims: readonly number[], seed = 1): Tensor => ({
  dtype: 'f32',
  dims,
  data: gaussian(count(dims), seed),
});

/** Numbers below `below`, spread over all of them. */
export const indices = (dims: readonly number[], below: number): Tensor => ({
  dtype: 'i32',
  dims,
  data: Int32Array.from({ length: count(dims) }, (_, i) => (i * 7919 + 13) % below),
});

export const int64 = ({ dims, data }: Tensor): Omit<TensorSpec, 'name'> => ({
  dtype: 'int64',
  dims,
  data: BigInt64Array.from(data as Int32Array, BigInt),
});

/** int64 values that a graph holds: axes, bounds, a shape. */
export const ints = (name: string, ...values: number[]): TensorSpec => ({
  name,
  dtype: 'int64',
  dims: [values.length],
  data: BigInt64Array.from(values, BigInt),
});

export const DTYPES = { f32: 'float32', i32: 'int32', bool: 'bool' } as const satisfies Record<string, DataTypeName>;

export const node = (
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: NonNullable<NodeSpec['attributes']> = {},
): NodeSpec => ({ opType, inputs, outputs, attributes });

/** A node of onnxruntime's own. */
export const microsoft = (...[opType, inputs, outputs, attributes]: Parameters<typeof node>): NodeSpec => ({
  ...node(opType, inputs, outputs, attributes),
  domain: 'com.microsoft',
});
