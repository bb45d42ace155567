/**
 * int4: codes 0..15, `real = scale · (code − zeroPoint)`, one scale per block of 16, 32, … k, zero point 8 unless stored.
 *
 * Low nibbles of a step's first vector are rows 0 … 3, high ones rows 4 … 7; the second one has rows 8 … 15.
 */
import { readCode } from './codes.ts';
import { K_STEP, MIN_BLOCK, rowOffset, type WeightFormat } from './format.ts';
import { packedChunk, packedCodes } from './packed-codes.ts';

export const int4: WeightFormat = {
  id: 'int4',
  bits: 4,
  operandBits: 7,
  blockSizes: [MIN_BLOCK, 2 ** 30],
  perChannel: false,
  scaleIds: ['f32', 'f16'],
  asymmetric: true,
  symmetricZeroPoint: 8,
  packedOffset: 0,
  chunkSize: (blockSize) => packedChunk(blockSize, K_STEP),
  nests: true,
  table: false,
  codes: (f, options) => ({ ...packedCodes(f, 4, options), zeroCode: 8 }),

  packSteps(source, n, k, kCount, out, at) {
    const { view } = source;
    for (let lane = 0; lane < 8; lane++) {
      const row = n + lane + (lane & 4); // of the lower nibbles
      const low = rowOffset(source, row) + k / 2;
      const high = rowOffset(source, row + 4) + k / 2;
      for (let byte = 0, to = at + lane; byte < kCount / 2; byte += 4, to += 16) {
        // Eight k of two rows, two steps; every byte of the file holds (k, k+1).
        const w0 = view.getUint32(low + byte, true);
        const w1 = view.getUint32(high + byte, true);
        const even = (w0 & 0x0f0f0f0f) | ((w1 & 0x0f0f0f0f) << 4);
        const odd = ((w0 >>> 4) & 0x0f0f0f0f) | (w1 & 0xf0f0f0f0);
        out[to] = (even & 0xffff) | (odd << 16);
        out[to + 8] = (even >>> 16) | (odd & 0xffff0000);
      }
    }
  },

  code: (data, rowBytes, n, k) => readCode(data, n * rowBytes, k, 4),
  zeroPoint: (zeroPoints, blocks, n, block) => readCode(zeroPoints, n * Math.ceil(blocks / 2), block, 4),
};
