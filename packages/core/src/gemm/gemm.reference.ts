/** Exact integer sums over one chunk: what every carrier has to reproduce. */
import { formats } from '../formats/index.ts';
import { fileLayout, zeroPointReader } from '../formats/layout.ts';
import type { QuantizedWeights } from '../formats/weights.ts';

/** q[n,k] − z[n, block of k], as an integer. */
export function weightReader(weights: QuantizedWeights): (n: number, k: number) => number {
  const { blockSize, data } = weights;
  const format = formats[weights.format];
  const { rowBytes } = fileLayout(weights);
  const zero = zeroPointReader(weights);
  return (n, k) => format.code(data, rowBytes, n, k) - zero(n, blockSize ? Math.floor(k / blockSize) : 0);
}

/** acc = Σ_k q[m,k] · (w[n,k] − z) over k in [begin, end). */
export function integerDot(
  q: Int16Array,
  row: number,
  weight: (n: number, k: number) => number,
  n: number,
  begin: number,
  end: number,
): number {
  let acc = 0;
  for (let k = begin; k < end; k++) acc += q[row + k] * weight(n, k);
  return acc;
}
