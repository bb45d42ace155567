/** File bytes -> the panels that kernels read. No kernel is needed for it: 32-bit words in JavaScript pack > 1 G weights/s. */
import { K_BLOCK, PANEL, stepBytes, type WeightFormat } from './format.ts';
import { formats } from './index.ts';
import { zeroPointReader } from './integers.ts';
import { type FileLayout, fileLayout, type PackedLayout, roundUp } from './layout.ts';
import { scaleKindOf, scaleReader } from './scales.ts';
import type { QuantizedWeights } from './weights.ts';

/**
 * Packs `weights` into `layout.byteLength` bytes at `byteOffset` of `buffer`, and returns nothing: the caller owns them.
 *
 * @param buffer arena memory; `byteOffset` is a multiple of 16
 */
export function packInto(
  weights: QuantizedWeights,
  layout: PackedLayout,
  buffer: ArrayBufferLike,
  byteOffset: number,
): void {
  const { N, K, blockSize, data } = weights;
  const format = formats[weights.format];
  const file = fileLayout(weights);
  const source = {
    view: new DataView(data.buffer, data.byteOffset, data.byteLength),
    rowBytes: file.rowBytes,
    N,
    readableK: blockSize ? file.blocks * blockSize : K,
    flip: data instanceof Int8Array ? 0x80808080 | 0 : 0,
  };
  const scale = scaleReader(weights);
  const words = new Uint32Array(buffer, byteOffset, layout.byteLength / 4);
  const writeHead = headWriter(weights, format, file, buffer, byteOffset);

  let at = 0; // in words
  for (let k0 = 0; k0 < layout.paddedK; k0 += K_BLOCK) {
    const kEnd = Math.min(k0 + K_BLOCK, layout.paddedK);
    for (let n = 0; n < N; n += PANEL)
      for (let k = k0; k < kEnd; k += layout.span) {
        const kCount = Math.min(layout.span, kEnd - k);
        const stepWords = (kCount / 4) * (stepBytes(format) / 4);
        if (blockSize && k >= source.readableK) {
          // A block of 16 that only fills K up to a multiple of 32: scale 0.
          words.fill(0, at, at + layout.headBytes / 4 + stepWords);
          at += layout.headBytes / 4 + stepWords;
          continue;
        }
        if (layout.headBytes) at += writeHead(n, blockSize ? Math.floor(k / blockSize) : 0, at);
        format.packSteps(source, n, k, kCount, words, at);
        at += stepWords;
      }
  }
  if (!blockSize) {
    const channelScales = new Float32Array(buffer, byteOffset + layout.panelBytes, roundUp(N, PANEL));
    channelScales.fill(0, N);
    for (let n = 0; n < N; n++) channelScales[n] = scale(n, 0);
  }
}

/** Writes the scales and zero points of (panel at n, block) at word `at`; returns the words written. */
function headWriter(
  weights: QuantizedWeights,
  format: WeightFormat,
  { blocks }: FileLayout,
  buffer: ArrayBufferLike,
  byteOffset: number,
): (n: number, block: number, at: number) => number {
  const { N, blockSize, scales, zeroPoints } = weights;
  const zeroPoint = zeroPointReader(weights);
  const kind = scaleKindOf(scales);
  const stored = new kind.array(buffer, byteOffset);
  const bytes = new Uint8Array(buffer, byteOffset);
  const scaleWords = blockSize ? (PANEL * kind.bytes) / 4 : 0;
  const perWord = 4 / kind.bytes;
  return (n, block, at) => {
    // Rows past N: scale 0, so that whatever their codes are, they add nothing.
    if (blockSize)
      for (let row = 0; row < PANEL; row++)
        stored[at * perWord + row] = n + row < N ? scales[(n + row) * blocks + block] : 0;
    if (!zeroPoints) return scaleWords;
    for (let row = 0; row < PANEL; row++)
      bytes[4 * (at + scaleWords) + row] =
        (n + row < N ? zeroPoint(n + row, block) : format.symmetricZeroPoint) + format.packedOffset;
    return scaleWords + PANEL / 4;
  };
}
