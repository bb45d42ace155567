/**
 * Sums over a row: one order for every op, kernel and engine, so that they give the same bits.
 *
 *   block b   s_i = 0;  s_i = fl(s_i + t[k])  for k = i mod 4 of 64 neighbours, ascending;  l_b = fl(fl(s0 + s1) + fl(s2 + s3))
 *   row       l = 0;    l = fl(l + l_b)       for b ascending
 *
 * Four lanes of a vector make a block without a shuffle. No sum is −0. The order does not depend on how rows are shared.
 */
import { elementCount } from '../ops/op.ts';
import { refuse } from './refuse.ts';
import type { Rounding } from './rounding.ts';

export const SUM_BLOCK = 64;
const LANES = 4;

/** @param term of k = 0..n−1, rounded as the arithmetic wants it */
export const sumOf = (n: number, term: (k: number) => number, fl: Rounding): number =>
  foldOf(n, term, 0, (a, b) => fl(a + b));

/** The same with another operation. */
export function foldOf(
  n: number,
  term: (k: number) => number,
  identity: number,
  combine: (a: number, b: number) => number,
): number {
  let result = identity;
  for (let begin = 0; begin < n; begin += SUM_BLOCK) {
    const s = [identity, identity, identity, identity];
    for (let k = begin; k < Math.min(n, begin + SUM_BLOCK); k++) s[k % LANES] = combine(s[k % LANES], term(k));
    result = combine(result, combine(combine(s[0], s[1]), combine(s[2], s[3])));
  }
  return result;
}

/** Most roundings that a term of such a sum passes: additions to 0 are exact. */
export const sumDepth = (n: number): number => Math.ceil(Math.min(n, SUM_BLOCK) / LANES) + Math.ceil(n / SUM_BLOCK);

export interface RowShape {
  readonly rows: number;
  readonly n: number;
}

/** @param axes trailing axes that are one row */
export const rowShape = (dims: readonly number[], axes: number): RowShape => ({
  rows: elementCount(dims.slice(0, dims.length - axes)),
  n: elementCount(dims.slice(dims.length - axes)),
});

/** @throws {@link RangeError} */
export function checkAxes(op: string, axes: number, dims: readonly number[]): void {
  if (!(Number.isInteger(axes) && axes >= 1 && axes <= dims.length))
    refuse(op, 'axes', `1..${dims.length} for x [${dims}]`, axes);
}
