/**
 * reduce_<kind>_<dtype>_<rows | columns>: the f32 contract of contract.ts. WebAssembly SIMD128.
 *
 * x   [outer, n, inner]   rows: inner is 1, four neighbours of a row are a vector; columns: four of the inner ones
 * y   [outer, inner]
 */
import { i32Params, type KernelSpec } from '../../kernel-spec.ts';
import type { DType } from '../../ops/op.ts';
import { type Func, f32x4, i32, i32x4, type Local, type V128 } from '../../wasm/emitter.ts';
import { advance, range } from '../../wasm/loops.ts';
import { SUM_BLOCK } from '../rows.ts';
import { eachColumn, type Folding, Row } from '../rows.wasm.ts';
import type { ReduceKind } from './contract.ts';

export interface ReduceKernel {
  readonly kind: ReduceKind;
  readonly dtype: Exclude<DType, 'bool'>;
  readonly layout: 'rows' | 'columns';
}

interface Reduction {
  readonly identity: V128;
  readonly combine: Folding['combine'];
  readonly term?: (value: V128) => V128;
  readonly finish?: (value: V128, count: V128) => V128;
}

const { add } = f32x4;
const zero = /* @__PURE__ */ f32x4.const(0);
const square = (f: Func) => (value: V128) => {
  const local = f.let(value);
  return f32x4.mul(local, local);
};

const reductions: Record<ReduceKernel['dtype'], Partial<Record<ReduceKind, (f: Func) => Reduction>>> = {
  f32: {
    sum: () => ({ identity: zero, combine: add }),
    mean: () => ({ identity: zero, combine: add, finish: f32x4.div }),
    l1: () => ({ identity: zero, combine: add, term: f32x4.abs }),
    sum_square: (f) => ({ identity: zero, combine: add, term: square(f) }),
    l2: (f) => ({ identity: zero, combine: add, term: square(f), finish: f32x4.sqrt }),
    prod: () => ({ identity: f32x4.const(1), combine: f32x4.mul }),
    max: () => ({ identity: f32x4.const(Number.NEGATIVE_INFINITY), combine: f32x4.max }),
    min: () => ({ identity: f32x4.const(Number.POSITIVE_INFINITY), combine: f32x4.min }),
  },
  i32: {
    sum: () => ({ identity: zero, combine: i32x4.add }),
    prod: () => ({ identity: i32x4.splat(i32.const(1)), combine: i32x4.mul }),
    max: () => ({ identity: i32x4.splat(i32.const(-(2 ** 31))), combine: i32x4.maxS }),
    min: () => ({ identity: i32x4.splat(i32.const(2 ** 31 - 1)), combine: i32x4.minS }),
  },
};

const ARGS = ['x', 'y', 'n', 'inner', 'rows'] as const;

const idOf = ({ kind, dtype, layout }: ReduceKernel): string => `reduce_${kind}_${dtype}_${layout}`;

export const reduceKernels: KernelSpec<ReduceKernel, (typeof ARGS)[number]> = {
  family: 'reduce',
  args: ARGS,
  id: idOf,

  emit(module, kernel) {
    module.func(idOf(kernel), i32Params(ARGS), (f, p) => {
      const { term = (value) => value, combine, finish, ...of } = reductions[kernel.dtype][kernel.kind]!(f);
      const identity = f.let(of.identity);
      const count = f.let(f32x4.convertI32x4S(i32x4.splat(p.n)));
      const finished = (value: Local<'v128'>) => (finish ? finish(value, count) : value);
      const rowBytes = f.let(i32.shl(p.inner, 2));

      if (kernel.layout === 'rows') {
        const row = new Row(f, p.n);
        f.repeat(p.rows, () => {
          const result = row.fold([p.x], ({ load }) => term(load(p.x)), { identity, combine });
          f.storeLane32(p.y, finished(result), 0);
          advance(p.y, 4);
        });
        return;
      }
      const block = range(4).map(() => f.let(identity));
      f.repeat(p.rows, () => {
        const column = f.let(p.x);
        eachColumn(f, p.inner, [column, p.y], ({ load, store }) => {
          const at = f.let(column);
          const result = f.let(identity);
          const include = (count: number) => {
            for (const i of range(count)) {
              block[i].set(combine(block[i], term(load(at))));
              advance(at, rowBytes);
            }
          };
          const end = () => {
            const [a, b, c, d] = block;
            result.set(combine(result, combine(combine(a, b), combine(c, d))));
            for (const lane of block) lane.set(identity);
          };
          f.repeat(i32.divU(p.n, SUM_BLOCK), () => {
            f.repeat(SUM_BLOCK / 4, () => include(4));
            end();
          });
          const left = f.let(i32.and(p.n, SUM_BLOCK - 1));
          f.when(left, () => {
            f.repeat(i32.shrU(left, 2), () => include(4));
            for (const i of range(3))
              f.when(i32.gtU(i32.and(left, 3), i), () => {
                block[i].set(combine(block[i], term(load(at))));
                advance(at, rowBytes);
              });
            end();
          });
          store(p.y, finished(result));
        });
        advance(p.x, i32.mul(p.n, rowBytes));
      });
    });
  },

  trial: (_, at) => ({ x: at, y: at + 49152, n: 96, inner: 32, rows: 4 }),
};

/** What ships: tests and benchmarks loop over it. */
export function* reduceVariants(): Generator<ReduceKernel> {
  for (const dtype of ['f32', 'i32'] as const)
    for (const kind of Object.keys(reductions[dtype]) as ReduceKind[])
      for (const layout of ['rows', 'columns'] as const) yield { kind, dtype, layout };
}
