/** Matrices of the WASM device. */
import type { Decomposition } from '../../decompose/contract.ts';
import type { WeightFormat, WeightVariant } from '../../formats/format.ts';
import { formats } from '../../formats/index.ts';
import type { PackedLayout } from '../../formats/layout.ts';
import { layoutOf, PACKED_VERSION, type PackedShape } from '../../formats/packed.ts';
import type { FormatId } from '../../formats/weights.ts';
import type { GemmOptions } from '../../gemm/options.ts';
import type { GemmShape } from '../../gemm/registry.ts';
import type { ArenaHandle } from '../arena.ts';
import type { PreparedMatrix, PreparedWeights } from '../backend.ts';
import type { WasmBackend } from './backend.ts';
import type { Routes } from './routes.ts';

/** How often any matrix was given another kernel or was disposed of: bound calls then check their matrices again. */
export const matrixChanges = { count: 0 };

/** A matrix in the arena. */
export class WasmMatrix implements PreparedWeights {
  readonly version = PACKED_VERSION;
  readonly backend: WasmBackend;
  readonly format: FormatId;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number | null;
  readonly byteLength: number;
  readonly layout: PackedLayout;
  readonly kernelFormat: WeightFormat;
  readonly variant: WeightVariant;
  /** Counts the kernels that were set: calls that were bound before check again. */
  tuned = 0;
  /** One for one row was set: it is not compared with others. */
  fixed = false;
  /** Where the panels lie; `undefined` once disposed. */
  #handle: ArenaHandle | undefined;
  readonly #release: () => void;
  readonly #kernels = new Map<Decomposition, Partial<Record<GemmShape, GemmOptions>>>();

  /** @param release gives the bytes back; called once */
  constructor(backend: WasmBackend, shape: PackedShape, handle: ArenaHandle, release: () => void) {
    this.backend = backend;
    this.format = shape.format;
    this.N = shape.N;
    this.K = shape.K;
    this.blockSize = shape.blockSize;
    this.kernelFormat = formats[shape.format];
    this.variant = shape;
    this.layout = layoutOf(shape);
    this.byteLength = this.layout.byteLength;
    this.#handle = handle;
    this.#release = release;
  }

  /**
   * Where the panels lie.
   * @throws {@link RangeError} once it was disposed of
   */
  get address(): number {
    if (!this.#handle) throw new RangeError('matmul: the weights have been disposed of.');
    return this.#handle.ptr;
  }

  /** The gemm kernel that products of a shape class take. */
  kernel(routes: Routes, shape: GemmShape, decomposition: Decomposition): GemmOptions {
    const kernels = this.#kernelsOf(decomposition);
    const options = (kernels[shape] ??= routes.find(this.kernelFormat, this.variant, shape, decomposition));
    return this.fixed ? options : routes.settled(options);
  }

  setKernel(shape: GemmShape, decomposition: Decomposition, options: GemmOptions): void {
    this.#kernelsOf(decomposition)[shape] = options;
    this.tuned++;
    this.fixed ||= shape === 'gemv';
    matrixChanges.count++;
  }

  dispose(): void {
    if (this.#handle) this.#release();
    this.#handle = undefined;
    matrixChanges.count++;
  }

  #kernelsOf(decomposition: Decomposition): Partial<Record<GemmShape, GemmOptions>> {
    let kernels = this.#kernels.get(decomposition);
    if (!kernels) this.#kernels.set(decomposition, (kernels = {}));
    return kernels;
  }
}

/** @throws {@link RangeError} if it is another backend's */
export function ownMatrix(backend: object, prepared: PreparedMatrix): WasmMatrix {
  if (prepared instanceof WasmMatrix && prepared.backend === backend) return prepared;
  throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
}
