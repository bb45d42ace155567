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
  /** As the file keeps a scale; `undefined`: scales stay. */
  readonly kept: ((scale: number) => number) | undefined;
}

/** Over all codes, until none changes. */
const PASSES = 6;
/** Codes, and the scales that are best for them. */
const ROUNDS = 4;

export class Descent {
  readonly #shape: DescentShape;
  /** H · (w − ŵ). */
  readonly #residual: Float64Array;

  constructor(shape: DescentShape) {
    this.#shape = shape;
    this.#residual = new Float64Array(shape.K);
  }

  /** Improves codes and scales of a row. */
  run(values: Float32Array, codes: Uint8Array, scales: Float32Array, zeros: Uint8Array | undefined): void {
    const { K, blockSize, last } = this.#shape;
    const zeroOf = zeros ? (b: number): number => zeros[b]! : (): number => (last + 1) / 2;
    this.#residual.fill(0);
    for (let k = 0; k < K; k++) {
      const b = Math.floor(k / blockSize);
      this.#move(k, values[k]! - scales[b]! * (codes[k]! - zeroOf(b)));
    }
    this.#improveCodes(codes, scales);
    for (let round = 1; this.#shape.kept && round < ROUNDS; round++) {
      let isChanged = false;
      for (let b = 0; b < scales.length; b++) isChanged = this.#improveScale(b, codes, scales, zeroOf(b)) || isChanged;
      if (!isChanged || !this.#improveCodes(codes, scales)) break;
    }
  }

  /** @returns whether one changed */
  #improveCodes(codes: Uint8Array, scales: Float32Array): boolean {
    const { K, blockSize, last, products } = this.#shape;
    const residual = this.#residual;
    let pass = 0;
    for (let isChanged = true; isChanged && pass < PASSES; pass++) {
      isChanged = false;
      for (let k = 0; k < K; k++) {
        const scale = scales[Math.floor(k / blockSize)]!;
        if (scale === 0) continue;
        const wanted = codes[k]! + residual[k]! / (products[k * K + k]! * scale);
        const code = Math.max(0, Math.min(last, Math.round(wanted)));
        if (code === codes[k]) continue;
        this.#move(k, -scale * (code - codes[k]!));
        codes[k] = code;
        isChanged = true;
      }
    }
    return pass > 1;
  }

  /** The error is a parabola over the scale of one block. @returns whether it changed */
  #improveScale(b: number, codes: Uint8Array, scales: Float32Array, zero: number): boolean {
    const { K, blockSize, products, kept } = this.#shape;
    const [from, to] = [b * blockSize, Math.min(K, (b + 1) * blockSize)];
    let [slope, curvature] = [0, 0];
    for (let i = from; i < to; i++) {
      const q = codes[i]! - zero;
      if (q === 0) continue;
      slope += q * this.#residual[i]!;
      let along = 0;
      for (let j = from; j < to; j++) along += products[i * K + j]! * (codes[j]! - zero);
      curvature += q * along;
    }
    if (!(curvature > 0)) return false;
    const scale = kept!(scales[b]! + slope / curvature);
    const by = scale - scales[b]!;
    // Rounded as the file keeps it, it may be no better.
    if (scale === 0 || !(by * (by * curvature - 2 * slope) < 0)) return false;
    for (let i = from; i < to; i++) this.#move(i, -by * (codes[i]! - zero));
    scales[b] = scale;
    return true;
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
