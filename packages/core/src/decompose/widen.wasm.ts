/**
 * widen_<f16|bf16>: half-precision activations -> f32, which is what decompose reads; exact. WebAssembly SIMD128.
 *
 * bits   u16 [count]   any alignment
 * x      f32 [count]   overwritten. May end where `bits` ends (bits = x + 2·count): a pattern is read before its place is written
 */
import { type HalfType, halfTypes, halves } from '../formats/half.ts';
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import { i32, i32x4, type Module, v128 } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';

export const widenId = (type: HalfType): string => `widen_${type}`;

const ARGS = ['bits', 'x', 'count'] as const;

export function widenKernel(module: Module, type: HalfType): void {
  module.func(widenId(type), i32Params(ARGS), (f, p) => {
    const widen = halves[type].widen(f);
    f.repeat(i32.shrU(p.count, 2), () => {
      f.storeV128(p.x, widen(v128.load16x4S(p.bits)));
      advance(p.bits, 8);
      advance(p.x, 16);
    });
    f.repeat(i32.and(p.count, 3), () => {
      const lanes = f.let(widen(i32x4.extendLowI16x8S(v128.load16Splat(p.bits))));
      f.storeI32(p.x, i32x4.extractLane(lanes, 0));
      advance(p.bits, 2);
      advance(p.x, 4);
    });
  });
}

export const widenSpec: KernelSpec<HalfType, (typeof ARGS)[number]> = {
  family: 'widen',
  args: ARGS,
  id: widenId,
  emit: widenKernel,
  trial: (_, at) => ({ bits: at, x: at + 8192, count: 2048 }),
};

/** What ships: tests and benchmarks loop over it. */
export const widenVariants = (): Iterable<HalfType> => halfTypes;
