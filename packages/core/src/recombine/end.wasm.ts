/**
 * end_f32_<activation>: the fused end of recombine on finished columns of y, in place. WebAssembly SIMD128.
 *
 *   y = activation(y);  y = fl(y · multiply);  y = fl(y + residual)                            (docs/msd.md, eq. 10)
 *
 * y         f32 [M,…]   rows yStride bytes apart, `vectors` times four columns; sum and bias are complete
 * multiply  f32 [M,…]   rows multiplyStride bytes apart; 0 = none. Read to the end of the last vector
 * residual  f32 [M,…]   likewise
 *
 * A kernel of its own and not the tail of gemm's: emitted there, once per register tile, the activations would take gemm past the
 * 4 KB that a page may compile synchronously, and every (format, tile, activation) would be one more kernel to warm. It runs on a
 * range of columns right after gemm has written them, while they are in the cache.
 */
import { activationCode } from '../activations/activations.wasm.ts';
import { type ActivationId, activationIds } from '../activations/contract.ts';
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import { f32x4, type Module, v128 } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';

export const endId = (activation: ActivationId | undefined): string => `end_f32_${activation ?? 'linear'}`;

const ARGS = ['y', 'yStride', 'multiply', 'multiplyStride', 'residual', 'residualStride', 'M', 'vectors'] as const;

export function endKernel(module: Module, activation: ActivationId | undefined): void {
  module.func(endId(activation), i32Params(ARGS), (f, p) => {
    const activate = activation && activationCode(f, activation);
    const hasMultiply = f.let(p.multiply);
    const hasResidual = f.let(p.residual);
    f.repeat(p.M, () => {
      const at = { y: f.let(p.y), multiply: f.let(p.multiply), residual: f.let(p.residual) };
      f.repeat(p.vectors, () => {
        const y = f.let(v128.load(at.y));
        if (activate) y.set(activate(y));
        f.when(hasMultiply, () => y.set(f32x4.mul(y, v128.load(at.multiply))));
        f.when(hasResidual, () => y.set(f32x4.add(y, v128.load(at.residual))));
        f.storeV128(at.y, y);
        for (const pointer of Object.values(at)) advance(pointer, 16);
      });
      advance(p.y, p.yStride);
      advance(p.multiply, p.multiplyStride);
      advance(p.residual, p.residualStride);
    });
  });
}

/** Without an activation: `undefined`. */
export const endSpec: KernelSpec<ActivationId | undefined, (typeof ARGS)[number]> = {
  family: 'end',
  args: ARGS,
  id: endId,
  emit: endKernel,
  trial: (_, at, rows = 8) => ({
    y: at,
    yStride: 1024,
    multiply: at + 0x4000,
    multiplyStride: 1024,
    residual: at + 0x8000,
    residualStride: 1024,
    M: rows,
    vectors: 64,
  }),
};

/** What ships: tests and benchmarks loop over it. */
export const endVariants = (): Iterable<ActivationId | undefined> => [undefined, ...activationIds];
