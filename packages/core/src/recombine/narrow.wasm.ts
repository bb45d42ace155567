/**
 * narrow_<f16|bf16>, narrow_f32: finished columns of y -> the caller's matrix. To half precision half to even; every NaN becomes
 * 0x7e00 or 0x7fc0, so that its bits are the same in every engine, too. f32 is copied. WebAssembly SIMD128.
 *
 * y      f32 [M,width]   rows yStride bytes apart
 * out    [M,width]       rows outStride bytes apart, any alignment; nothing past `width` is written. May start where y starts if
 *                        outStride <= yStride: a value is read before its place is written
 */
import { type FloatType, type HalfType, halfTypes, halves } from '../formats/half.ts';
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import { type Func, i16x8, i32, i32x4, type Local, type Module, v128 } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';

export const narrowId = (type: FloatType): string => `narrow_${type}`;

const ARGS = ['y', 'yStride', 'out', 'outStride', 'M', 'width'] as const;

export function narrowKernel(module: Module, type: FloatType): void {
  module.func(narrowId(type), i32Params(ARGS), (f, p) => {
    const ofRow = type === 'f32' ? copy(f) : narrow(f, type);
    f.repeat(p.M, () => {
      ofRow(f.let(p.y), f.let(p.out), p.width);
      advance(p.y, p.yStride);
      advance(p.out, p.outStride);
    });
  });
}

type OfRow = (y: Local<'i32'>, out: Local<'i32'>, width: Local<'i32'>) => void;

const copy =
  (f: Func): OfRow =>
  (y, out, width) => {
    f.repeat(i32.shrU(width, 2), () => {
      f.storeV128(out, v128.load(y));
      advance(y, 16);
      advance(out, 16);
    });
    f.repeat(i32.and(width, 3), () => {
      f.storeI32(out, i32.load(y));
      advance(y, 4);
      advance(out, 4);
    });
  };

function narrow(f: Func, type: HalfType): OfRow {
  const patterns = halves[type].narrow(f);
  return (y, out, width) => {
    f.repeat(i32.shrU(width, 3), () => {
      const [low, high] = [0, 16].map((offset) => f.let(patterns(v128.load(y, offset))));
      f.storeV128(out, i16x8.narrowI32x4U(low, high));
      advance(y, 32);
      advance(out, 16);
    });
    f.repeat(i32.and(width, 7), () => {
      f.storeI16(out, i32x4.extractLane(patterns(v128.load32Splat(y)), 0));
      advance(y, 4);
      advance(out, 2);
    });
  };
}

export const narrowSpec: KernelSpec<FloatType, (typeof ARGS)[number]> = {
  family: 'narrow',
  args: ARGS,
  id: narrowId,
  emit: narrowKernel,
  trial: (_, at) => ({ y: at, yStride: 1024, out: at + 8192, outStride: 1024, M: 8, width: 256 }),
};

/** What ships: tests and benchmarks loop over it. */
export const narrowVariants = (): Iterable<FloatType> => ['f32', ...halfTypes];
