/**
 * Sums over a row: one order for every op, kernel and engine, so that they give the same bits.
 *
 *   block b   s_i = 0;  s_i = fl(s_i + t[k])  for k = i mod 4 of 64 neighbours, ascending;  l_b = fl(fl(s0 + s1) + fl(s2 + s3))
 *   row       l = 0;    l = fl(l + l_b)       for b ascending
 *
 * Four lanes of a vector make a block without a shuffle. No sum is −0. The order does not depend on how rows are shared.
 */
import type { Arithmetic } from '../decompose/decompose.reference.ts';

export const SUM_BLOCK = 64;
const LANES = 4;

/** One rounding to f32, or none. */
export type Rounding = (value: number) => number;
export const roundingOf = (arithmetic: Arithmetic): Rounding =>
  arithmetic === 'float32' ? Math.fround : (value) => value;

/** @param term of k = 0..n−1, rounded as the arithmetic wants it */
export function sumOf(n: number, term: (k: number) => number, fl: Rounding): number {
  let sum = 0;
  for (let begin = 0; begin < n; begin += SUM_BLOCK) {
    const s = [0, 0, 0, 0];
    for (let k = begin; k < Math.min(n, begin + SUM_BLOCK); k++) s[k % LANES] = fl(s[k % LANES] + term(k));
    sum = fl(sum + fl(fl(s[0] + s[1]) + fl(s[2] + s[3])));
  }
  return sum;
}

/** Most roundings that a term of such a sum passes: additions to 0 are exact. */
export const sumDepth = (n: number): number => Math.ceil(Math.min(n, SUM_BLOCK) / LANES) + Math.ceil(n / SUM_BLOCK);
