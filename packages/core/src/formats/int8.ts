/**
 * int8: `real = scale · (q − zeroPoint)`, q in [−128, 127], one scale per output channel or per block of 16 … k.
 * Packed, both q and zero points are codes 0..255 = q + 128: what the unsigned operand of a byte dot product takes, and one
 * instruction makes 16-bit lanes of it. Unsigned files hold such codes already.
 */
import { K_BLOCK, MIN_BLOCK, rowOffset, type SourceRows, type WeightFormat } from './format.ts';
import { packedChunk, packedCodes } from './packed-codes.ts';

/** Four k of a row; the last ones of a row that is not padded are read byte by byte, with zeros after them. */
function word({ view, readableK, flip }: SourceRows, offset: number, k: number): number {
  if (k + 4 <= readableK) return view.getUint32(offset + k, true) ^ flip;
  let bits = 0;
  for (let i = 0; i < 4; i++)
    bits |= (k + i < readableK ? view.getUint8(offset + k + i) ^ (flip & 0xff) : 0x80) << (8 * i);
  return bits;
}

export const int8: WeightFormat = {
  id: 'int8',
  bits: 8,
  operandBits: 8,
  blockSizes: [MIN_BLOCK, 2 ** 30],
  perChannel: true,
  scaleIds: ['f32', 'f16'],
  asymmetric: true,
  symmetricZeroPoint: 0,
  packedOffset: 128,
  chunkSize: (blockSize) => packedChunk(blockSize, K_BLOCK),
  nests: false,
  table: false,
  codes: (f, options) => ({ ...packedCodes(f, 8, options), zeroCode: 128 }),

  packSteps(source, n, k, kCount, out, at) {
    for (let row = 0; row < 16; row++) {
      const offset = rowOffset(source, n + row);
      for (let i = 0, to = at + row; i < kCount; i += 4, to += 16) {
        const quad = word(source, offset, k + i);
        out[to] = (quad & 0xff0000ff) | ((quad & 0xff00) << 8) | ((quad >>> 8) & 0xff00);
      }
    }
  },

  code: (data, rowBytes, n, k) => data[n * rowBytes + k] - (data instanceof Uint8Array ? 128 : 0),
  zeroPoint: (zeroPoints, blocks, n, block) =>
    zeroPoints[n * blocks + block] - (zeroPoints instanceof Uint8Array ? 128 : 0),
};
