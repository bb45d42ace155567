/** What activations are like: Σ x·xᵀ over the rows that a product was given. */

/** Second moments of the K channels of a product's input. */
export interface Moments {
  /** Rows that were seen. */
  readonly rows: number;
  /** Mean square of each channel. */
  readonly squares: Float32Array;
  /** Mean products of channels [K, K]; absent where they would take too long or too much memory. */
  readonly products: Float32Array | undefined;
  /** Inputs were made up: what they say of sizes is not to be trusted. */
  readonly isMadeUp?: boolean;
}

/** Channels up to which products of channels are summed up: 256 MB of them. */
const MOST_CHANNELS = 8192;

/** Sums up rows. */
export class MomentSums {
  rows = 0;
  readonly K: number;
  readonly #squares: Float64Array;
  readonly #products: Float32Array | undefined;

  constructor(K: number, withProducts: boolean) {
    this.K = K;
    this.#squares = new Float64Array(K);
    this.#products = withProducts && K <= MOST_CHANNELS ? new Float32Array(K * K) : undefined;
  }

  /** @param x rows of K */
  add(x: Float32Array): void {
    const { K } = this;
    const products = this.#products;
    for (let at = 0; at < x.length; at += K) {
      const row = x.subarray(at, at + K);
      if (!row.every(Number.isFinite)) continue;
      this.rows++;
      for (let k = 0; k < K; k++) this.#squares[k]! += row[k]! * row[k]!;
      if (!products) continue;
      // The upper half; the lower one is copied at the end.
      for (let i = 0; i < K; i++) {
        const factor = row[i]!;
        if (factor === 0) continue;
        const base = i * K;
        for (let j = i; j < K; j++) products[base + j]! += factor * row[j]!;
      }
    }
  }

  /**
   * @param damping is added to every channel's square, relative to their mean: few rows say little about rare channels
   * @returns `undefined` if no row was seen
   */
  moments(damping: number): Moments | undefined {
    const { K, rows } = this;
    const products = this.#products;
    if (rows === 0) return undefined;
    const mean = this.#squares.reduce((sum, square) => sum + square, 0) / K / rows;
    if (!(mean > 0)) return undefined;
    const squares = Float32Array.from(this.#squares, (square) => square / rows + damping * mean);
    if (products) {
      for (let i = 0; i < K; i++)
        for (let j = i; j < K; j++) products[j * K + i] = products[i * K + j] = products[i * K + j]! / rows;
      for (let k = 0; k < K; k++) products[k * K + k] = squares[k]!;
    }
    return { rows, squares, products };
  }
}
