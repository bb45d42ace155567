/**
 * What forecasts have to know of formats and kernels. These are copies, which a test holds equal to what they are copies of: pages fetch
 * forecasts when somebody asks for them, and modules that they shared with the kernels would be chunks of their own for everybody.
 */
import type { KvType } from '../../attention/contract.ts';
import type { FormatId } from '../../formats/weights.ts';

/** How kernels unpack weights: a load that extends, a mask or shift, a lookup. */
export type Unpacking = 'byte' | 'codes' | 'table';

export interface FormatFacts {
  /** Of a weight. */
  readonly bits: number;
  readonly unpacking: Unpacking;
  /** k of a scaled integer sum, for a block size; null = one scale per channel. */
  readonly chunk: 32 | 'block';
  /** Of the scale of a block. */
  readonly scaleBytes: number;
}

const CODEBOOK: FormatFacts = { bits: 4, unpacking: 'table', chunk: 'block', scaleBytes: 4 };

export const FORMAT_FACTS: Readonly<Record<FormatId, FormatFacts>> = {
  int8: { bits: 8, unpacking: 'byte', chunk: 'block', scaleBytes: 4 },
  int4: { bits: 4, unpacking: 'codes', chunk: 32, scaleBytes: 4 },
  int2: { bits: 2, unpacking: 'codes', chunk: 32, scaleBytes: 4 },
  mxfp4: { bits: 4, unpacking: 'table', chunk: 32, scaleBytes: 1 },
  nf4: CODEBOOK,
  fp4: CODEBOOK,
  nf4low: CODEBOOK,
  fp4low: CODEBOOK,
};

/** Columns that lie side by side; k that weights are padded to; k of the largest exact sum; rows of a slice; rows that a panel is widened for. */
export const [PANEL, K_STEP, K_BLOCK, SLICE_ROWS, WIDENED_ROWS] = [16, 32, 256, 256, 8] as const;

/** Bytes of an element of a cache of keys and values; keys of a page; rows of a task. */
export const KV_BYTES: Readonly<Record<KvType, number>> = { int16: 2, int8: 1, float: 4 };
export const [PAGE_KEYS, TASK_ROWS] = [64, 64] as const;

/** Products of a call that are worth handing to several threads. */
export const SHARED_PRODUCTS = 2 ** 18;

export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** k per scaled sum. */
export const chunkOf = (format: FormatId, blockSize: number | null): number =>
  FORMAT_FACTS[format].chunk === 'block' ? Math.min(K_BLOCK, blockSize ?? K_BLOCK) : K_STEP;

/** Bytes of packed weights with their scales. */
export function packedBytes(format: FormatId, blockSize: number | null, N: number, K: number): number {
  const { bits, scaleBytes } = FORMAT_FACTS[format];
  const columns = roundUp(N, PANEL);
  const paddedK = roundUp(K, K_STEP);
  const scales = blockSize === null ? 4 : scaleBytes * Math.ceil(paddedK / Math.min(blockSize, K_BLOCK));
  return columns * ((paddedK * bits) / 8 + scales);
}
