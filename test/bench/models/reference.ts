/** What the engines are checked against: the same weights, float64, plain loops. */

export interface MatrixRows {
  readonly K: number;
  readonly N: number;
  /** The real weights of output n; may be overwritten by the next call. */
  row(n: number): ArrayLike<number>;
}

/**
 * y = x · Wᵀ through all layers.
 *
 * @param x [rows, K of the first layer]
 * @returns [rows, N of the last layer]
 */
export function referenceChain(x: ArrayLike<number>, layers: readonly MatrixRows[]): Float64Array {
  const rows = x.length / layers[0]!.K;
  let values = Float64Array.from(x);
  for (const { K, N, row } of layers) {
    const next = new Float64Array(rows * N);
    for (let n = 0; n < N; n++) {
      const weights = row(n);
      for (let m = 0; m < rows; m++) {
        let sum = 0;
        for (let k = 0, at = m * K; k < K; k++, at++) sum += values[at]! * weights[k]!;
        next[m * N + n] = sum;
      }
    }
    values = next;
  }
  return values;
}
