/**
 * Packed bytes of layout 1, which saved models may hold -> those of layout 2. A step had 16 rows x 2 k there, so two of them
 * take the place of one of 16 rows x 4 k: blocks, heads and sizes are the same.
 *
 *   int8          byte 2·row + parity of a step; signed, its zero points too
 *   int4, mxfp4   16-bit lane 2·(row mod 4) + parity: four nibbles, lowest bits for rows 0 … 3
 *   int2          byte 2·(row mod 4) + parity: four codes, likewise
 */
import { K_BLOCK, PANEL, stepBytes } from './format.ts';
import { formats } from './index.ts';
import { type PackedLayout, scaleBytes } from './layout.ts';
import type { PackedShape } from './packed.ts';

/** (k, k+1) and (k+2, k+3) as bytes -> k, k+2, k+1, k+3. */
const quad = (first: number, second: number): number =>
  (first & 0xff) | ((second & 0xff) << 8) | ((first & 0xff00) << 8) | ((second & 0xff00) << 16);

/** @param bytes changed in place; a multiple of 4 bytes into its buffer */
export function repackVersion1(
  shape: PackedShape,
  { paddedK, panels, span, headBytes }: PackedLayout,
  bytes: Uint8Array,
) {
  const format = formats[shape.format];
  const zeroPointsAt = shape.storedZeroPoints && format.bits === 8 ? scaleBytes(shape) : undefined;
  const step = stepBytes(format);
  const flip = format.bits === 8 ? 0x80808080 : 0;
  const pairs = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  const lanes = new Uint32Array(step / 4);
  const half = step / 4; // pairs of a step of layout 1

  const repackStep = (at: number) => {
    if (format.bits === 4)
      for (let row = 0; row < 4; row++) {
        const [first, second] = [words[at / 4 + row], words[at / 4 + 4 + row]];
        lanes[row] = (first & 0x00ff00ff) | ((second & 0x00ff00ff) << 8);
        lanes[4 + row] = ((first >>> 8) & 0x00ff00ff) | (second & 0xff00ff00);
      }
    else for (let row = 0; row < half; row++) lanes[row] = quad(pairs[at / 2 + row], pairs[at / 2 + half + row]) ^ flip;
    words.set(lanes, at / 4);
  };

  let at = 0;
  for (let k0 = 0; k0 < paddedK; k0 += K_BLOCK) {
    const kEnd = Math.min(k0 + K_BLOCK, paddedK);
    for (let panel = 0; panel < panels; panel++)
      for (let k = k0; k < kEnd; k += span) {
        if (zeroPointsAt !== undefined) for (let row = 0; row < PANEL; row++) bytes[at + zeroPointsAt + row] ^= 0x80;
        at += headBytes;
        for (let i = 0; i < Math.min(span, kEnd - k); i += 4, at += step) repackStep(at);
      }
  }
}
