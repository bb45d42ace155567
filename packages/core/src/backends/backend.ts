/** What every backend offers, whatever it runs on. */
import type { ActivationId } from '../activations/contract.ts';
import type { PlanOptions } from '../decompose/contract.ts';
import type { FormatId, QuantizedWeights } from '../formats/weights.ts';
import type { ArenaHandle } from './arena.ts';

export type Device = 'reference' | 'wasm' | 'webgpu';

/** A matrix that is resident in a backend, packed once. The bytes it was made from may be dropped. */
export interface PreparedMatrix {
  readonly version: number;
  readonly format: FormatId;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number | null;
  /** Bytes it occupies in the backend. */
  readonly byteLength: number;
  /** Gives the bytes back; using the matrix afterwards is an error. Disposing twice is not. */
  dispose(): void;
}

/** A matrix of a backend that answers at once. */
export interface PreparedWeights extends PreparedMatrix {
  readonly backend: Backend;
}

/** What happens to one product: y = activation(x · Wᵀ + bias) · multiply + residual, each operation rounded once, in this order. */
export interface ProductOptions<Handle = ArenaHandle> {
  /** f32 [N]. */
  readonly bias?: Float32Array | Handle | undefined;
  /** Applied to the sum with its bias; own polynomials, the same bits everywhere.              (docs/msd.md, "Fused ends") */
  readonly activation?: ActivationId | undefined;
  /** f32 [M,N], multiplied after the activation: the other half of a gated layer. `out` itself, or apart from it. */
  readonly multiply?: Float32Array | Handle | undefined;
  /** f32 [M,N], added last. `out` itself (out += x · Wᵀ), or apart from it. */
  readonly residual?: Float32Array | Handle | undefined;
  /**
   * f32 [M,N], overwritten; must not overlap x. Default: a fresh Float32Array. A view of the arena's own memory dies if this
   * call makes it grow (the values are there): pass the handle.
   */
  readonly out?: Float32Array | Handle | undefined;
}

/** What concerns x alone. */
export interface ActivationOptions extends PlanOptions {
  /** Rows of x; default: what its length says. */
  readonly M?: number | undefined;
}

export interface MatmulOptions<Handle = ArenaHandle> extends ActivationOptions, ProductOptions<Handle> {}

/** What concerns x, and what happens to each product. */
export interface MatmulManyOptions extends ActivationOptions {
  /** As many as there are matrices, in their order. */
  readonly each?: readonly ProductOptions[] | undefined;
}

export interface MemoryReport {
  /** Prepared matrices. */
  readonly packedBytes: number;
  /** Working buffers, by name. They grow with the largest M (up to 256 rows) and K seen, and stay. */
  readonly scratch: Readonly<Record<string, number>>;
  readonly scratchBytes: number;
  /** Size of the WebAssembly memory; 0 if the backend has none. */
  readonly wasmBytes: number;
}

/** What every backend has, whether it answers at once or later. */
export interface BackendBase {
  readonly device: Device;
  /** What it occupies now. */
  memory(): MemoryReport;
  /** Drops everything, prepared matrices included. */
  dispose(): void;
}

/**
 * A backend that answers at once: reference and WASM. The WebGPU backend answers later and can record into a caller's pass; its
 * interface is its own (webgpu/backend.ts), on the same base. (docs/architecture.md says why)
 */
export interface Backend extends BackendBase {
  /**
   * Validates, packs and keeps a matrix.
   * @returns the caller's: dispose it
   * @throws {@link TypeError}, {@link RangeError} if the arrays do not fit the shape; nothing was allocated then
   */
  prepare(weights: QuantizedWeights): PreparedWeights;
  /**
   * y[m,n] = Σ_k x[m,k] · W[n,k] (+ bias[n], and the fused end), x decomposed into `components` components.
   *
   * A row with NaN or Inf gives NaN in that row, and in no other.
   *
   * @param x f32 [M,K] row-major
   * @returns `options.out`, or a fresh Float32Array [M,N] that is the caller's
   * @throws {@link TypeError}, {@link RangeError} for shapes that do not fit; nothing was written then
   * @see docs/msd.md, eq. 5-7
   */
  matmul(x: Float32Array | ArenaHandle, prepared: PreparedWeights, options?: MatmulOptions): Float32Array | ArenaHandle;
  /**
   * The same x times several matrices (q, k and v; gate and up), decomposed once: the bits of separate calls of `matmul`.
   *
   * They are done in order, so a later one may take an earlier one's `out` as its `multiply` or `residual`. No `out` may
   * overlap x or another `out`.
   *
   * @param x f32 [M,K] row-major
   * @param prepared matrices of one K
   * @returns one result for each, as from `matmul`
   * @throws {@link TypeError}, {@link RangeError} for shapes that do not fit; nothing was written then
   * @example
   * const [q, k, v] = backend.matmulMany(x, [wq, wk, wv], { each: [{ bias: bq }, { bias: bk }, { bias: bv }] });
   */
  matmulMany(
    x: Float32Array | ArenaHandle,
    prepared: readonly PreparedWeights[],
    options?: MatmulManyOptions,
  ): (Float32Array | ArenaHandle)[];
}
