/**
 * int2: codes 0..3, `real = scale · (code − zeroPoint)`, one scale per block of 32, 64, … k, zero point 2 unless stored.
 *
 * A lane of a step is one byte in memory, widened by the load: four codes, one per group, group 0 lowest. 8 bytes hold
 * 16 rows x 2 k.
 */
import { i16x8, relaxed, v128 } from '../wasm/emitter.ts';
import { range } from '../wasm/loops.ts';
import { readCode } from './codes.ts';
import { eachGroup, K_STEP, rowOffset, type StepReader, type WeightFormat } from './format.ts';
import { inPlaceChunk, inPlaceCodes, type PackedLanes, shiftedCodes } from './in-place.ts';
import { unsignedQuads } from './quads.ts';

const lanes: PackedLanes = { bits: 2, symmetric: 2, load: (ptr, offset) => v128.load8x8U(ptr, offset) };
/** Codes of even k in a word of 16: two bits in each nibble. */
const EVEN = 0x33333333;

export const int2: WeightFormat = {
  id: 'int2',
  bits: 2,
  blockSizes: [K_STEP, 2 ** 30],
  perChannel: false,
  scaleIds: ['f32', 'f16'],
  asymmetric: true,
  stepBytes: 8,
  symmetricZeroPoint: lanes.symmetric,
  chunkSize: inPlaceChunk,
  raw: (f, variant) => inPlaceCodes(f, lanes, variant),
  exact: (f, variant) => shiftedCodes(f, lanes, variant),
  quads(f) {
    const mask = f.let(v128.const(...Array<number>(16).fill(0x03)));
    const interleave = f.let(v128.const(...range(16).map((i) => (i >> 1) + 8 * (i & 1)))); // bytes of two steps
    const step: StepReader = (ptr, offset) => {
      const codes = f.let(relaxed.swizzle(v128.load(ptr, offset), interleave));
      return eachGroup((g) => v128.and(g ? i16x8.shrU(codes, 2 * g) : codes, mask));
    };
    return unsignedQuads(f, step, lanes.symmetric);
  },

  packSteps(source, n, k, kCount, out, at) {
    const { view } = source;
    for (let row = 0; row < 4; row++) {
      const shift = 16 * (row & 1); // two rows share a word of the step
      const r0 = rowOffset(source, n + row) + k / 4;
      const r1 = rowOffset(source, n + 4 + row) + k / 4;
      const r2 = rowOffset(source, n + 8 + row) + k / 4;
      const r3 = rowOffset(source, n + 12 + row) + k / 4;
      for (let byte = 0, to = at + (row >> 1); byte < kCount / 4; byte += 4) {
        const w0 = view.getUint32(r0 + byte, true);
        const w1 = view.getUint32(r1 + byte, true);
        const w2 = view.getUint32(r2 + byte, true);
        const w3 = view.getUint32(r3 + byte, true);
        // Nibble s belongs to step s: the lower and upper half of the even-k byte, then of the odd-k byte.
        const a = (w0 & EVEN) | ((w1 & EVEN) << 2);
        const b = (w2 & EVEN) | ((w3 & EVEN) << 2);
        const c = ((w0 >>> 2) & EVEN) | (w1 & ~EVEN);
        const d = ((w2 >>> 2) & EVEN) | (w3 & ~EVEN);
        for (let s = 0; s < 32; s += 4, to += 2) {
          const pair = ((a >>> s) & 15) | (((b >>> s) & 15) << 4) | (((c >>> s) & 15) << 8) | (((d >>> s) & 15) << 12);
          out[to] = shift ? (out[to] & 0xffff) | (pair << 16) : pair;
        }
      }
    }
  },

  code: (data, rowBytes, n, k) => readCode(data, n * rowBytes, k, 2),
  zeroPoint: (zeroPoints, blocks, n, block) => readCode(zeroPoints, n * Math.ceil(blocks / 4), block, 2),
};
