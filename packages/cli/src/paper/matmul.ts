/**
 * y = x·Wᵀ on weights that are integers or MXFP4, in float64: what is lost when activations are rounded in one way or another,
 * and when the weights go through BF16.
 *
 * Every error is relative (L2 over all outputs) to float64 on the same stored weights: what quantizing the weights cost before is
 * nobody's fault here.
 */
import { gaussian, gaussians, type Random, random } from '@msd/core/numerics';
import type { Reading } from './cases.ts';
import { bf16Values, E2M1, E4M3, fp16Values, int8Passes, mxfp4Passes, mxValues } from './rounding.ts';

/** Activations: Gaussian; three channels 30 times as large; one element of 100 sigma in every row. */
export const MATMUL_DISTRIBUTIONS = ['gaussian', '3 channels 30x', 'one of 100 sigma'] as const;

const M = 16;
const N = 32;
/** The K-block of MSD.js: k that share a scale. */
const K_BLOCK = 256;

type Rows = ArrayLike<number>;

function activations(distribution: string, K: number, next: Random): Float32Array {
  const x = gaussians(next, M * K);
  const anywhere = (): number => Math.floor(next() * K);
  if (distribution === '3 channels 30x') {
    const channels = [anywhere(), anywhere(), anywhere()];
    for (let m = 0; m < M; m++) for (const k of channels) x[m * K + k]! *= 30;
  } else if (distribution !== 'gaussian')
    for (let m = 0; m < M; m++) x[m * K + anywhere()] = 100 * Math.sign(gaussian(next));
  return x;
}

/** Rounds each of the rows by itself. */
function byRow(x: Rows, K: number, round: (row: Rows) => Rows): Float64Array {
  const values = Float64Array.from(x);
  for (let begin = 0; begin < values.length; begin += K) values.set(round(values.subarray(begin, begin + K)), begin);
  return values;
}

function product(x: Rows, w: Rows, K: number): Float64Array {
  const y = new Float64Array(M * N);
  for (let m = 0; m < M; m++)
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += x[m * K + k]! * w[n * K + k]!;
      y[m * N + n] = sum;
    }
  return y;
}

/** ‖got − want‖ / ‖want‖ */
export function relativeError(got: Rows, want: Rows): number {
  let [error, norm] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    error += (got[i]! - want[i]!) ** 2;
    norm += want[i]! ** 2;
  }
  return Math.sqrt(error / norm);
}

type Round = (row: Rows) => Rows;
const int8 =
  (passes: number, block: number): Round =>
  (row) =>
    int8Passes(row, passes, block);
const ROW = Number.MAX_SAFE_INTEGER;

/** Activations on int8 weights; the same weights for all. */
const ON_INT8: Readonly<Record<string, Round>> = {
  'bf16, scale after': bf16Values,
  ...Object.fromEntries(
    [1, 2, 3].flatMap((passes) => [
      [`int8 x${passes}, row`, int8(passes, ROW)],
      [`int8 x${passes}, 256`, int8(passes, K_BLOCK)],
      [`int8 x${passes}, 32`, int8(passes, 32)],
    ]),
  ),
};

/** Activations on MXFP4 weights. BF16 holds those exactly, so a dequantized product loses what it loses on activations. */
const ON_MXFP4: Readonly<Record<string, Round>> = {
  'mxfp4 weights: bf16': bf16Values,
  'mxfp4 weights: mxfp4 x1': (row) => mxfp4Passes(row, 1),
  'mxfp4 weights: mxfp4 x2': (row) => mxfp4Passes(row, 2),
  'mxfp4 weights: mxfp4 x3': (row) => mxfp4Passes(row, 3),
  'mxfp4 weights: mxfp8': (row) => mxValues(row, E4M3),
  'mxfp4 weights: mxfp8, ceil': (row) => mxValues(row, E4M3, 'ceil'),
  'mxfp4 weights: int8 x1, 32': int8(1, 32),
  'mxfp4 weights: int8 x2, 256': int8(2, K_BLOCK),
};

/** @param isBf16 activations are BF16 already, as those of the paper: then only weights and passes lose anything */
export function simulateMatmul(distribution: string, K: number, seed: number, isBf16: boolean): Reading[] {
  const next = random(seed);
  const drawn = activations(distribution, K, next);
  const x = isBf16 ? bf16Values(drawn) : drawn;
  const floats = gaussians(next, N * K);
  // One scale per output channel: rounding to integers is one pass over a row.
  const weights = byRow(floats, K, int8(1, ROW)).map(Math.fround);
  const want = product(x, weights, K);
  const on =
    (w: Rows, exact: Rows) =>
    ([variant, round]: readonly [string, Round]): Reading => ({
      variant,
      value: relativeError(product(byRow(x, K, round), w, K), exact),
    });
  const through = (variant: string, round: (values: Rows) => Rows): Reading =>
    on(round(weights), want)([variant, round]);
  const mxfp4 = byRow(floats, K, (row) => mxValues(row, E2M1));
  return [
    through('bf16', bf16Values),
    through('fp16', fp16Values),
    ...Object.entries(ON_INT8).map(on(weights, want)),
    ...Object.entries(ON_MXFP4).map(on(mxfp4, product(x, mxfp4, K))),
  ];
}
