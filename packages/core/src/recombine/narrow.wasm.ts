/**
 * narrow_<f16|bf16>: finished columns of y -> half precision, half to even; every NaN becomes 0x7e00 or 0x7fc0, so that its bits
 * are the same in every engine, too. WebAssembly SIMD128.
 *
 * y      f32 [M,width]   rows yStride bytes apart
 * bits   u16 [M,width]   rows bitsStride bytes apart, any alignment; nothing past `width` is written. May start where y starts if
 *                        bitsStride <= yStride: a value is read before its place is written
 */
import { type HalfType, halves } from '../formats/half.ts';
import { i16x8, i32, i32x4, type Module, v128 } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';

export const narrowId = (type: HalfType): string => `narrow_${type}`;

export function narrowKernel(module: Module, type: HalfType): void {
  const params = { y: 'i32', yStride: 'i32', bits: 'i32', bitsStride: 'i32', M: 'i32', width: 'i32' } as const;
  module.func(narrowId(type), params, (f, p) => {
    const narrow = halves[type].narrow(f);
    f.repeat(p.M, () => {
      const [y, bits] = [f.let(p.y), f.let(p.bits)];
      f.repeat(i32.shrU(p.width, 3), () => {
        const [low, high] = [0, 16].map((offset) => f.let(narrow(v128.load(y, offset))));
        f.storeV128(bits, i16x8.narrowI32x4U(low, high));
        advance(y, 32);
        advance(bits, 16);
      });
      f.repeat(i32.and(p.width, 7), () => {
        f.storeI16(bits, i32x4.extractLane(narrow(v128.load32Splat(y)), 0));
        advance(y, 4);
        advance(bits, 2);
      });
      advance(p.y, p.yStride);
      advance(p.bits, p.bitsStride);
    });
  });
}
