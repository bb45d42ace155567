/**
 * Codes of a row that follow the activations: coordinate descent on the error of the product,
 *
 *   (w − ŵ)ᵀ · H · (w − ŵ),   H = Σ x·xᵀ,   ŵ[k] = scale[b] · (code[k] − zero[b])
 *
 * One k at a time gets the code that is best while all others stay: the error of others with which its channel correlates is taken
 * back by it. Then each block gets the scale that is best for its codes. Every step lowers the error or leaves it.
 */
export interface DescentShape {
  readonly K: number;
  readonly blockSize: number;
  /** The last code. */
  readonly last: number;
  /** H, symmetric [K, K]. */
  readonly products: Float32Array;
}

const PASSES = 6;

export class Descent {
  readonly #shape: DescentShape;
  /** H · (w − ŵ). */
  readonly #residual: Float64Array;

  constructor(shape: DescentShape) {
    this.#shape = shape;
    this.#residual = new Float64Array(shape.K);
  }

  /** Improves the codes of a row; scales stay. */
  run(values: Float32Array, codes: Uint8Array, scales: Float32Array, zeros: Uint8Array | undefined): void {
    const { K, blockSize, last, products } = this.#shape;
    const middle = (last + 1) / 2;
    const residual = this.#residual.fill(0);
    for (let k = 0; k < K; k++) {
      const b = Math.floor(k / blockSize);
      const off = values[k]! - scales[b]! * (codes[k]! - (zeros ? zeros[b]! : middle));
      this.#move(k, off);
    }
    for (let pass = 0; pass < PASSES; pass++) {
      let isChanged = false;
      for (let k = 0; k < K; k++) {
        const b = Math.floor(k / blockSize);
        const scale = scales[b]!;
        if (scale === 0) continue;
        const wanted = codes[k]! + residual[k]! / (products[k * K + k]! * scale);
        const code = Math.max(0, Math.min(last, Math.round(wanted)));
        if (code === codes[k]) continue;
        this.#move(k, -scale * (code - codes[k]!));
        codes[k] = code;
        isChanged = true;
      }
      if (!isChanged) break;
    }
  }

  /** The error of k grew by `by`. */
  #move(k: number, by: number): void {
    const { K, products } = this.#shape;
    const residual = this.#residual;
    if (by === 0) return;
    const base = k * K;
    for (let j = 0; j < K; j++) residual[j]! += by * products[base + j]!;
  }

  /** vᵀ · H · v. */
  form(v: Float64Array): number {
    const { K, products } = this.#shape;
    let sum = 0;
    for (let i = 0; i < K; i++) {
      let along = 0;
      for (let j = 0; j < K; j++) along += products[i * K + j]! * v[j]!;
      sum += v[i]! * along;
    }
    return sum;
  }
}
