/**
 * Effective bits of a row of numbers: the paper's abstract gives figures without a definition, so all usual ones are here.
 *
 *   top half    −log2 of the root mean square of relative errors, magnitudes log-uniform in the upper half of a block's range
 *   uniform     SQNR / 6.02 dB of numbers that fill a block's range evenly
 *   gaussian    SQNR / 6.02 dB of normal numbers
 *   laplace     … of numbers with longer tails, which is what activations are like
 *
 * And how near to its bound the largest error of normal numbers comes (`of bound`, 1 at most).
 */
import { effectiveBits, sqnr } from '@msd/core';
import { gaussian, type Random, random } from '@msd/core/numerics';
import { int8Bound, mxfp4Bound } from '@msd/core/theory';
import type { Reading } from './cases.ts';
import { bf16Values, E4M3, fp16Values, int8Passes, mxfp4Passes, mxValues } from './rounding.ts';

const ROWS = 16;

function draw(distribution: string, next: Random): number {
  const sign = next() < 0.5 ? -1 : 1;
  if (distribution === 'top half') return sign * 2 ** (next() - 1);
  if (distribution === 'uniform') return sign * next();
  if (distribution !== 'laplace') return gaussian(next);
  return sign * Math.log(1 - next());
}

type Round = (row: Float32Array) => ArrayLike<number>;

const FORMATS: Readonly<Record<string, Round>> = {
  bf16: bf16Values,
  fp16: fp16Values,
  mxfp8: (row) => mxValues(row, E4M3),
  'mxfp8, ceil': (row) => mxValues(row, E4M3, 'ceil'),
  ...Object.fromEntries(
    [1, 2, 3].map((passes) => [`mxfp4 x${passes}`, (row: Float32Array) => mxfp4Passes(row, passes)]),
  ),
  ...Object.fromEntries(
    [1, 2, 3].flatMap((passes) => [
      [`int8 x${passes}, row`, (row: Float32Array) => int8Passes(row, passes, row.length)],
      [`int8 x${passes}, 256`, (row: Float32Array) => int8Passes(row, passes, 256)],
      [`int8 x${passes}, 32`, (row: Float32Array) => int8Passes(row, passes, 32)],
    ]),
  ),
};

/** −log2 of the root mean square of relative errors. */
function relativeBits(expected: ArrayLike<number>, got: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < expected.length; i++) sum += (got[i]! / expected[i]! - 1) ** 2;
  return -Math.log2(sum / expected.length) / 2;
}

/** Largest error of a row, as a share of its block's bound. */
function ofBound(row: Float32Array, got: ArrayLike<number>, block: number, bound: (max: number) => number): number {
  let largest = 0;
  for (let begin = 0; begin < row.length; begin += block) {
    const values = row.subarray(begin, begin + block);
    const most = bound(values.reduce((max, value) => Math.max(max, Math.abs(value)), 0));
    for (const [i, value] of values.entries()) largest = Math.max(largest, Math.abs(value - got[begin + i]!) / most);
  }
  return largest;
}

const BLOCK = 32;

function sharesOfBounds(rows: readonly Float32Array[]): Reading[] {
  const largest = (round: Round, bound: (max: number) => number): number =>
    Math.max(...rows.map((row) => ofBound(row, round(row), BLOCK, bound)));
  return [1, 2, 3].flatMap((passes) => [
    {
      variant: `int8 x${passes}, 32`,
      value: largest(
        (row) => int8Passes(row, passes, BLOCK),
        (max) => int8Bound(max, passes),
      ),
    },
    {
      variant: `mxfp4 x${passes}`,
      value: largest(
        (row) => mxfp4Passes(row, passes),
        (max) => mxfp4Bound(max, passes),
      ),
    },
  ]);
}

/** Bits of every format and decomposition. @param size numbers in a row */
export function simulateBits(distribution: string, size: number, seed: number): Reading[] {
  const next = random(seed);
  const rows = Array.from({ length: ROWS }, () => Float32Array.from({ length: size }, () => draw(distribution, next)));
  if (distribution === 'of bound') return sharesOfBounds(rows);
  const values = rows.flatMap((row) => [...row]);
  return Object.entries(FORMATS).map(([variant, round]) => {
    const got = rows.flatMap((row) => Array.from(round(row)));
    const value = distribution === 'top half' ? relativeBits(values, got) : effectiveBits(sqnr(values, got));
    return { variant, value };
  });
}
