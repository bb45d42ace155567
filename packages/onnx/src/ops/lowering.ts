/**
 * The steps that a match becomes when a region is planned: steps over slots, with all sizes known. Steps are plain
 * data, so that later passes can put them together (plan/fuse.ts) before anything is bound to addresses.
 */
import {
  type ActivationId,
  type AttentionOp,
  type HeadStrides,
  headMajor,
  type KvShape,
  rowMajor,
  type ScoreArray,
} from '@msd/core';
import type { DType, OpSpec, Table } from '@msd/core/nn';
import type { Concrete, Info } from '../ir/info.ts';
import type { TensorRef } from '../read/tensor.ts';
import type { Matrix } from '../weights/matrix.ts';

/** A value on the device while a region is planned. */
export interface Slot {
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** The slot whose bytes these are: itself, unless the value is another one under other dims. */
  readonly root: Slot;
  /** Elements of it before these. Default 0. */
  readonly begin?: number | undefined;
}

/** Elements of a slot from `begin` on, under dims of their own. */
export function part({ dtype, root, begin: before = 0 }: Slot, begin: number, dims: readonly number[]): Slot {
  return { dtype, dims, root, begin: before + begin };
}

/** What a match needs from the file, by a key that equal needs share. */
export type Resource =
  | { readonly kind: 'matrix'; readonly key: string; readonly matrix: Matrix }
  /**
   * A tensor of floats, ints or bools on the device; `transposed` = the last two dimensions exchanged, `arranged` = in an order of
   * its own.
   */
  | {
      readonly kind: 'values';
      readonly key: string;
      readonly info: Info;
      readonly tensor: TensorRef | undefined;
      readonly transposed: boolean;
      readonly arranged?: Arranged | undefined;
    }
  /** A table whose rows are read from the file when they are asked for. */
  | {
      readonly kind: 'table';
      readonly key: string;
      readonly table: TableRef;
      /** Key of a matrix that has the same rows: if a product needs it, they are read there, and not from the file. */
      readonly twin?: string | undefined;
    };

/** Floats as a kernel wants them. */
export interface Arranged {
  readonly dims: readonly number[];
  of(values: Float32Array): Float32Array;
}

/** A table of the file and what its rows are made of. */
export interface TableRef extends Table {
  readonly data: TensorRef;
  /** A number: of all rows. */
  readonly scales?: TensorRef | number | undefined;
  readonly zeroPoints?: TensorRef | undefined;
}

export interface ProductStep {
  readonly kind: 'product';
  readonly x: Slot;
  readonly matrix: string;
  readonly bias?: Slot | undefined;
  readonly activation?: ActivationId | undefined;
  readonly multiply?: Slot | undefined;
  readonly residual?: Slot | undefined;
  readonly y: Slot;
}

export interface OpStep {
  readonly kind: 'op';
  /** By its name: an expression of floats. */
  readonly spec: OpSpec<never> | 'elementwise';
  readonly op: unknown;
  readonly inputs: readonly (Slot | undefined)[];
  readonly outputs: readonly Slot[];
  /** It brings an image [batch, …, channels] into the order of ONNX. */
  readonly isToChannels?: true | undefined;
}

/** Rows of a table, copied by JavaScript. */
export interface RowsStep {
  readonly kind: 'rows';
  readonly table: string;
  /** Name of the indices: a value in JavaScript. */
  readonly indices: string;
  /** The indices, if they are the same in every run. */
  readonly known: readonly number[] | undefined;
  readonly y: Slot;
}

/** Elements of a slot from `begin` on: queries, keys and values may lie side by side. */
export interface Part {
  readonly slot: Slot;
  readonly begin: number;
}

/** Queries, keys or values, and where their heads lie in them. */
export interface Heads extends Part {
  readonly strides: HeadStrides;
}

/** Heads side by side in rows: [batch, rows, heads · size]; from element `begin` on of rows that hold more. */
export function headsOfRows(slot: Slot, rows: number, size: number, begin = 0): Heads {
  return { slot, begin, strides: rowMajor(rows, size, slot.dims.at(-1)!) };
}

/** [batch, heads, rows, size] */
export function headsFirst(slot: Slot): Heads {
  const [, heads, rows, size] = slot.dims as readonly [number, number, number, number];
  return { slot, begin: 0, strides: headMajor(heads, rows, size) };
}

/** A value of JavaScript in a run: int64 as numbers. */
export interface Elements {
  readonly dims: readonly number[];
  readonly data: ArrayLike<number>;
}

/** What attention is told anew in every run, from values of JavaScript: a plan does not depend on it. */
export interface LateAttention {
  /** Names of the values. */
  readonly needs: readonly string[];
  /** @param pastRows positions of `past`, valid or not */
  at(values: readonly Elements[], pastRows: number): AttentionNow;
}

