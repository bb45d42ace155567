/** What codes and half-precision patterns stand for, in JavaScript. */
import { type HalfType, halves } from '../../formats/half.ts';
import type { BlockRows, Table } from './table.ts';

/** Code number `at`. */
export function codeAt(bytes: Uint8Array, at: number, { bits, signed }: BlockRows): number {
  if (bits === 8) return signed ? (bytes[at] << 24) >> 24 : bytes[at];
  const nibble = (bytes[at >> 1] >> (4 * (at & 1))) & 15;
  return signed ? (nibble ^ 8) - 8 : nibble;
}

/** Block b of a row, whose codes start at byte 0: (code − zero) · scale, rounded as `out` is. */
export function writeBlock(
  { columns }: Table,
  { bits, signed, blockSize }: BlockRows,
  codes: Uint8Array,
  b: number,
  scale: number,
  zero: number,
  out: Float32Array | Float64Array,
  at: number,
): void {
  const bias = signed ? 2 ** (bits - 1) : 0; // flips the sign bit, then takes it off again
  const less = bias + zero;
  const end = Math.min((b + 1) * blockSize, columns);
  if (bits === 8) for (let c = b * blockSize; c < end; c++) out[at + c] = ((codes[c] ^ bias) - less) * scale;
  else
    for (let c = b * blockSize; c < end; c += 2) {
      const two = codes[c >> 1];
      out[at + c] = (((two & 15) ^ bias) - less) * scale;
      out[at + c + 1] = (((two >> 4) ^ bias) - less) * scale;
    }
}

const tables = new Map<HalfType, Float32Array>();

/** Values of all bit patterns: looked up ten times as fast as they are computed. */
export function halfValues(type: HalfType): Float32Array {
  let table = tables.get(type);
  if (!table) {
    table = Float32Array.from({ length: 65_536 }, (_, pattern) => halves[type].value(pattern));
    tables.set(type, table);
  }
  return table;
}
