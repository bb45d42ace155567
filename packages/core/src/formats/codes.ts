/** Codes of 2, 4 or 8 bits in rows of bytes, lowest bits first. */

/** Code i of a row that starts at byte `row`. */
export function readCode(bytes: ArrayLike<number>, row: number, i: number, bits: 2 | 4 | 8): number {
  const perByte = 8 / bits;
  return (bytes[row + Math.floor(i / perByte)] >> (bits * (i % perByte))) & (2 ** bits - 1);
}

/** Writes code i of a row; the place holds zeros. */
export function writeCode(bytes: Uint8Array, row: number, i: number, bits: 2 | 4 | 8, code: number): void {
  const perByte = 8 / bits;
  bytes[row + Math.floor(i / perByte)] |= code << (bits * (i % perByte));
}
