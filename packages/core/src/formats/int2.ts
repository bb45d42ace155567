/**
 * int2: codes 0..3, `real = scale · (code − zeroPoint)`, one scale per block of 16, 32, … k, zero point 2 unless stored.
 *
 * A byte of a step holds four codes of the same k, one per group, group 0 lowest: 16 bytes are 16 rows x 4 k.
 */
import { readCode } from './codes.ts';
import { K_STEP, MIN_BLOCK, rowOffset, type WeightFormat } from './format.ts';
import { packedChunk, packedCodes, transposeBytes } from './packed-codes.ts';

export const int2: WeightFormat = {
  id: 'int2',
  bits: 2,
  operandBits: 7,
  blockSizes: [MIN_BLOCK, 2 ** 30],
  perChannel: false,
  scaleIds: ['f32', 'f16'],
  asymmetric: true,
  symmetricZeroPoint: 2,
  packedOffset: 0,
  chunkSize: (blockSize) => packedChunk(blockSize, K_STEP),
  nests: true,
  table: false,
  codes: (f, options) => ({ ...packedCodes(f, 2, options), zeroCode: 2 }),

  packSteps(source, n, k, kCount, out, at) {
    const { view } = source;
    for (let row = 0; row < 4; row++) {
      const r0 = rowOffset(source, n + row) + k / 4;
      const r1 = rowOffset(source, n + 4 + row) + k / 4;
      const r2 = rowOffset(source, n + 8 + row) + k / 4;
      const r3 = rowOffset(source, n + 12 + row) + k / 4;
      for (let byte = 0, to = at + row; byte < kCount / 4; byte += 4, to += 16) {
        // Words of 16 k, four steps; every byte of the file is a quad of k.
        const w0 = view.getUint32(r0 + byte, true);
        const w1 = view.getUint32(r1 + byte, true);
        const w2 = view.getUint32(r2 + byte, true);
        const w3 = view.getUint32(r3 + byte, true);
        const ofK = (i: number) => {
          const code = (word: number) => (word >>> (2 * i)) & 0x03030303;
          return code(w0) | (code(w1) << 2) | (code(w2) << 4) | (code(w3) << 6);
        };
        transposeBytes(ofK(0), ofK(2), ofK(1), ofK(3), out, to, 4);
      }
    }
  },

  code: (data, rowBytes, n, k) => readCode(data, n * rowBytes, k, 2),
  zeroPoint: (zeroPoints, blocks, n, block) => readCode(zeroPoints, n * Math.ceil(blocks / 4), block, 2),
};
