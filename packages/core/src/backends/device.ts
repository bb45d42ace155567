/**
 * One interface for everything that computes: reference, WASM, WebGPU. Only `prepare`, `read` and `flush` may wait, so one
 * executor serves every device.
 *
 *   const call = device.bind(work, operands);      // checks, route, cut, sizes: once
 *   device.run(call);                              // many times; wasm executes, webgpu records
 *   device.run(call, { operands: { 0: x2 } });     // with what has changed
 */
import type { ActivationId } from '../activations/contract.ts';
import type { AttentionOp, AttentionRun, KvCache, KvShape } from '../attention/contract.ts';
import type { DecompositionOptions } from '../decompose/contract.ts';
import type { DeviceName } from '../device-name.ts';
import type { FloatType } from '../formats/half.ts';
import type { QuantizedWeights } from '../formats/weights.ts';
import type { OpSpec, TensorType } from '../ops/op.ts';
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
 * Attention. Operands: q, k, v, sinks, bias, mask, out; `undefined` where there is none. All f32 but the mask (bool); sinks: [heads],
 * a score that every row of a head has beside its keys, and no value.
 */
export interface AttentionWork {
  readonly kind: 'attention';
  readonly op: AttentionOp;
  /** Asked at every run of the call. */
  readonly run: () => AttentionRun<KvCache>;
}

export type Work<Matrix extends PreparedMatrix = PreparedMatrix> = OpWork | ProductWork<Matrix> | AttentionWork;

/** What a run of a call has other than the run before; it stays so. */
export interface Changes<H> {
  /** Other places, by operand number. An operand that was absent stays absent. */
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
  /** An empty cache of keys and values; it takes pages when keys come. @throws {@link RangeError} for a shape that cannot be */
  createKvCache(shape: KvShape): KvCache;
  /**
   * Checks everything, chooses kernels, cuts and sizes, and allocates what the call needs.
   * @throws {@link TypeError}, {@link RangeError}, {@link UnsupportedError}; nothing has changed then
   */
  bind(work: Work<Matrix>, operands: readonly (H | undefined)[]): Call<H>;
  /**
   * Would threads share this op? Then it had better not work in place: a chunk that a lost worker left half done could not be
   * repeated, so an op in place stays on one thread. Absent: never.
   */
  isShared?(work: OpWork): boolean;
  /** Runs (WASM, reference) or records (WebGPU) a call. Allocates nothing. */
  run(call: Call<H>, changes?: Changes<H>): void;
  /** Until everything that was run is done. */
  flush(): void | Promise<void>;
  dispose(): void;
}
