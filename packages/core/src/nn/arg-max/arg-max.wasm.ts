/**
 * arg_<max | min>_<dtype>_<first | last>_<rows | columns>: contract.ts. WebAssembly SIMD128.
 *
 * x   [outer, n, inner]    n ≥ 1. rows: inner is 1, sixteen neighbours of a row at a time; columns: four of the inner ones
 * y   i32 [outer, inner]
 */
import { i32Params, type KernelSpec } from '../../kernel-spec.ts';
import type { DType } from '../../ops/op.ts';
import { f32x4, i32, i32x4, type Local, type V128, v128 } from '../../wasm/emitter.ts';
import { advance, range } from '../../wasm/loops.ts';
import { eachColumn, LANE_NUMBERS, Row, UNROLL } from '../rows.wasm.ts';
import type { ArgMaxOp } from './contract.ts';

export interface ArgMaxKernel {
  readonly kind: ArgMaxOp['kind'];
  readonly dtype: Exclude<DType, 'bool'>;
  readonly last: boolean;
  readonly layout: 'rows' | 'columns';
}

/** The best so far of each lane, and where it is. */
interface Best {
  readonly value: Local<'v128'>;
  readonly index: Local<'v128'>;
}

const ARGS = ['x', 'y', 'n', 'inner', 'rows'] as const;

const idOf = ({ kind, dtype, last, layout }: ArgMaxKernel): string =>
  `${kind}_${dtype}_${last ? 'last' : 'first'}_${layout}`;

/** Masks of lanes where a is better than b, or as good. NaN is better than any number. */
function comparisons({ kind, dtype }: ArgMaxKernel) {
  const isMax = kind === 'arg_max';
  if (dtype === 'i32') {
    const beats = isMax ? i32x4.gtS : i32x4.ltS;
    return { beats, isAsGood: (a: V128, b: V128) => v128.not(beats(b, a)) };
  }
  const [atMost, below] = isMax ? [f32x4.le, f32x4.lt] : [f32x4.ge, f32x4.gt];
  return {
    beats: (a: V128, b: V128) => v128.andNot(f32x4.eq(b, b), atMost(a, b)),
    isAsGood: (a: V128, b: V128) => v128.or(v128.andNot(f32x4.eq(b, b), below(a, b)), f32x4.ne(a, a)),
  };
}

export const argMaxKernels: KernelSpec<ArgMaxKernel, (typeof ARGS)[number]> = {
  family: 'arg_max',
  args: ARGS,
  id: idOf,

  emit(module, kernel) {
    const { beats, isAsGood } = comparisons(kernel);
    module.func(idOf(kernel), i32Params(ARGS), (f, p) => {
      const rowBytes = f.let(i32.shl(p.inner, 2));

      /** Candidates in the order of their indices. */
      const offer = (best: Best, value: Local<'v128'>, index: V128) => {
        const isBetter = f.let((kernel.last ? isAsGood : beats)(value, best.value));
        best.value.set(v128.bitselect(value, best.value, isBetter));
        best.index.set(v128.bitselect(index, best.index, isBetter));
      };
      /** Candidates in any order. */
      const merge = (best: Best, value: Local<'v128'>, index: Local<'v128'>) => {
        const comesFirst = kernel.last ? i32x4.gtS(index, best.index) : i32x4.ltS(index, best.index);
        const winsTie = v128.andNot(comesFirst, beats(best.value, value));
        const isBetter = f.let(v128.or(beats(value, best.value), winsTie));
        best.value.set(v128.bitselect(value, best.value, isBetter));
        best.index.set(v128.bitselect(index, best.index, isBetter));
      };

      if (kernel.layout === 'columns') {
        f.repeat(p.rows, () => {
          const column = f.let(p.x);
          eachColumn(f, p.inner, [column, p.y], ({ load, store }) => {
            const at = f.let(column);
            const best = { value: f.let(load(at)), index: f.let(i32x4.splat(i32.const(0))) };
            const index = f.let(i32.const(0));
            f.repeat(i32.sub(p.n, 1), () => {
              advance(at, rowBytes);
              advance(index, 1);
              offer(best, f.let(load(at)), i32x4.splat(index));
            });
            store(p.y, best.index);
          });
          advance(p.x, i32.mul(p.n, rowBytes));
        });
        return;
      }

      const row = new Row(f, p.n);
      const four = f.let(i32x4.splat(i32.const(4)));
      f.repeat(p.rows, () => {
        // Every lane starts with the first element, which cannot lose to itself.
        const best = range(UNROLL).map(() => ({
          value: f.let(v128.load32Splat(p.x)),
          index: f.let(i32x4.splat(i32.const(0))),
        }));
        const index = f.let(LANE_NUMBERS);
        row.each([p.x], ({ load, only, turn }) => {
          const value = f.let(load(p.x));
          const firstLane = v128.shuffle(
            index,
            index,
            range(16).map((byte) => byte % 4),
          );
          offer(best[turn], value, only(index, firstLane));
          index.set(i32x4.add(index, four));
        });
        const [all, ...others] = best;
        for (const { value, index } of others) merge(all, value, index);
        for (const by of [4, 8]) {
          const swapped = (lanes: V128) =>
            f.let(
              v128.shuffle(
                lanes,
                lanes,
                range(16).map((byte) => byte ^ by),
              ),
            );
          merge(all, swapped(all.value), swapped(all.index));
        }
        f.storeLane32(p.y, all.index, 0);
        advance(p.y, 4);
      });
    });
  },

  trial: (_, at) => ({ x: at, y: at + 49152, n: 96, inner: 32, rows: 4 }),
};

/** What ships: tests and benchmarks loop over it. */
export function* argMaxVariants(): Generator<ArgMaxKernel> {
  for (const kind of ['arg_max', 'arg_min'] as const)
    for (const dtype of ['f32', 'i32'] as const)
      for (const last of [false, true])
        for (const layout of ['rows', 'columns'] as const) yield { kind, dtype, last, layout };
}
