/**
 * Seeded queries, keys and values like those of language models, on which the error of attention is measured.
 *
 *   std1, std2, std4   Gaussian; scores have that standard deviation
 *   sink…              nine tenths of the weight on key 0, whose value is 0.05 or 1 times as large as the others
 *   local              a sink of .6, recent keys and one far key; values with means
 *   kout, kbig         keys with channels of 30/20/10 and 150/90/60 sigma, turned by rotary embedding
 *   vout               4 values 20 times, 2 channels 10 times as large
 *   llm                all of it, milder
 */
import { gaussian, gaussians, type Random, random } from './seeded.ts';

export interface Distribution {
  /** Standard deviation of scores. */
  readonly deviation?: number;
  /** Weight of key 0, and the size of its value. */
  readonly sink?: number;
  readonly sinkValue?: number;
  /** What three channels of K have more, in sigma. */
  readonly channels?: readonly number[];
  /** 4 values so much larger, 2 channels half as much. */
  readonly values?: number;
  /** Means of the channels of V. */
  readonly mean?: number;
  /** What recent keys have more, and the key of one far key. */
  readonly recent?: number;
}

export const distributions: Readonly<Record<string, Distribution>> = {
  std1: {},
  std2: { deviation: 2 },
  std4: { deviation: 4 },
  'sink .05x': { sink: 0.9, sinkValue: 0.05 },
  'sink 1x': { sink: 0.9, sinkValue: 1 },
  local: { sink: 0.6, sinkValue: 1, recent: 4, mean: 0.3 },
  kout: { channels: [30, 20, 10] },
  kbig: { channels: [150, 90, 60] },
  vout: { values: 20 },
  llm: { sink: 0.6, sinkValue: 0.05, channels: [15, 10, 5], values: 5, mean: 0.15, recent: 2 },
};

export interface Sample {
  /** [rows, d], [T, d], [T, d] */
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** Turns channel j and j + d/2 by position / 10000^(2j/d). */
function rotate(x: Float32Array, position: number): void {
  const half = x.length / 2;
  for (let j = 0; j < half; j++) {
    const angle = position / 10000 ** (j / half);
    const [a, b] = [x[j], x[j + half]];
    x[j] = a * Math.cos(angle) - b * Math.sin(angle);
    x[j + half] = a * Math.sin(angle) + b * Math.cos(angle);
  }
}

/** Keys, values, and queries that follow them. */
export function sample(
  { deviation = 1, sink, sinkValue = 1, channels = [], values = 1, mean = 0, recent = 0 }: Distribution,
  T: number,
  d: number,
  rows: number,
  seed: number,
): Sample {
  const next = random(seed);
  const means = Float32Array.from({ length: d }, () => mean * gaussian(next));
  const k = gaussianRows(next, T, d);
  const v = gaussianRows(next, T, d).map((row) => row.map((value, c) => value + means[c]));
  // Slow channels: they hardly turn, so every key has the same share of them.
  for (const row of k) for (const [i, more] of channels.entries()) row[d / 2 - 1 - i] += more;
  if (channels.length > 0) k.forEach(rotate);
  if (values !== 1) {
    for (let i = 0; i < 4; i++) {
      const row = v[Math.floor(next() * T)];
      for (let c = 0; c < d; c++) row[c] *= values;
    }
    for (const row of v) for (const c of [3, d - 5]) row[c] *= values / 2;
  }
  // Channel 0 belongs to the sink: queries share a part of it, and no other key has any.
  if (sink !== undefined) for (const row of k) row[0] = 0;
  const far = Math.floor(T / 3);
  const q = gaussianRows(next, rows, d).map((row, m) => {
    for (let j = 0; j < d; j++) row[j] *= deviation;
    if (channels.length > 0) rotate(row, T + m);
    if (recent > 0) for (let j = 1; j < d; j++) row[j] += (recent * k[far][j]) / Math.sqrt(d); // looks for one key
    if (sink !== undefined) row[0] = 4;
    return row;
  });
  if (sink !== undefined) {
    const scoreOf = (row: Float32Array, t: number) =>
      row.reduce((sum, value, j) => sum + value * k[t][j], 0) / Math.sqrt(d);
    k[0].fill(0);
    const others = q.map((row) => k.reduce((sum, _, t) => (t === 0 ? 0 : sum + Math.exp(scoreOf(row, t))), 0));
    const middle = others.reduce((sum, value) => sum + Math.log(value), 0) / rows;
    k[0][0] = (Math.sqrt(d) * (middle + Math.log(sink / (1 - sink)))) / 4;
    for (let c = 0; c < d; c++) v[0][c] *= sinkValue;
  }
  return { q: joined(q), k: joined(k), v: joined(v) };
}

const gaussianRows = (next: Random, count: number, d: number): Float32Array[] =>
  Array.from({ length: count }, () => gaussians(next, d));

function joined(rows: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(rows.length * rows[0].length);
  rows.forEach((row, i) => {
    all.set(row, i * row.length);
  });
  return all;
}
