/**
 * Codes as bytes, for carriers with 8-bit operands: 16 rows x 4 k are four vectors, group g = rows 4g … 4g+3, and lane r
 * of a vector holds (row 4g+r; k, k+2, k+1, k+3). The order inside the four is what interleaving two steps of the packed
 * layout gives; decompose writes its digits in the same one.
 */
import { type Func, type I32, i16x8, type V128, v128 } from '../wasm/emitter.ts';
import type { StepReader } from './format.ts';
import { negatedZeroPoints32 } from './zero-points.ts';

/**
 * How an engine's relaxed dot takes a whole byte as its second operand: as 0..255, or as −128..127. Bytes 0..127 are the
 * same to all of them.
 */
export type ByteOperand = 'unsigned' | 'signed';

export interface QuadReader {
  /** Codes of 16 rows x 4 k from the two packed steps at ptr + offset. */
  readonly step: StepReader;
  /** The code that means 0, unless zero points are stored. */
  readonly zeroCode: number;
  /** −(code that means 0) of the 16 rows as i32 lanes, four vectors, from the 16 stored bytes at `address`. */
  readonly negatedZeroCodes: (address: I32) => V128[];
}

/** Four groups of nibbles from two steps of 16-bit lanes. */
export function nibbleQuads(f: Func): StepReader {
  const nibble = f.let(v128.const(...Array<number>(16).fill(0x0f)));
  const lowByte = f.let(v128.const16(0x00ff));
  return (ptr, offset) => {
    const a = f.let(v128.load(ptr, offset));
    const b = f.let(v128.load(ptr, offset + 16));
    const low = f.let(v128.or(v128.and(a, lowByte), i16x8.shl(b, 8))); // groups 0 and 1
    const high = f.let(v128.or(i16x8.shrU(a, 8), v128.andNot(b, lowByte))); // groups 2 and 3
    return [low, high].flatMap((pair) => [v128.and(pair, nibble), v128.and(i16x8.shrU(pair, 4), nibble)]);
  };
}

/** Unsigned codes with `symmetric` as the default zero point. */
export const unsignedQuads = (f: Func, step: StepReader, symmetric: number): QuadReader => ({
  step,
  zeroCode: symmetric,
  negatedZeroCodes: (address) => negatedZeroPoints32(f, address),
});
