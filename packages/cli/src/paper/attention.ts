/**
 * softmax(Q·Kᵀ/√d)·V over int8 keys and values, in float64: what is lost when Q, K, V and the probabilities P go through BF16, and
 * when only Q and P are decomposed.
 *
 * An error is relative (L2 over all outputs). `compute` errors compare with float64 on the same stored integers, `total` ones with
 * float64 on the keys and values that came, so they hold the loss of the int8 format, too.                 (docs/attention.md)
 */
import { distributions, sample } from '@msd/core/numerics';
import type { Reading } from './cases.ts';
import { relativeError } from './matmul.ts';
import { bf16Values, int8Passes } from './rounding.ts';

/** Head size, and queries. */
export const D = 128;
export const ROWS = 4;
/** Keys of a page, which share a scale of P. */
const PAGE = 64;
/** Keys that a flash attention kernel takes at a time. */
const TILE = 128;

/** Integers with a scale per token, times a factor per channel. Values are scales[t] · integers · factors[j]. */
export interface Stored {
  readonly integers: Float32Array;
  readonly scales: Float64Array;
  readonly factors: Float64Array;
}

/** Values of one row of scores or outputs at a time: [ROWS, T] and [ROWS, D]. */
type Values = Float64Array;

const ones = (length: number): Float64Array => new Float64Array(length).fill(1);

/** One byte per element, a scale per token; zero rows keep scale 0. */
export function store(rows: Float32Array, factors: Float64Array): Stored {
  const T = rows.length / D;
  const [integers, scales] = [new Float32Array(rows.length), new Float64Array(T)];
  const row = new Float64Array(D);
  for (let t = 0; t < T; t++) {
    let max = 0;
    for (let j = 0; j < D; j++) max = Math.max(max, Math.abs((row[j] = rows[t * D + j]! / factors[j]!)));
    if (max === 0) continue;
    const scale = Math.fround(max / 127);
    scales[t] = scale;
    for (let j = 0; j < D; j++) integers[t * D + j] = Math.max(-127, Math.min(127, Math.round(row[j]! / scale)));
  }
  return { integers, scales, factors };
}

/** Largest magnitude of every channel of keys 1 to 63; the two that rotary embedding turns together share the larger one. */
export function channelFactors(k: Float32Array): Float64Array {
  const factors = new Float64Array(D);
  const half = D / 2;
  for (let t = 1; t < Math.min(PAGE, k.length / D); t++)
    for (let j = 0; j < D; j++) factors[j % half] = Math.max(factors[j % half]!, Math.abs(k[t * D + j]!));
  for (let j = 0; j < half; j++) factors[half + j] = factors[j] ||= 1;
  return factors;
}

/** What is stored, as values. */
function dequantized({ integers, scales, factors }: Stored): Float64Array {
  const values = new Float64Array(integers.length);
  for (let t = 0; t < scales.length; t++)
    for (let j = 0; j < D; j++) values[t * D + j] = scales[t]! * integers[t * D + j]! * factors[j]!;
  return values;
}

/** Σ_j q[m,j]·k[t,j], times what each key's scores are scaled with. */
function scoresOf(q: ArrayLike<number>, k: ArrayLike<number>, scales?: Float64Array): Values {
  const T = k.length / D;
  const scores = new Float64Array(ROWS * T);
  const root = 1 / Math.sqrt(D);
  for (let m = 0; m < ROWS; m++)
    for (let t = 0; t < T; t++) {
      let sum = 0;
      for (let j = 0; j < D; j++) sum += q[m * D + j]! * k[t * D + j]!;
      scores[m * T + t] = sum * root * (scales ? scales[t]! : 1);
    }
  return scores;
}

/** Probabilities before they are divided by their sums, and these. */
function softmax(scores: Values): { p: Values; sums: Float64Array } {
  const T = scores.length / ROWS;
  const [p, sums] = [new Float64Array(scores.length), new Float64Array(ROWS)];
  for (let m = 0; m < ROWS; m++) {
    let max = -Infinity;
    for (let t = 0; t < T; t++) max = Math.max(max, scores[m * T + t]!);
    for (let t = 0; t < T; t++) sums[m]! += p[m * T + t] = Math.exp(scores[m * T + t]! - max);
  }
  return { p, sums };
}

/** Σ_t p[m,t]·v[t,c] / sums[m] */
function outputsOf(p: Values, v: ArrayLike<number>, sums: Float64Array): Values {
  const T = v.length / D;
  const out = new Float64Array(ROWS * D);
  for (let m = 0; m < ROWS; m++) {
    const row = out.subarray(m * D, (m + 1) * D);
    for (let t = 0; t < T; t++) {
      const weight = p[m * T + t]!;
      if (weight !== 0) for (let c = 0; c < D; c++) row[c]! += weight * v[t * D + c]!;
    }
    for (let c = 0; c < D; c++) row[c]! /= sums[m]!;
  }
  return out;
}