export interface AttentionNow {
  /** Keys of each sequence that are valid before the run. Default: all of `past`. */
  readonly past?: readonly number[] | undefined;
  /** New keys of each sequence that count. Default: all. */
  readonly counts?: readonly number[] | undefined;
  /** Queries of each sequence that count; 0 comes of the rest. Default: those of keys that count. */
  readonly queries?: readonly number[] | undefined;
  /** No key after a query's own position is seen. Default: as the op says. */
  readonly isCausal?: boolean | undefined;
  /** First key of each sequence that may be seen. Default: 0. */
  readonly starts?: readonly number[] | undefined;
  readonly bias?: ScoreArray<Float32Array> | undefined;
  readonly mask?: ScoreArray<Uint8Array> | undefined;
  /** Positions of `present`. Default: of the longest sequence. */
  readonly rows?: number | undefined;
}

/** Names of keys and values; '' = there is none. The same name twice: both in one tensor [2, batch, heads, positions, size]. */
export interface KvNames {
  readonly key: string;
  readonly value: string;
}

/** Scales of keys and values that a model wants as int8 in `past` and `present`: one, or one of each channel of each KV head. */
export interface KvScales {
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

/** Keys and values that outlive a run. */
export interface CacheRef {
  readonly past: KvNames;
  readonly present: KvNames;
  /** The step is given multiples of them, none beyond int8. Absent: `past` and `present` are floats. */
  readonly scales?: KvScales | undefined;
  /** That a mask of the file has columns for. */
  readonly mostKeys?: number | undefined;
}

/** @throws {@link RangeError} for more keys than a mask has columns for, as ONNX Runtime refuses them */
export function checkKeys(keys: number, most: number | undefined): void {
  if (most !== undefined && keys > most)
    throw new RangeError(
      `run: attention: keys, expected at most ${most}, as the model's mask has columns, got ${keys}.`,
    );
}

/** Attention. Types of its operands: f32, `mask` bool. */
export interface AttentionStep {
  readonly kind: 'attention';
  readonly op: AttentionOp;
  readonly q: Part;
  readonly k?: Part | undefined;
  readonly v?: Part | undefined;
  readonly sinks?: Slot | undefined;
  readonly bias?: Slot | undefined;
  readonly mask?: Slot | undefined;
  readonly y: Slot;
  /** What its cache is made with, beside what `op` says. */
  readonly shape?: Pick<KvShape, 'factors' | 'rotarySize' | 'isInterleaved'> | undefined;
  /** Absent: keys and values of this run alone. */
  readonly cache?: CacheRef | undefined;
  readonly late?: LateAttention | undefined;
}

/** Writes rows of a table, as floats, one after the other. */
export type ReadRows = (indices: readonly number[], out: Float32Array) => void;

/** What JavaScript computes anew in every run: whole numbers, or rows of tables. */
export interface Computation {
  /** The same key: the same numbers. */
  readonly key: string;
  readonly dims: readonly number[];
  /** Names of the values of JavaScript that it is told. */
  readonly needs: readonly string[];
  /** Keys of the tables that it reads; absent: it gives whole numbers. */
  readonly tables?: readonly string[] | undefined;
  /** `false`: `out` is what it was after the last run. */
  readonly compute: (
    values: readonly Elements[],
    out: Int32Array | Float32Array,
    tables: readonly ReadRows[],
  ) => unknown;
}

export interface ComputedStep extends Computation {
  readonly kind: 'computed';
  /** Look at indices before they are used. */
  readonly checks: ((indices: Int32Array) => void)[];
  readonly to: Slot;
}

/** Keys of an expert's matrices: [inner, hidden], two where one gates the other; then [hidden, inner]. */
export interface Expert {
  readonly up: readonly string[];
  readonly down: string;
}

/** Products with the matrices that scores choose for each row. */
export interface ExpertsStep {
  readonly kind: 'experts';
  /** [..., hidden] */
  readonly x: Slot;
  /** [rows, experts] */
  readonly scores: Slot;
  /** Experts of each row. */
  readonly k: number;
  /** What the chosen ones count, [rows, experts], divided by their sum if `normalized`. Absent: the softmax of their scores. */
  readonly weights: { readonly slot: Slot; readonly normalized: boolean } | undefined;
  readonly experts: readonly Expert[];
  readonly inner: number;
  readonly activation: ActivationId | undefined;
  /** silu(alpha · g) / alpha · (v + beta), g up to the limit and v within it. */
  readonly gate: { readonly alpha: number; readonly beta: number; readonly limit: number } | undefined;
  /** [experts, inner] for each of `up`, [experts, hidden] */
  readonly upBias: Slot | undefined;
  readonly downBias: Slot | undefined;
  /** What a run needs in between: [rows, k], [rows, hidden], [rows, inner] each, [rows, inner], [rows, hidden]. */
  readonly room: {
    readonly weights: Slot;
    readonly rows: Slot;
    readonly up: readonly Slot[];
    readonly act: Slot;
    readonly down: Slot;
  };
  readonly y: Slot;
}

/** Slots that nobody needs after the step. */
export const roomOf = ({ room: { weights, rows, up, act, down } }: ExpertsStep): Slot[] => [
  weights,
  rows,
  ...up,
  act,
  down,
];

/** A recurrent layer, position by position. */
export interface RecurrentStep {
  readonly kind: 'recurrent';
  /** [positions, batch, K] */
  readonly x: Slot;
  /** With keys of their matrices: [gates · hidden, K] for x, and what the cell multiplies the state with. */
  readonly directions: readonly {
    readonly isReversed: boolean;
    readonly input: string;
    readonly own: readonly string[];
  }[];
  /** [directions, gates · hidden] */
  readonly bias: Slot | undefined;
  /** [directions, batch, hidden]; absent: 0. */
  readonly initialH: Slot | undefined;
  /** int32 [batch]: positions that each sequence has; behind them the state stays, and `y` is 0. Absent: all. */
  readonly lengths: Slot | undefined;
  /** Positions of x that are multiplied at a time. */
  readonly strip: number;
  /** What a run needs in between: [strip · batch, gates · hidden] and [batch, hidden]. */
  readonly room: { readonly inputs: Slot; readonly h: Slot };
  readonly cell: LstmCellStep | GruCellStep;
  /** [positions, directions, batch, hidden] */
  readonly y: Slot | undefined;
  /** [directions, batch, hidden] */
  readonly lastH: Slot;
}

/** i, o, f, g = x part + h · Rᵀ; c = σ(f) · c + σ(i) · tanh(g); h = σ(o) · tanh(c) */
export interface LstmCellStep {
  readonly kind: 'LSTM';
  /** As `initialH`, `lastH`. */
  readonly initialC: Slot | undefined;
  readonly lastC: Slot;
  /** Twice [batch, 4 · hidden], [4, batch, hidden], and [batch, hidden] each. */
  readonly room: Readonly<Record<'added' | 'sums' | 'gates' | 'c' | 'nextC', Slot>>;
}

/**
 * z, r = σ(x part + h · Rᵀ), n = tanh(x part + (r · h) · Rᵀ), or tanh(x part + r · (h · Rᵀ + bias)) if it resets after the product;
 * h = (1 − z) · n + z · h
 */
export interface GruCellStep {
  readonly kind: 'GRU';
  /** One matrix then, [3 · hidden, hidden]; else two, of 2 · hidden and hidden rows. */
  readonly resetsAfter: boolean;
  /** [directions, 3 · hidden]: of the product with h, if it resets after it. */
  readonly bias: Slot | undefined;
  /** Twice [batch, 3 · hidden], [3, batch, hidden], and [batch, hidden] each. */
  readonly room: Readonly<Record<'added' | 'sums' | 'gates' | 'candidate' | 'reset' | 'next', Slot>>;
}

/** Slots that nobody needs after the step. */
export const recurrentRoom = ({ room, cell }: RecurrentStep): Slot[] => [
  room.inputs,
  room.h,
  ...Object.values(cell.room),
];

/** What the cell leaves beside the state. */
export const lastCellOf = ({ cell }: RecurrentStep): Slot | undefined =>
  cell.kind === 'LSTM' ? cell.lastC : undefined;

/** What the cell reads beside the state. */
export const cellReads = ({ cell }: RecurrentStep): Slot | undefined =>
  cell.kind === 'LSTM' ? cell.initialC : cell.bias;

export type Step = ProductStep | OpStep | RowsStep | AttentionStep | ComputedStep | ExpertsStep | RecurrentStep;

/** The plan, as a match sees it while it adds its steps. */
export interface Lowering {
  /** Type of an operand; its elements if the match is `shapedBy` it. */
  info(name: string): Concrete;
  /** Where an operand lies. What is in JavaScript is put on the device, int64 as int32. */
  slot(name: string): Slot;
  /** Indices on the device, as int32. What comes out of JavaScript is looked at first: `check` throws if one cannot be. */
  indices(name: string, check: (indices: Int32Array) => void): Slot;
  /** Whole numbers or rows of tables on the device, computed anew in every run. */
  computed(computation: Computation): Slot;
  /** What equal keys share in a plan. */
  shared<T extends object>(key: string, make: () => T): T;
  /** Elements that are known while the region is planned, on the device. */
  constant(info: Concrete): Slot;
  /** A place for a result. '' = it is not needed. */
  result(name: string, dtype: DType, dims: readonly number[]): Slot;
  /** A result that is another value under other dims. */
  alias(name: string, of: Slot, dims: readonly number[]): void;
  step(step: Step): void;
}

/** An op step; the types of its outputs follow from the spec, their names are given. */
export function emitOp<O>(
  to: Lowering,
  spec: OpSpec<O>,
  op: O,
  inputs: readonly (Slot | undefined)[],
  names: readonly string[],
): Slot[] {
  const outputs = spec.infer(op, inputs).map(({ dtype, dims }, i) => to.result(names[i] ?? '', dtype, dims));
  to.step({ kind: 'op', spec: spec as OpSpec<never>, op, inputs, outputs });
  return outputs;
}
