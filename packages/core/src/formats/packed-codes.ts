/** Codes of 2, 4 or 8 bits in the bytes of a step: the readers that int8, int4 and int2 share, and their way into it. */
import { type Func, i16x8, type V128, v128 } from '../wasm/emitter.ts';
import { range } from '../wasm/loops.ts';
import type { CodeOptions, CodeReader } from './format.ts';

const mask = (f: Func, bits: number, laneBits: 8 | 16) => {
  const lane = 2 ** bits - 1;
  return f.let(v128.const16(laneBits === 8 ? lane | (lane << 8) : lane));
};

export function packedCodes(
  f: Func,
  bits: 2 | 4 | 8,
  { laneBits, nested }: CodeOptions,
): Pick<CodeReader, 'groups' | 'nested'> {
  const perByte = 8 / bits;
  if (laneBits === 16 && nested === 'high') return broughtDown(f, bits);
  const byte = laneBits === 16 ? mask(f, 8, 16) : undefined;
  const masks = range(nested ? perByte - 1 : 1).map((i) => (bits < 8 ? mask(f, bits * (i + 1), laneBits) : undefined));
  // Masked afterwards, so that bits of the next byte do not matter.
  const from = (lanes: V128, group: number) => (group ? i16x8.shrU(lanes, bits * group) : lanes);
  return {
    nested: nested && perByte > 1 ? 'low' : false,
    groups: (vector) => (operand) => {
      const odd = byte && operand === 1; // brought down: nothing lies above these bytes
      const lanes = odd ? f.let(i16x8.shrU(vector, 8)) : vector;
      const whole = () => (byte && !odd ? v128.and(lanes, byte) : lanes);
      return range(perByte).map((group) => {
        const last = group === perByte - 1;
        if (last && (nested || bits === 8)) return whole();
        if (last && odd) return from(lanes, group);
        return v128.and(nested ? lanes : from(lanes, group), masks[nested ? group : 0] as V128);
      });
    },
  };
}

/** Lanes of 16 bits without a mask: engines that load the operands of all steps first have no register for it. */
function broughtDown(f: Func, bits: 2 | 4 | 8): Pick<CodeReader, 'groups' | 'nested'> {
  return {
    nested: bits < 8 ? 'high' : false,
    groups: (vector) => (operand) => {
      const lanes = operand ? vector : f.let(i16x8.shl(vector, 8));
      return range(8 / bits).map((group) => i16x8.shrU(lanes, 8 + bits * group));
    },
  };
}

/** k per integer sum where groups share bytes: what lies above a code leaves room for 32 products. Blocks of 16 have their own. */
export const packedChunk = (blockSize: number | null, longest: number): number =>
  Math.min(blockSize ?? longest, longest);

/**
 * Writes the quads of four words as they follow each other in four vectors' worth of steps: byte i of word j is byte j of the
 * lane i steps further on.
 *
 * @param stride words from a step's lane to the next one's
 */
export function transposeBytes(
  a: number,
  b: number,
  c: number,
  d: number,
  out: Uint32Array,
  at: number,
  stride: number,
): void {
  out[at] = (a & 0xff) | ((b & 0xff) << 8) | ((c & 0xff) << 16) | (d << 24);
  out[at + stride] = ((a >>> 8) & 0xff) | (b & 0xff00) | ((c & 0xff00) << 8) | ((d & 0xff00) << 16);
  out[at + 2 * stride] = ((a >>> 16) & 0xff) | ((b >>> 8) & 0xff00) | (c & 0xff0000) | ((d & 0xff0000) << 8);
  out[at + 3 * stride] = (a >>> 24) | ((b >>> 16) & 0xff00) | ((c >>> 8) & 0xff0000) | (d & 0xff000000);
}
