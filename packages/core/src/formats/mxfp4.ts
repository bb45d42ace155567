/**
 * mxfp4 (OCP Microscaling v1.0): E2M1 elements 0 0.5 1 1.5 2 3 4 6 with a sign, one E8M0 scale per 32 k.
 *
 * Doubled, the elements are the integers 0 1 2 3 4 6 8 12: they multiply exactly, with half the block's scale. A table of
 * 16 bytes turns codes into them (i8x16.swizzle), with 12 added so that they are unsigned. Packed like int4.
 */
import { i16x8, relaxed, v128 } from '../wasm/emitter.ts';
import { K_STEP, type WeightFormat } from './format.ts';
import { int4 } from './int4.ts';
import { packedCodes } from './packed-codes.ts';

/** Twice the value of each E2M1 code. */
export const E2M1_DOUBLED: readonly number[] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
/** Added to a doubled element, so that it is a byte 0..24. */
const LARGEST = 12;

export const mxfp4: WeightFormat = {
  id: 'mxfp4',
  bits: 4,
  blockSizes: [K_STEP, K_STEP],
  scaleIds: ['e8m0'],
  perChannel: false,
  asymmetric: false,
  symmetricZeroPoint: 0,
  packedOffset: 0,
  chunkSize: () => K_STEP,
  nests: false,
  table: true,
  codes(f, { laneBits }) {
    const nibbles = packedCodes(f, 4, { laneBits: 8, nested: false });
    const table = f.let(v128.const(...E2M1_DOUBLED.map((value) => value + LARGEST)));
    const byte = laneBits === 16 ? f.let(v128.const16(0xff)) : undefined;
    return {
      zeroCode: LARGEST,
      nested: false,
      groups(vector) {
        const codes = nibbles.groups(vector)(0);
        if (!byte) return () => codes.map((pair) => relaxed.swizzle(table, pair));
        const elements = codes.map((pair) => f.let(v128.swizzle(table, pair)));
        return (operand) => elements.map((pair) => (operand ? i16x8.shrU(pair, 8) : v128.and(pair, byte)));
      },
    };
  },
  packSteps: int4.packSteps,
  code: (data, rowBytes, n, k) => E2M1_DOUBLED[int4.code(data, rowBytes, n, k)],
  zeroPoint: () => 0,
};
