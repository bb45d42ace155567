/**
 * nf4, fp4 (bitsandbytes): four bits that choose one of 16 real numbers between -1 and 1, times the largest magnitude of the block.
 *
 * Products want integers, so each number lies on a grid of 8 bits, `value ≈ step · integer`: what that costs is in docs/msd.md,
 * section 5. A block's scale is its largest magnitude times `step`. Packed like int4.
 */
import { K_BLOCK, MIN_BLOCK, type WeightFormat } from './format.ts';
import { int4 } from './int4.ts';
import { packedChunk } from './packed-codes.ts';
import { tableCodes } from './table.ts';

/** Formats whose codes stand for real numbers. */
export type CodebookId = 'nf4' | 'fp4';

export interface Codebook {
  /** The integer that each code stands for, at most 127 in magnitude. */
  readonly values: readonly number[];
  /** Of the grid: a block whose largest magnitude is m has the scale m · step. */
  readonly step: number;
}

const FP4_MAGNITUDES = [0, 1, 80, 120, 40, 60, 20, 30] as const;

/**
 * - `nf4`: quantiles of a normal distribution. The grid is the one of least squared error over Gaussian blocks of 64.
 * - `fp4`: 0 1/192 2/3 1 1/3 1/2 1/6 1/4 with a sign. In steps of 1/120 all but 1/192 are integers.
 */
export const codebooks: Readonly<Record<CodebookId, Codebook>> = {
  nf4: { values: [-124, -86, -65, -49, -35, -23, -11, 0, 10, 20, 31, 42, 55, 70, 90, 124], step: 1 / 124.12 },
  fp4: {
    values: /* @__PURE__ */ [...FP4_MAGNITUDES, .../* @__PURE__ */ FP4_MAGNITUDES.map((value) => 0 - value)],
    step: 1 / 120,
  },
};

/** The code that means 0 where bytes are unsigned. */
const MIDDLE = 128;

export const codebookFormat = (id: CodebookId): WeightFormat => ({
  id,
  bits: 4,
  operandBits: 8,
  blockSizes: [MIN_BLOCK, 2 ** 30],
  scaleIds: ['f32'],
  perChannel: false,
  asymmetric: false,
  symmetricZeroPoint: 0,
  packedOffset: 0,
  chunkSize: (blockSize) => packedChunk(blockSize, K_BLOCK),
  nests: false,
  table: true,
  codes: (f, options) => tableCodes(f, options, codebooks[id].values, MIDDLE),
  packSteps: int4.packSteps,
  code: (data, rowBytes, n, k) => codebooks[id].values[int4.code(data, rowBytes, n, k)],
  zeroPoint: () => 0,
});
