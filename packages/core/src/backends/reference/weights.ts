/** Matrices of the reference: the file's own codes. */
import { type FloatType, halves } from '../../formats/half.ts';
import { PACKED_VERSION } from '../../formats/packed.ts';
import type { FormatId, QuantizedWeights } from '../../formats/weights.ts';
import type { PreparedWeights } from '../backend.ts';
import type { ReferenceBackend } from './backend.ts';

export class ReferenceWeights implements PreparedWeights {
  readonly version = PACKED_VERSION;
  readonly backend: ReferenceBackend;
  readonly format: FormatId;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number | null;
  readonly byteLength: number;
  #weights: QuantizedWeights | undefined;
  readonly #release: (matrix: ReferenceWeights) => void;

  constructor(backend: ReferenceBackend, weights: QuantizedWeights, release: (matrix: ReferenceWeights) => void) {
    const { data, scales, zeroPoints } = weights;
    this.backend = backend;
    this.#release = release;
    this.#weights = {
      ...weights,
      data: data.slice(),
      scales: scales.slice(),
      ...(zeroPoints && { zeroPoints: zeroPoints.slice() }),
    };
    this.format = weights.format;
    this.N = weights.N;
    this.K = weights.K;
    this.blockSize = weights.blockSize;
    this.byteLength = data.byteLength + scales.byteLength + (zeroPoints?.byteLength ?? 0);
  }

  /** @throws {@link RangeError} once it was disposed of */
  get weights(): QuantizedWeights {
    if (!this.#weights) throw new RangeError('matmul: the weights have been disposed of.');
    return this.#weights;
  }

  dispose(): void {
    this.#weights = undefined;
    this.#release(this);
  }
}

/** Results as f32 values or bit patterns, rounded to f32 first. */
export function rounded(y: Float64Array, type: FloatType): Float32Array | Uint16Array {
  const values = Float32Array.from(y);
  return type === 'f32' ? values : Uint16Array.from(values, halves[type].bits);
}
