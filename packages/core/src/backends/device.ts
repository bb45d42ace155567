/**
 * One interface for everything that computes: reference, WASM, WebGPU. Only `prepare`, `read` and `flush` may wait, so one
 * executor serves every device.
 *
 *   const call = device.bind(work, operands);      // checks, route, cut, sizes: once
 *   device.run(call);                              // many times; wasm executes, webgpu records
 *   device.run(call, { operands: { 0: x2 } });     // with what has changed
 */
import type { ActivationId } from '../activations/contract.ts';
import type { AttentionOp, AttentionRun, KvCache, KvType } from '../attention/contract.ts';
import type { DecompositionOptions } from '../decompose/contract.ts';
import type { DeviceName } from '../device-name.ts';
import type { FloatType } from '../formats/half.ts';
import type { QuantizedWeights } from '../formats/weights.ts';
import type { OpSpec, TensorType } from '../ops/op.ts';
import type { ArenaHandle } from './arena.ts';
import type { PreparedMatrix } from './backend.ts';

/** An op with its types. Operands: inputs (absent ones `undefined`), then outputs. */
export interface OpWork<O = unknown> {
  readonly kind: 'op';
  readonly spec: OpSpec<O>;
  readonly op: O;
  readonly inputs: readonly (TensorType | undefined)[];
}

/** What happens to one product of {@link ProductWork}. */
export interface ProductEnd {
  readonly activation?: ActivationId | undefined;
  readonly outType?: FloatType | undefined;
}

/**
 * x times several matrices of one K, decomposed once. Operands: x, then bias, multiply, residual and out of each matrix;
 * `undefined` where there is none.
 */
export interface ProductWork<Matrix extends PreparedMatrix = PreparedMatrix> extends DecompositionOptions {
  readonly kind: 'product';
  readonly matrices: readonly Matrix[];
  readonly M: number;
  readonly xType?: FloatType | undefined;
  readonly each?: readonly ProductEnd[] | undefined;
}

/**
 * Attention. Operands: q, k, v, sinks, bias, mask, out; `undefined` where there is none. All f32 but the mask (bool);
 * sinks: [heads], one more score for every row of a head, without a value. `attentionWork` makes such work.
 */
export interface AttentionWork {
  readonly kind: 'attention';
  readonly spec: AttentionSpec;
  readonly op: AttentionOp;
  /** Called at every run. */
  readonly run: () => AttentionRun<KvCache>;
  /** Type of the caches, if it is known before a run passes one. */
  readonly type?: KvType | undefined;
  /**
   * No other attention of a program uses its caches: `run` may be called, and room for new keys be made, before the steps
   * in front of it have run.
   */
  readonly isAlone?: boolean | undefined;
}

/** How WASM computes attention. It is part of the work, so that pages that only multiply do not download it. */
export interface AttentionSpec {
  /** @param runtime of the device */
  wasm(runtime: object, work: AttentionWork, operands: readonly (ArenaHandle | undefined)[]): BoundWork<ArenaHandle>;
}

/** Work that a WASM device has bound. */
export interface BoundWork<H> {
  readonly kernels: readonly string[];
  /** Least bytes of each operand. */
  readonly byteLengths: readonly number[];
  set(operand: number, handle: H): void;
  /** Allocates memory and emits and warms kernels for a run. */
  prepare(): void;
  /** Does what needs no results of steps before: the next run has less to do. */
  ahead?(): void;
  run(): void;
}

/** What caches of keys and values need from their device. */
export interface PageDevice<H> {
  alloc(byteLength: number, label?: string): H;
  free(handle: H): void;
  write(handle: H, data: ArrayBufferView): void;
  read(handle: H, into: ArrayBufferView): void;
  /** Sets all of its bytes to 0. */
  clear(handle: H): void;
  /** Copies between handles of the same size. */
  copy(from: H, to: H): void;
  /** The address by which kernels find it. */
  addressOf(handle: H): number;
  /** Live caches: the device disposes of them. */
  readonly caches: Set<KvCache>;
}

export type Work<Matrix extends PreparedMatrix = PreparedMatrix> = OpWork | ProductWork<Matrix> | AttentionWork;

/** What a run changes compared with the run before; the changes last. */
export interface Changes<H> {
  /** New places of operands, by their numbers. An operand that was absent stays absent. */
  readonly operands?: Readonly<Record<number, H>> | undefined;
}

/** Work that is bound to operands: everything is checked and decided. */
export interface Call<H> {
  readonly work: Work;
  readonly operands: readonly (H | undefined)[];
  /** Ids of the kernels that it runs, in order. */
  readonly kernels: readonly string[];
}

/** @typeParam H where bytes lie: an arena handle, a GPU binding */
export interface Device<H, Matrix extends PreparedMatrix = PreparedMatrix> {
  readonly device: DeviceName;
  /** @throws {@link BackendUnavailableError} if memory runs out */
  alloc(byteLength: number, label?: string): H;
  free(handle: H): void;
  /** Bytes [begin, begin + byteLength) of a handle: for values that share one allocation. */
  part(handle: H, begin: number, byteLength: number): H;
  write(handle: H, data: ArrayBufferView): void;
  read(handle: H, into: ArrayBufferView): void | Promise<void>;
  prepare(weights: QuantizedWeights): Matrix | Promise<Matrix>;
  /** Where caches take their pages (`createKvCache`). Absent: the device has no attention. */
  readonly pages?: PageDevice<H>;
  /**
   * Checks everything, chooses kernels, cuts and sizes, and allocates what the call needs.
   * @throws {@link TypeError}, {@link RangeError}, {@link UnsupportedError}; nothing has changed then
   */
  bind(work: Work<Matrix>, operands: readonly (H | undefined)[]): Call<H>;
  /**
   * Would threads share this op? Then it should not work in place: a chunk that a lost worker left half done could not
   * be repeated, so an op in place runs on one thread. Absent: never.
   */
  isShared?(work: OpWork): boolean;
  /**
   * Does what JavaScript has to do for the next run of a call, as far as it needs no results of calls before; with that run's
   * changes. A cache is opened for that run here: if a call in between fails, caches of calls behind it are open, too, and the next run has
   * to say where it begins, as every run does. Absent: `run` does everything.
   */
  ahead?(call: Call<H>, changes?: Changes<H>): void;
  /** Runs (WASM, reference) or records (WebGPU) a call. Allocates nothing. */
  run(call: Call<H>, changes?: Changes<H>): void;
  /** Waits until everything that was run is done. */
  flush(): void | Promise<void>;
  dispose(): void;
}
