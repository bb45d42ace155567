/** Both specifications of reduce, in plain loops: contract.ts line by line. Nobody optimises this. */
import type { Arithmetic } from '../../decompose/decompose.reference.ts';
import type { Tensor } from '../../ops/op.ts';
import { type Rounding, roundingOf } from '../rounding.ts';
import { foldOf } from '../rows.ts';
import { extentsOf, type ReduceKind, type ReduceOp } from './contract.ts';

interface Reduction {
  readonly identity: number;
  term?(value: number, fl: Rounding): number;
  combine(a: number, b: number, fl: Rounding): number;
  finish?(value: number, n: number, fl: Rounding): number;
}

const add = { identity: 0, combine: (a: number, b: number, fl: Rounding) => fl(a + b) };
const square = (value: number, fl: Rounding) => fl(value * value);

const floats: Record<ReduceKind, Reduction> = {
  sum: add,
  mean: { ...add, finish: (sum, n, fl) => fl(sum / n) },
  l1: { ...add, term: Math.abs },
  sum_square: { ...add, term: square },
  l2: { ...add, term: square, finish: (sum, _, fl) => fl(Math.sqrt(sum)) },
  prod: { identity: 1, combine: (a, b, fl) => fl(a * b) },
  max: { identity: Number.NEGATIVE_INFINITY, combine: (a, b) => Math.max(a, b) },
  min: { identity: Number.POSITIVE_INFINITY, combine: (a, b) => Math.min(a, b) },
};

const ints: Partial<Record<ReduceKind, Reduction>> = {
  sum: { identity: 0, combine: (a, b) => (a + b) | 0 },
  prod: { identity: 1, combine: Math.imul },
  max: { ...floats.max, identity: -(2 ** 31) },
  min: { ...floats.min, identity: 2 ** 31 - 1 },
};

export function reduceReference(
  { kind, axes }: ReduceOp,
  [x]: readonly (Tensor | undefined)[],
  [y]: readonly Tensor[],
  arithmetic: Arithmetic,
): void {
  const fl = roundingOf(arithmetic);
  const {
    term = (value) => value,
    combine,
    identity,
    finish = (value) => value,
  } = (x!.dtype === 'i32' ? ints : floats)[kind]!;
  const { outer, n, inner } = extentsOf('reduce', x!.dims, axes);
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      const value = foldOf(
        n,
        (k) => term(x!.data[(o * n + k) * inner + i], fl),
        identity,
        (a, b) => combine(a, b, fl),
      );
      y.data[o * inner + i] = finish(value, n, fl);
    }
}
