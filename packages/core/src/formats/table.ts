/** Codes of 4 bits that stand for integers of a table: packed like int4, read through 16 bytes (i8x16.swizzle). */
import { type Func, i16x8, relaxed, v128 } from '../wasm/emitter.ts';
import type { CodeOptions, CodeReader } from './format.ts';
import { packedCodes } from './packed-codes.ts';

/** @param zeroCode added to each value, so that all of them are unsigned bytes */
export function tableCodes(
  f: Func,
  { laneBits }: CodeOptions,
  values: readonly number[],
  zeroCode: number,
): CodeReader {
  const nibbles = packedCodes(f, 4, { laneBits: 8, nested: false });
  const table = f.let(v128.const(...values.map((value) => value + zeroCode)));
  const byte = laneBits === 16 ? f.let(v128.const16(0xff)) : undefined;
  return {
    zeroCode,
    nested: false,
    groups(vector) {
      const codes = nibbles.groups(vector)(0);
      if (!byte) return () => codes.map((pair) => relaxed.swizzle(table, pair));
      const elements = codes.map((pair) => f.let(v128.swizzle(table, pair)));
      return (operand) => elements.map((pair) => (operand ? i16x8.shrU(pair, 8) : v128.and(pair, byte)));
    },
  };
}
