/** Exact integer sums over one chunk, which every carrier has to reproduce. */
import { weightReader } from '../formats/integers.ts';
import type { QuantizedWeights } from '../formats/weights.ts';

/** q − z of all weights, i16 [N,K] row-major: what is read again for every row of activations is decoded once. */
export function integersOf(weights: QuantizedWeights): Int16Array {
  const { N, K } = weights;
  const weight = weightReader(weights);
  const out = new Int16Array(N * K);
  for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) out[n * K + k] = weight(n, k);
  return out;
}

/** acc = Σ_k q[m,k] · (w[n,k] − z) over k in [begin, end); `row` and `column` are where row m of q and row n of the weights begin. */
export function integerDot(
  q: Int16Array,
  row: number,
  weights: Int16Array,
  column: number,
  begin: number,
  end: number,
): number {
  let acc = 0;
  for (let k = begin; k < end; k++) acc += q[row + k] * weights[column + k];
  return acc;
}
