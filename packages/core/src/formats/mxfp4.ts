/**
 * mxfp4 (OCP Microscaling v1.0): E2M1 elements 0 0.5 1 1.5 2 3 4 6 with a sign, one E8M0 scale per 32 k.
 *
 * Doubled, the elements are the integers 0 1 2 3 4 6 8 12: they multiply exactly, with half the block's scale. A table of
 * 16 bytes turns codes into them (i8x16.swizzle), two groups at a time. Packed like int4, codes in place of nibbles.
 */
import { type Func, i16x8, relaxed, type V128, v128 } from '../wasm/emitter.ts';
import { type CodeReader, K_STEP, type StepReader, type WeightFormat } from './format.ts';
import { int4 } from './int4.ts';
import { nibbleQuads, unsignedQuads } from './quads.ts';

/** Twice the value of each E2M1 code. */
export const E2M1_DOUBLED: readonly number[] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
/** Added to a doubled element, so that it is a byte 0..24. */
const LARGEST = 12;

function reader(f: Func): CodeReader {
  const nibble = f.let(v128.const(...Array<number>(16).fill(0x0f)));
  const table = f.let(v128.const(...E2M1_DOUBLED.map((value) => value & 0xff)));
  const low = (pair: V128) => i16x8.shrS(i16x8.shl(pair, 8), 8);
  const high = (pair: V128) => i16x8.shrS(pair, 8);
  return {
    shift: [0, 0, 0, 0],
    block: () => ({
      step: (ptr, offset) => {
        const step = f.let(v128.load(ptr, offset));
        const even = f.let(v128.swizzle(table, v128.and(step, nibble))); // groups 0 and 2
        const odd = f.let(v128.swizzle(table, v128.and(i16x8.shrU(step, 4), nibble))); // groups 1 and 3
        return [low(even), low(odd), high(even), high(odd)];
      },
    }),
  };
}

export const mxfp4: WeightFormat = {
  id: 'mxfp4',
  bits: 4,
  stepBytes: 16,
  blockSizes: [K_STEP, K_STEP],
  scaleIds: ['e8m0'],
  perChannel: false,
  asymmetric: false,
  symmetricZeroPoint: 0,
  chunkSize: () => K_STEP,
  raw: reader,
  exact: reader,
  quads(f) {
    const codes = nibbleQuads(f);
    const table = f.let(v128.const(...E2M1_DOUBLED.map((value) => value + LARGEST)));
    const step: StepReader = (ptr, offset) => codes(ptr, offset).map((vector) => relaxed.swizzle(table, vector));
    return unsignedQuads(f, step, LARGEST);
  },
  packSteps: int4.packSteps,
  code: (data, rowBytes, n, k) => E2M1_DOUBLED[int4.code(data, rowBytes, n, k)],
  zeroPoint: () => 0,
};
