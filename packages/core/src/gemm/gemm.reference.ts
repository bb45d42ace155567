/** Exact integer sums over one chunk: what every carrier has to reproduce. */
import { formats } from '../formats/index.ts';
import { fileLayout } from '../formats/layout.ts';
import type { QuantizedWeights } from '../formats/weights.ts';

/** q[n,k] − z[n, block of k], as an integer. */
export function weightReader(weights: QuantizedWeights): (n: number, k: number) => number {
  const { blockSize, data, zeroPoints } = weights;
  const format = formats[weights.format];
  const { blocks, rowBytes } = fileLayout(weights);
  return (n, k) => {
    const zero = zeroPoints
      ? format.zeroPoint(zeroPoints, blocks, n, blockSize ? Math.floor(k / blockSize) : 0)
      : format.symmetricZeroPoint;
    return format.code(data, rowBytes, n, k) - zero;
  };
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
