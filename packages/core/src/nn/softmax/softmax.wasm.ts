/**
 * softmax, log_softmax: the f32 contract of contract.ts, row by row. WebAssembly SIMD128.
 *
 * x   f32 [rows, n]
 * y   f32 [rows, n]   may be x; softmax keeps e there between its passes
 */
import { i32Params, type KernelSpec } from '../../kernel-spec.ts';
import { f32x4 } from '../../wasm/emitter.ts';
import { expCode, logCode } from '../exp.wasm.ts';
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
    module.func(kind, i32Params(ARGS), (f, p) => {
      const row = new Row(f, p.n);
      const exp = expCode(f);
      const isLog = kind === 'log_softmax';
      const log = isLog ? logCode(f) : undefined;
      const one = f.let(f32x4.const(1));
      f.repeat(p.rows, () => {
        const max = row.max(p.x);
        const [from, to] = [f.let(p.x), f.let(p.y)];
        const sum = row.sum(isLog ? [from] : [from, to], (four) => {
          const e = exp(f32x4.sub(four.load(from), max));
          if (!isLog) four.store(to, e);
          return e;
        });
        if (log) {
          const logSum = f.let(log(sum));
          row.each([p.x, p.y], ({ load, store }) => store(p.y, f32x4.sub(f32x4.sub(load(p.x), max), logSum)));
        } else {
          const inverse = f.let(f32x4.div(one, sum));
          row.each([p.y], ({ load, store }) => store(p.y, f32x4.mul(load(p.y), inverse)));
          p.x.set(from);
        }
      });
    });
  },

  trial: (_, at) => ({ x: at, y: at + 32768, n: 1000, rows: 8 }),
};

/** What ships: tests and benchmarks loop over it. */
export function* softmaxVariants(): Generator<SoftmaxKernel> {
  yield { kind: 'softmax' };
  yield { kind: 'log_softmax' };
}
