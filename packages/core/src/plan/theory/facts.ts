/**
 * Facts about formats and kernels that forecasts need. They are copies, and a test compares them with the originals:
 * pages fetch forecasts only on request, and modules shared with the kernels would become chunks of their own for every
 * page.
 */
import type { FormatId } from '../../formats/weights.ts';

/** How kernels unpack weights: a load that extends, a mask or shift, a lookup. */
export type Unpacking = 'byte' | 'codes' | 'table';

/** Bits of a weight, how it is unpacked, k of a scaled integer sum (0 = as many as share a scale), bytes of the scale of a block. */
type FormatFacts = readonly [bits: number, unpacking: Unpacking, chunk: number, scaleBytes: number];

const CODEBOOK: FormatFacts = [4, 'table', 0, 4];

export const FORMAT_FACTS: Readonly<Record<FormatId, FormatFacts>> = {
  int8: [8, 'byte', 0, 4],
  int4: [4, 'codes', 32, 4],
  int2: [2, 'codes', 32, 4],
  mxfp4: [4, 'table', 32, 1],
  nf4: CODEBOOK,
  fp4: CODEBOOK,
  nf4low: CODEBOOK,
  fp4low: CODEBOOK,
};

/** Columns that lie side by side; k that weights are padded to; k of the largest exact sum; rows of a slice; rows that a panel is widened for by `i16`, and by `i8`. */
export const [PANEL, K_STEP, K_BLOCK, SLICE_ROWS, WIDENED_ROWS, WIDENED_I8] = [16, 32, 256, 256, 5, 8] as const;

/** Keys of a page; rows of a task. */
export const [PAGE_KEYS, TASK_ROWS] = [64, 64] as const;

/** From this many products on, a call is worth sharing among threads. */
export const SHARED_PRODUCTS = 2 ** 18;

export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** k per scaled sum. */
export const chunkOf = (format: FormatId, blockSize: number | null): number =>
  FORMAT_FACTS[format][2] || Math.min(K_BLOCK, blockSize ?? K_BLOCK);

/** Bytes of packed weights with their scales. */
export function packedBytes(format: FormatId, blockSize: number | null, N: number, K: number): number {
  const [bits, , , scaleBytes] = FORMAT_FACTS[format];
  const columns = roundUp(N, PANEL);
  const paddedK = roundUp(K, K_STEP);
  const scales = blockSize === null ? 4 : scaleBytes * Math.ceil(paddedK / Math.min(blockSize, K_BLOCK));
  return columns * ((paddedK * bits) / 8 + scales);
}
