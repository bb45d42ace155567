/** What every backend offers, whatever it runs on. */
import type { ActivationId } from '../activations/contract.ts';
import type { DecompositionOptions } from '../decompose/contract.ts';
import type { DeviceName } from '../device-name.ts';
import type { FloatType, HalfArray, HalfType } from '../formats/half.ts';
import type { FormatId, QuantizedWeights } from '../formats/weights.ts';
import type { ArenaHandle } from './arena.ts';

/**
 * x, or a result: f32 values, bit patterns of f16 or bf16 in a Uint16Array, f16 values in the engine's own
 * Float16Array, or bytes of the arena with any of these.
 */
export type Operand = Float32Array | HalfArray | ArenaHandle;

/** A matrix that was packed once and stays in a backend's memory. The bytes it was made from are no longer needed. */
export interface PreparedMatrix {
  readonly version: number;
  readonly format: FormatId;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number | null;
  /** Bytes that it takes in the backend. */
  readonly byteLength: number;
  /** Frees its memory; using the matrix afterwards is an error, disposing twice is fine. */
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
   * [M,N] of `outType`, overwritten; must not overlap x. Default: a fresh Float32Array, or Uint16Array of bit patterns. A view of
   * the arena's own memory dies if this call makes it grow (the values are there): pass the handle.
   */
  readonly out?: Float32Array | HalfArray | Handle | undefined;
  /**
   * What the result is rounded to at the very end, half to even; default: what the class of `out` holds, else f32. A Uint16Array
   * does not say whether its bits are f16 or bf16: say it here.                          (docs/msd.md, "Half precision")
   */
  readonly outType?: FloatType | undefined;
}

/** Options whose result is a Float32Array. */
export interface F32Result {
  readonly out?: Float32Array | undefined;
  readonly outType?: 'f32' | undefined;
}

/** Options whose result is a fresh Uint16Array. */
export interface BitsResult {
  readonly out?: undefined;
  readonly outType: HalfType;
}

/** Options about x. */
export interface ActivationOptions extends DecompositionOptions {
  /** Rows of x; default: what its length says. */
  readonly M?: number | undefined;
  /** What x holds; default: what its class says, f32 for an arena handle. Half precision is widened to f32, exactly. */
  readonly xType?: FloatType | undefined;
}

export interface MatmulOptions<Handle = ArenaHandle> extends ActivationOptions, ProductOptions<Handle> {}

/** Options about x, and about each product. */
export interface MatmulManyOptions extends ActivationOptions {
  /** One for each matrix, in their order. */
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
  readonly device: DeviceName;
  /** How much memory is in use, and for what. */
  memory(): MemoryReport;
  /** Frees everything, prepared matrices included. */
  dispose(): void;
}

/**
 * A backend that answers at once: reference and WASM. The WebGPU backend answers later and can record into a caller's pass; its
 * interface is its own (backends/webgpu/backend.ts), on the same base. (docs/architecture.md says why)
 */
export interface Backend extends BackendBase {
  /**
   * Validates and packs a matrix, and keeps it in the backend's memory.
   * @returns a matrix that you own: call `dispose()` when you are done
   * @throws {@link TypeError}, {@link RangeError} if the arrays do not fit the shape; nothing was allocated then
   */
  prepare(weights: QuantizedWeights): PreparedWeights;
  /**
   * y[m,n] = Σ_k x[m,k] · W[n,k] (+ bias[n], and the fused end), x decomposed into `components` components.
   *
   * A row with NaN or Inf gives NaN in that row, and in no other.
   *
   * @param x [M,K] row-major, of `xType`
   * @returns `options.out`, or a fresh Float32Array [M,N] (Uint16Array for an `outType` of half precision) that is the caller's
   * @throws {@link TypeError}, {@link RangeError} for shapes that do not fit; nothing was written then
   * @see docs/msd.md, eq. 5-7
   */
  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Operand;
  /**
   * The same x times several matrices (q, k and v; gate and up). x is decomposed only once; the bits are those of separate calls.
   *
   * They are computed in order, so the `out` of an earlier one may be `multiply` or `residual` of a later one. No `out` may
   * overlap x or another `out`.
   *
   * @param x [M,K] row-major, of `xType`
   * @param prepared matrices with the same K
   * @returns one result for each, as from `matmul`
   * @throws {@link TypeError}, {@link RangeError} for shapes that do not fit; nothing was written then
   * @example
   * const [q, k, v] = backend.matmulMany(x, [wq, wk, wv], { each: [{ bias: bq }, { bias: bk }, { bias: bv }] });
   */
  matmulMany(x: Operand, prepared: readonly PreparedWeights[], options?: MatmulManyOptions): Operand[];
}
