/**
 * softmax: the f32 contract of contract.ts, row by row. WebAssembly SIMD128.
 *
 * x   f32 [rows, n]
 * y   f32 [rows, n]   may be x; holds e between the passes
 */
import { type KernelSpec, paramsOf } from '../../kernel-spec.ts';
import { f32x4 } from '../../wasm/emitter.ts';
import { expCode } from '../exp.wasm.ts';
import { Row } from '../rows.wasm.ts';
import type { SoftmaxOp } from './contract.ts';

export interface SoftmaxKernel {
  readonly kind: SoftmaxOp['kind'];
}

const ARGS = ['x', 'y', 'n', 'rows'] as const;

export const softmaxKernels: KernelSpec<SoftmaxKernel, (typeof ARGS)[number]> = {
  family: 'softmax',
  args: ARGS,
  id: ({ kind }) => kind,

  emit(module, { kind }) {
    module.func(kind, paramsOf(ARGS), (f, p) => {
      const row = new Row(f, p.n);
      const exp = expCode(f);
      const one = f.let(f32x4.const(1));
      f.repeat(p.rows, () => {
        const max = row.max(p.x);
        const from = f.let(p.x);
        const to = f.let(p.y);
        const sum = row.sum([from, to], (four) => {
          const e = exp(f32x4.sub(four.load(from), max));
          four.store(to, e);
          return e;
        });
        const inverse = f.let(f32x4.div(one, sum));
        to.set(p.y);
        row.each([to], (four) => four.store(to, f32x4.mul(four.load(to), inverse)));
        p.x.set(from);
        p.y.set(to);
      });
    });
  },

  trial: (_, at) => ({ x: at, y: at + 32768, n: 1000, rows: 8 }),

  *variants() {
    yield { kind: 'softmax' };
  },
};
