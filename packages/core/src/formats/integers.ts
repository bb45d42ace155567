/** The integers behind the codes of a file: for references, packing and tests. */
import { formats } from './index.ts';
import { fileLayout } from './layout.ts';
import type { QuantizedWeights } from './weights.ts';

/** Zero point of a block of row n, in packed units. */
export function zeroPointReader(weights: QuantizedWeights): (n: number, block: number) => number {
  const { zeroPoints, blockSize } = weights;
  const format = formats[weights.format];
  if (!zeroPoints) return () => format.symmetricZeroPoint;
  const { blocks } = fileLayout(weights);
  const perTensor = blockSize === null && zeroPoints.length === 1;
  return (n, block) => format.zeroPoint(zeroPoints, blocks, perTensor ? 0 : n, block);
}

/** q[n,k] − z[n, block of k], as an integer. */
export function weightReader(weights: QuantizedWeights): (n: number, k: number) => number {
  const { blockSize, data } = weights;
  const format = formats[weights.format];
  const { rowBytes } = fileLayout(weights);
  const zero = zeroPointReader(weights);
  return (n, k) => format.code(data, rowBytes, n, k) - zero(n, blockSize ? Math.floor(k / blockSize) : 0);
}
