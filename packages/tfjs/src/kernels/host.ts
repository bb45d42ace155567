/**
 * A tfjs backend as a place where MSD's kernels work. Every op is written once against this interface; hosts differ in where
 * tensors lie:
 *
 *   heap-host      tfjs's wasm heap: operands lie where tfjs put them
 *   copying-host   typed arrays (cpu, and wasm builds that hide their memory): packed weights pass through MSD's memory
 *   gpu-host       tfjs's WebGPU device: what an op does is recorded into tfjs's pass
 */
import type { ActivationBlock, ActivationId, ArenaHandle, RowSource, WasmBackend } from '@msd/core';
import type { MatrixSpec } from '../spec.ts';
import type { Status } from '../status.ts';
import type { DataId, TensorInfo } from '../tf.ts';

/** @typeParam Place elements of a tensor: an arena handle, a typed array, a GPU binding */
export interface Host<Place = unknown> {
  /** Where packed weights lie when kernels read them. */
  readonly weights: Exclude<Status['weights'], 'dequantized'>;
  /**
   * A new float32 tensor; it is given back if `fill` throws. `fill` does not run for an empty one.
   *
   * @param inputs all tensors that are read
   * @param fill writes or records it. Places are good until it returns
   */
  output(shape: number[], inputs: readonly TensorInfo[], fill: (y: TensorInfo) => void): TensorInfo;
  /** Elements [at, at + length) of a tensor; by default all of it. */
  at(tensor: TensorInfo, at?: number, length?: number): Place;
  /** x times a plane of a packed matrix, whose bytes stay where they are. */
  product(x: Place, w: TensorInfo, spec: MatrixSpec, plane: number, options: ProductOptions<Place>): void;
  /** out[m,n] += offset · Σ_k x[m,k] */
  addOffset(x: Place, options: OffsetOptions<Place>): void;
  /** Rows of a packed matrix or table as floats: all of them (of a matrix as [K,N]), those looked up, or sums of these. */
  rows(source: RowSource, w: Place, options: RowsOptions<Place>): void;
  /** Values of an int32 tensor; `undefined` where only a GPU has them, unless they are needed. They die with the next output. */
  integers(tensor: TensorInfo, needed?: boolean): ArrayLike<number> | undefined;
  /** For work that needs a device of @msd/core's by itself (attention, convolutions), where JavaScript sees it. */
  readonly memory?: Memory;
  /**
   * Takes the working memory of products with this matrix, where it lies between tensors: those of a model come and go around it, and
   * what is taken between them leaves holes.
   */
  reserve?(
    w: TensorInfo,
    spec: MatrixSpec,
    arithmetic: Pick<ProductOptions<Place>, 'components' | 'activationBlock'>,
  ): void;
  dispose(): void;
}

export interface Memory {
  readonly device: WasmBackend;
  readonly places: Places;
  /** The host's, on what lies where the device sees it. */
  readonly product: Host<ArenaHandle>['product'];
  readonly addOffset: Host<ArenaHandle>['addOffset'];
}

/**
 * Brings tensors to where the device sees them, and results (the last of them; one unless it is said) back. `use` gets a place for
 * each tensor; they are good until it returns.
 */
export type Places = (
  tensors: readonly (TensorInfo | undefined)[],
  use: (places: (ArenaHandle | undefined)[]) => void,
  results?: number,
) => void;

export interface ProductOptions<Place> {
  readonly M: number;
  readonly components: 1 | 2;
  readonly activationBlock: ActivationBlock;
  readonly bias?: Place | undefined;
  readonly activation?: ActivationId | undefined;
  /** Added last: `out` itself. */
  readonly residual?: Place | undefined;
  readonly out: Place;
}

export interface OffsetOptions<Place> {
  readonly M: number;
  readonly K: number;
  readonly N: number;
  readonly offset: number;
  readonly out: Place;
}

export interface RowsOptions<Place, Integers = Place> {
  readonly out: Place;
  /** int32 */
  readonly indices?: Integers | undefined;
  /** int32 ids of segments, from 0, never decreasing: each result is a sum or a mean over the indices of one segment. */
  readonly segments?: { readonly ids: Integers; readonly count: number; readonly mean: boolean } | undefined;
}

interface Adoption<Matrix, Place> {
  readonly matrix: Matrix;
  readonly place: Place;
  readonly spec: MatrixSpec;
}

/** Matrices that a host has adopted, by tensor and plane, as long as they lie where they lay. */
export class Adopted<Matrix, Place> {
  readonly #matrices = new WeakMap<DataId, Adoption<Matrix, Place>[]>();
  readonly #isSame: (a: Place, b: Place) => boolean;

  constructor(isSame: (a: Place, b: Place) => boolean) {
    this.#isSame = isSame;
  }

  get({ dataId }: TensorInfo, spec: MatrixSpec, plane: number, place: Place, adopt: () => Matrix): Matrix {
    let planes = this.#matrices.get(dataId);
    if (!planes) this.#matrices.set(dataId, (planes = []));
    const known = planes[plane];
    if (known && this.#isSame(known.place, place) && isOf(known.spec, spec)) return known.matrix;
    const matrix = adopt();
    planes[plane] = { matrix, place, spec };
    return matrix;
  }
}

const isOf = (a: MatrixSpec, b: MatrixSpec): boolean =>
  a === b ||
  (a.format === b.format &&
    a.N === b.N &&
    a.K === b.K &&
    a.blockSize === b.blockSize &&
    a.scale === b.scale &&
    a.storedZeroPoints === b.storedZeroPoints);

/** What is made once per host, of its memory. @returns gives it; `undefined` where MSD's kernels have no memory to work in */
export function perHost<T>(make: (memory: Memory) => T): (host: Host | undefined) => T | undefined {
  const known = new WeakMap<Host, T>();
  return (host) => {
    if (!host?.memory) return undefined;
    const made = known.get(host) ?? make(host.memory);
    known.set(host, made);
    return made;
  };
}
