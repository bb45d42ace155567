/**
 * int4: codes 0..15, `real = scale · (code − zeroPoint)`, one scale per block of 16, 32, … k, zero point 8 unless stored.
 *
 * Lane i of a step holds four nibbles, one per group, group 0 lowest: 16 bytes for 16 rows x 2 k.
 */
import { v128 } from '../wasm/emitter.ts';
import { readCode } from './codes.ts';
import { MIN_BLOCK, rowOffset, type WeightFormat } from './format.ts';
import { inPlaceChunk, inPlaceCodes, type PackedLanes, shiftedCodes } from './in-place.ts';
import { nibbleQuads, unsignedQuads } from './quads.ts';

const lanes: PackedLanes = { bits: 4, symmetric: 8, load: (ptr, offset) => v128.load(ptr, offset) };

export const int4: WeightFormat = {
  id: 'int4',
  bits: 4,
  blockSizes: [MIN_BLOCK, 2 ** 30],
  perChannel: false,
  scaleIds: ['f32', 'f16'],
  asymmetric: true,
  stepBytes: 16,
  symmetricZeroPoint: lanes.symmetric,
  chunkSize: inPlaceChunk,
  raw: (f, variant) => inPlaceCodes(f, lanes, variant),
  exact: (f, variant) => shiftedCodes(f, lanes, variant),
  quads: (f) => unsignedQuads(f, nibbleQuads(f), lanes.symmetric),

  packSteps(source, n, k, kCount, out, at) {
    const { view } = source;
    for (let row = 0; row < 4; row++) {
      const r0 = rowOffset(source, n + row) + k / 2;
      const r1 = rowOffset(source, n + 4 + row) + k / 2;
      const r2 = rowOffset(source, n + 8 + row) + k / 2;
      const r3 = rowOffset(source, n + 12 + row) + k / 2;
      for (let byte = 0, to = at + row; byte < kCount / 2; byte += 4, to += 16) {
        // Four words of eight k each, one per group; every byte holds (k, k+1).
        const w0 = view.getUint32(r0 + byte, true);
        const w1 = view.getUint32(r1 + byte, true);
        const w2 = view.getUint32(r2 + byte, true);
        const w3 = view.getUint32(r3 + byte, true);
        // The lower and upper byte of the even-k lane, then of the odd-k lane, for four steps at once …
        const a = (w0 & 0x0f0f0f0f) | ((w1 & 0x0f0f0f0f) << 4);
        const b = (w2 & 0x0f0f0f0f) | ((w3 & 0x0f0f0f0f) << 4);
        const c = ((w0 >>> 4) & 0x0f0f0f0f) | (w1 & 0xf0f0f0f0);
        const d = ((w2 >>> 4) & 0x0f0f0f0f) | (w3 & 0xf0f0f0f0);
        // … and a 4 x 4 transposition of bytes puts each step's word together.
        out[to] = (a & 0xff) | ((b & 0xff) << 8) | ((c & 0xff) << 16) | (d << 24);
        out[to + 4] = ((a >>> 8) & 0xff) | (b & 0xff00) | ((c & 0xff00) << 8) | ((d & 0xff00) << 16);
        out[to + 8] = ((a >>> 16) & 0xff) | ((b >>> 8) & 0xff00) | (c & 0xff0000) | ((d & 0xff0000) << 8);
        out[to + 12] = (a >>> 24) | ((b >>> 16) & 0xff00) | ((c >>> 8) & 0xff0000) | (d & 0xff000000);
      }
    }
  },

  code: (data, rowBytes, n, k) => readCode(data, n * rowBytes, k, 4),
  zeroPoint: (zeroPoints, blocks, n, block) => readCode(zeroPoints, n * Math.ceil(blocks / 2), block, 4),
};
