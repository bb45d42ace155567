/** Float weights -> nf4, fp4: each block's largest magnitude is that of the codebook, the other weights get the nearest number of it. */
import { type CodebookId, codebooks } from './codebook.ts';
import { writeCode } from './codes.ts';
import { fileLayout } from './layout.ts';
import type { QuantizedWeights } from './weights.ts';

/** @internal by `quantizeWeights`, which has checked w. */
export function quantizeCodebook(
  w: Float32Array,
  format: CodebookId,
  { N, K, blockSize }: { readonly N: number; readonly K: number; readonly blockSize: number },
): QuantizedWeights {
  const { values } = codebooks[format];
  const largest = Math.max(...values.map(Math.abs));
  const shape = { format, N, K, blockSize };
  const { blocks, dataBytes, rowBytes } = fileLayout(shape);
  const data = new Uint8Array(dataBytes);
  const scales = new Float32Array(N * blocks);
  const nearest = (value: number) =>
    values.reduce((best, level, code) => (Math.abs(level - value) < Math.abs(values[best] - value) ? code : best), 0);
  for (let n = 0; n < N; n++)
    for (let k = 0; k < blocks * blockSize; k += blockSize) {
      const block = w.subarray(n * K + k, n * K + Math.min(K, k + blockSize));
      const scale = Math.fround(block.reduce((max, value) => Math.max(max, Math.abs(value)), 0) / largest);
      scales[n * blocks + k / blockSize] = scale;
      for (const [i, value] of block.entries())
        writeCode(data, n * rowBytes, k + i, 4, nearest(scale === 0 ? 0 : value / scale));
    }
  return { ...shape, data, scales };
}
