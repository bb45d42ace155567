/**
 * nf4, fp4 (bitsandbytes): four bits that choose one of 16 real numbers between -1 and 1, times the largest magnitude of the block.
 *
 * Products want integers of 8 bits, so each number is split like an activation: `number = (high + low / 256) · STEP`. `nf4` and `fp4`
 * have the high parts, `nf4low` and `fp4low` the low ones: of the same codes, with 1/256 of the scales. One product
 * alone is off by 0.5 % of the weights (relative L2), a twentieth of the codebook's own error. Both together are off by
 * less than 2⁻¹⁵ of the block's largest magnitude for NF4, and exact for FP4. Three of NF4's low parts are rounded the
 * other way, so that the remaining error is 0 on average: activations of one sign would add it up.
 * (docs/msd.md, section 5)
 */
import { K_BLOCK, MIN_BLOCK, type WeightFormat } from './format.ts';
import { int4 } from './int4.ts';
import { packedChunk } from './packed-codes.ts';
import { tableCodes } from './table.ts';

/** Codebooks: the high parts of their numbers, and the low parts that remain. */
export type CodebookId = 'nf4' | 'fp4' | 'nf4low' | 'fp4low';

export interface Codebook {
  /** The integer that each code stands for, at most 127 in magnitude. */
  readonly values: readonly number[];
  /** A block whose largest magnitude is m has the scale m · step. */
  readonly step: number;
}

const both = (positive: readonly number[]): readonly number[] => [...positive, ...positive.map((value) => 0 - value)];

/**
 * - `nf4`: quantiles of a normal distribution.
 * - `fp4`: 0 1/192 2/3 1 1/3 1/2 1/6 1/4 with a sign. In steps of 1/120 all but 1/192 are integers, and that is 1 − 96/256.
 */
export const codebooks: Readonly<Record<CodebookId, Codebook>> = {
  nf4: { values: [-124, -86, -65, -49, -35, -23, -11, 0, 10, 20, 31, 42, 55, 70, 90, 124], step: 1 / 124 },
  nf4low: { values: [0, -84, -28, 8, -69, 22, -74, 0, -34, -12, -123, -25, -90, -60, -91, 0], step: 1 / 124 / 256 },
  fp4: { values: /* @__PURE__ */ both([0, 1, 80, 120, 40, 60, 20, 30]), step: 1 / 120 },
  fp4low: { values: /* @__PURE__ */ both([0, -96, 0, 0, 0, 0, 0, 0]), step: 1 / 120 / 256 },
};

export const codebookIds: readonly CodebookId[] = ['nf4', 'fp4', 'nf4low', 'fp4low'];

/** The unsigned byte that means 0. */
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