/** The specification: nothing is rounded. */
function exact(q: ArrayLike<number>, k: ArrayLike<number>, v: ArrayLike<number>): Values {
  const { p, sums } = softmax(scoresOf(q, k));
  return outputsOf(p, v, sums);
}

/** Flash attention on BF16: tiles of keys with a running maximum, P rounded against it, sums of P before it is rounded. */
function flashBf16(q: ArrayLike<number>, k: ArrayLike<number>, v: ArrayLike<number>): Values {
  const T = k.length / D;
  const scores = scoresOf(bf16Values(q), bf16Values(k));
  const values = bf16Values(v);
  const out = new Float64Array(ROWS * D);
  const p = new Float32Array(TILE);
  for (let m = 0; m < ROWS; m++) {
    const row = out.subarray(m * D, (m + 1) * D);
    let [max, sum] = [-Infinity, 0];
    for (let begin = 0; begin < T; begin += TILE) {
      const end = Math.min(T, begin + TILE);
      let next = max;
      for (let t = begin; t < end; t++) next = Math.max(next, scores[m * T + t]!);
      const shrink = Math.exp(max - next);
      sum *= shrink;
      for (let c = 0; c < D; c++) row[c]! *= shrink;
      for (let t = begin; t < end; t++) sum += p[t - begin] = Math.exp(scores[m * T + t]! - next);
      const rounded = bf16Values(p);
      for (let t = begin; t < end; t++) for (let c = 0; c < D; c++) row[c]! += rounded[t - begin]! * values[t * D + c]!;
      max = next;
    }
    for (let c = 0; c < D; c++) row[c]! /= sum;
  }
  return out;
}

/** Where blocks of P that share a scale begin. */
export type Blocks = 'row' | 128 | 64 | 'pages';

/** `pages` are MSD.js' own: 64 keys, key 0 a block of its own. */
function blockStarts(blocks: Blocks, T: number): number[] {
  const size = blocks === 'row' ? T : blocks === 'pages' ? PAGE : blocks;
  const starts = Array.from({ length: Math.ceil(T / size) }, (_, b) => b * size);
  return blocks === 'pages' ? [0, 1, ...starts.slice(1)] : starts;
}

/** MSD: queries are decomposed per row, probabilities (with the scales of V folded in) per block; K and V stay integers. */
export function decomposed(q: ArrayLike<number>, k: Stored, v: Stored, passes: number): (blocks: Blocks) => Values {
  const folded = Float64Array.from(q, (value, i) => value * k.factors[i % D]!);
  const { p, sums } = softmax(scoresOf(int8Passes(folded, passes, D), k.integers, k.scales));
  const T = v.scales.length;
  const weights = new Float64Array(p.length);
  for (let m = 0; m < ROWS; m++) for (let t = 0; t < T; t++) weights[m * T + t] = p[m * T + t]! * v.scales[t]!;
  return (blocks) => {
    const rounded = new Float64Array(weights.length);
    const starts = blockStarts(blocks, T);
    for (let m = 0; m < ROWS; m++)
      for (const [b, begin] of starts.entries()) {
        const [from, to] = [m * T + begin, m * T + (starts[b + 1] ?? T)];
        rounded.set(int8Passes(weights.subarray(from, to), passes, to - from), from);
      }
    return outputsOf(rounded, v.integers, sums);
  };
}

/** @param name of a distribution of @msd/core/numerics */
export function simulateAttention(name: string, T: number, seed: number): Reading[] {
  const { q, k, v } = sample(distributions[name]!, T, D, ROWS, seed);
  const came = exact(q, k, v);
  const values = store(v, ones(D));
  const [plain, factored] = [store(k, ones(D)), store(k, channelFactors(k))];
  const [keys, valuesFloat] = [dequantized(factored), dequantized(values)];
  const stored = exact(q, keys, valuesFloat);
  const flash = flashBf16(q, keys, valuesFloat);
  const [one, two, three] = [1, 2, 3].map((passes) => decomposed(q, factored, values, passes)) as [
    (blocks: Blocks) => Values,
    (blocks: Blocks) => Values,
    (blocks: Blocks) => Values,
  ];
  const msd = two('pages');
  const compute = (variant: string, got: Values): Reading => ({ variant, value: relativeError(got, stored) });
  const total = (variant: string, got: Values): Reading => ({ variant, value: relativeError(got, came) });
  return [
    compute('bf16', flash),
    compute('int8 x2, row', two('row')),
    compute('int8 x2, 128', two(128)),
    compute('int8 x2, 64', two(64)),
    compute('int8 x1, pages', one('pages')),
    compute('int8 x2, pages', msd),
    compute('int8 x3, pages', three('pages')),
    total('total: bf16', flash),
    total('total: int8 x2, pages', msd),
    total('total: K per token', exact(q, dequantized(plain), valuesFloat)),
    total('total: K x channel factors', stored),
  ];
}
