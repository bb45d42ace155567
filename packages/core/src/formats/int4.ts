/**
 * int4: codes 0..15, `real = scale · (code − zeroPoint)`, one scale per block of 32 … k, zero point 8 unless stored.
 *
 * Lane i of a step holds four nibbles, one per group, group 0 lowest: 16 bytes for 16 rows x 2 k.
 */
import { type Func, i16x8, i32, i32x4, type V128, v128 } from '../wasm/emitter.ts';
import { eachGroup, K_STEP, MIN_BLOCK, rowOffset, type WeightFormat, type WeightVariant } from './format.ts';
import { negatedZeroPoints32, zeroPointLanes16 } from './zero-points.ts';

const SYMMETRIC = 8;
const splat16 = (f: Func, bits: number) => f.let(v128.const16(bits));
const times = (bits: number) => (vector: V128) => (bits ? i32x4.shl(vector, bits) : vector);

export const int4: WeightFormat = {
  id: 'int4',
  bits: 4,
  blockSizes: [MIN_BLOCK, 2 ** 30],
  perChannel: false,
  scaleIds: ['f32', 'f16'],
  asymmetric: true,
  stepBytes: 16,
  symmetricZeroPoint: SYMMETRIC,
  // In-place nibbles carry a factor of up to 256, which leaves room for 32 products and no more.
  chunkSize: (blockSize) => Math.min(blockSize ?? K_STEP, K_STEP),

  raw(f, { storedZeroPoints }) {
    const low = splat16(f, 0x000f);
    const second = splat16(f, 0x00f0);
    if (storedZeroPoints) {
      // |code − zero point| may be 15: x 256 would overflow, so groups 2 and 3 come down first. 15·32258·32·16 < 2³¹.
      const shift = [0, 4, 0, 0] as const;
      return {
        shift,
        needsSums: true,
        block: (zeroPoints) => {
          const negated = negatedZeroPoints32(f, zeroPoints);
          return {
            step: (ptr, offset) => {
              const step = f.let(v128.load(ptr, offset));
              return [
                v128.and(step, low),
                v128.and(step, second),
                v128.and(i16x8.shrU(step, 8), low),
                i16x8.shrU(step, 12),
              ];
            },
            start: (sum) => eachGroup((g) => times(shift[g])(i32x4.mul(sum, negated[g]))),
          };
        },
      };
    }
    // The nibble is multiplied where it lies: four instructions for four vectors. Exact: after the zero point
    // |acc| ≤ 8·32258·32·2⁸ < 2³¹, and wrap-around on the way there is harmless.
    const shift = [0, 4, 8, 0] as const;
    const third = splat16(f, 0x0f00);
    const minusEight = f.let(i32x4.splat(i32.const(-SYMMETRIC)));
    return {
      shift,
      needsSums: true,
      block: () => ({
        step: (ptr, offset) => {
          const step = f.let(v128.load(ptr, offset));
          return [...[low, second, third].map((mask) => v128.and(step, mask)), i16x8.shrU(step, 12)];
        },
        start: (sum) => {
          const correction = f.let(i32x4.mul(sum, minusEight));
          return eachGroup((g) => times(shift[g])(correction));
        },
      }),
    };
  },

  exact(f: Func, { storedZeroPoints }: WeightVariant) {
    const mask = splat16(f, 0x000f);
    const eight = splat16(f, SYMMETRIC);
    return {
      shift: [0, 0, 0, 0],
      needsSums: false,
      block: (zeroPoints) => {
        const zero = storedZeroPoints ? zeroPointLanes16(f, zeroPoints, false) : eachGroup(() => eight);
        return {
          step: (ptr, offset) => {
            const step = f.let(v128.load(ptr, offset));
            return eachGroup((g) => i16x8.sub(v128.and(i16x8.shrU(step, 4 * g), mask), zero[g]));
          },
        };
      },
    };
  },

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

  code: (data, rowBytes, n, k) => (data[n * rowBytes + (k >> 1)] >> (4 * (k & 1))) & 15,
  zeroPoint: (zeroPoints, blocks, n, block) =>
    (zeroPoints[n * Math.ceil(blocks / 2) + (block >> 1)] >> (4 * (block & 1))) & 15,
};
