/**
 * int8: `real = scale · (q − zeroPoint)`, q in [−128, 127], one scale per output channel or per block of 32 … k.
 * Unsigned files (codes 0..255) are held as q − 128.
 *
 * A step is 32 bytes: byte 2·row + parity = weight (row, k + parity).
 */
import { type I32, i16x8, i32, i32x4, v128 } from '../wasm/emitter.ts';
import { range } from '../wasm/loops.ts';
import { eachGroup, K_BLOCK, K_STEP, rowOffset, type SourceRows, type WeightFormat } from './format.ts';
import { negatedZeroPoints32, zeroPointLanes16 } from './zero-points.ts';

const reader: WeightFormat['raw'] = (f, { storedZeroPoints }) => ({
  shift: [0, 0, 0, 0],
  block: (zeroPoints) => {
    const zero = storedZeroPoints ? zeroPointLanes16(f, zeroPoints, true) : undefined;
    return {
      // load8x8_s beats a full load with extend_low/high: 33 against 30 GMAC/s at M = 1
      step: (ptr, offset) =>
        eachGroup((g) => {
          const weights = v128.load8x8S(ptr, offset + 8 * g);
          return zero ? i16x8.sub(weights, zero[g]) : weights;
        }),
    };
  },
});

/** Bytes from, from + 8, … of two vectors in turn: engines have one instruction for it. */
const interleaved = (from: number) => range(16).map((i) => from + (i >> 1) + 16 * (i & 1));

/** Four k of a row; the last ones of a row that is not padded are read byte by byte, with zeros after them. */
function word({ view, readableK, flip }: SourceRows, offset: number, k: number): number {
  if (k + 4 <= readableK) return view.getUint32(offset + k, true) ^ flip;
  let bits = 0;
  for (let i = 0; k + i < readableK && i < 4; i++) bits |= ((view.getUint8(offset + k + i) ^ flip) & 0xff) << (8 * i);
  return bits;
}

export const int8: WeightFormat = {
  id: 'int8',
  bits: 8,
  blockSizes: [K_STEP, 2 ** 30],
  perChannel: true,
  scaleIds: ['f32', 'f16'],
  asymmetric: true,
  stepBytes: 32,
  symmetricZeroPoint: 0,
  chunkSize: (blockSize) => Math.min(blockSize ?? K_BLOCK, K_BLOCK),
  raw: reader,
  exact: reader,
  quads(f, _, operand) {
    const unsigned = operand === 'unsigned'; // code + 128
    const top = unsigned ? f.let(v128.const(...Array<number>(16).fill(0x80))) : undefined;
    const bytes = (ptr: I32, offset: number) => {
      const codes = v128.load(ptr, offset);
      return f.let(top ? v128.xor(codes, top) : codes);
    };
    return {
      step: (ptr, offset) =>
        [0, 16].flatMap((half) => {
          const a = bytes(ptr, offset + half);
          const b = bytes(ptr, offset + half + 32);
          return [0, 8].map((from) => v128.shuffle(a, b, interleaved(from)));
        }),
      zeroCode: unsigned ? 128 : 0,
      negatedZeroCodes(address) {
        const negated = negatedZeroPoints32(f, address, true);
        return unsigned ? negated.map((zero) => f.let(i32x4.sub(zero, i32x4.splat(i32.const(128))))) : negated;
      },
    };
  },

  packSteps(source, n, k, kCount, out, at) {
    for (let row = 0; row < 16; row += 2) {
      const even = rowOffset(source, n + row);
      const odd = rowOffset(source, n + row + 1);
      for (let i = 0, to = at + row / 2; i < kCount; i += 4, to += 16) {
        const a = word(source, even, k + i);
        const b = word(source, odd, k + i);
        out[to] = (a & 0xffff) | (b << 16);
        out[to + 8] = (a >>> 16) | (b & 0xffff0000);
      }
    }
  },

  code: (data, rowBytes, n, k) => data[n * rowBytes + k] - (data instanceof Uint8Array ? 128 : 0),
  zeroPoint: (zeroPoints, blocks, n, block) =>
    zeroPoints[n * blocks + block] - (zeroPoints instanceof Uint8Array ? 128 : 0),
};
