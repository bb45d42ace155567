/**
 * mxfp4 (OCP Microscaling v1.0): E2M1 elements 0 0.5 1 1.5 2 3 4 6 with a sign, one E8M0 scale per 32 k.
 *
 * Doubled, the elements are the integers 0 1 2 3 4 6 8 12: they multiply exactly, with half the block's scale. A table of
 * 16 bytes turns codes into them (i8x16.swizzle), with 12 added so that they are unsigned. Packed like int4.
 */
import { K_STEP, type WeightFormat } from './format.ts';
import { int4 } from './int4.ts';
import { tableCodes } from './table.ts';

/** Twice the value of each E2M1 code. */
export const E2M1_DOUBLED: readonly number[] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
/** Added to a doubled element, so that it is a byte 0..24. */
const LARGEST = 12;

export const mxfp4: WeightFormat = {
  id: 'mxfp4',
  bits: 4,
  operandBits: 7,
  blockSizes: [K_STEP, K_STEP],
  scaleIds: ['e8m0'],
  perChannel: false,
  asymmetric: false,
  symmetricZeroPoint: 0,
  packedOffset: 0,
  chunkSize: () => K_STEP,
  nests: false,
  table: true,
  codes: (f, options) => tableCodes(f, options, E2M1_DOUBLED, LARGEST),
  packSteps: int4.packSteps,
  code: (data, rowBytes, n, k) => E2M1_DOUBLED[int4.code(data, rowBytes, n, k)],
  zeroPoint: () => 0,
};
