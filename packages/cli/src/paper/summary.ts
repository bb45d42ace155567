/** Readings of several seeds as one figure with its spread. */
import { distributions } from '@msd/core/numerics';
import { BITS_DISTRIBUTIONS, type Case, type Experiment, type Reading } from './cases.ts';
import { MATMUL_DISTRIBUTIONS } from './matmul.ts';

/** One variant of one experiment, over all seeds. */
export interface Summary {
  readonly experiment: Experiment;
  readonly distribution: string;
  /** K, T, or the length of a row. */
  readonly size: number;
  readonly variant: string;
  /** Geometric mean over the seeds. */
  readonly value: number;
  /**
   * Four standard deviations of one seed, as a factor: another seed is expected between value / spread and value · spread.
   * 1 where nothing is lost at all.
   */
  readonly spread: number;
  readonly seeds: number;
}

/** What a case made. */
export interface Outcome {
  readonly of: Case;
  readonly readings: readonly Reading[];
}

const DEVIATIONS = 4;
/** As many digits as files have, so that claims are the same from a file. */
export const rounded = (value: number): number => Number(value.toPrecision(6));

/** Mean and spread of values of one kind. */
export function spreadOf(values: readonly number[]): { value: number; spread: number } {
  if (values.every((value) => value === 0)) return { value: 0, spread: 1 };
  const logs = values.map(Math.log);
  const mean = logs.reduce((a, b) => a + b, 0) / logs.length;
  const squares = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0);
  const deviation = logs.length > 1 ? Math.sqrt(squares / (logs.length - 1)) : 0;
  return { value: rounded(Math.exp(mean)), spread: rounded(Math.exp(DEVIATIONS * deviation)) };
}

/** @returns sorted by experiment, size and distribution, whichever case was done first; variants in their own order */
export function summarize(outcomes: readonly Outcome[]): Summary[] {
  const groups = new Map<string, { readonly head: Omit<Summary, 'value' | 'spread' | 'seeds'>; values: number[] }>();
  const sorted = outcomes.toSorted(
    ({ of: a }, { of: b }) =>
      EXPERIMENTS.indexOf(a.experiment) - EXPERIMENTS.indexOf(b.experiment) ||
      a.size - b.size ||
      DISTRIBUTIONS.indexOf(a.distribution) - DISTRIBUTIONS.indexOf(b.distribution) ||
      a.seed - b.seed,
  );
  for (const { of, readings } of sorted)
    for (const { variant, value } of readings) {
      const { experiment, distribution, size } = of;
      const key = [experiment, distribution, size, variant].join('\n');
      const group = groups.get(key) ?? { head: { experiment, distribution, size, variant }, values: [] };
      groups.set(key, group);
      group.values.push(value);
    }
  return [...groups.values()].map(({ head, values }) => ({ ...head, ...spreadOf(values), seeds: values.length }));
}

const EXPERIMENTS: readonly Experiment[] = ['bits', 'matmul', 'matmul-bf16', 'attention'];
const DISTRIBUTIONS: readonly string[] = [
  ...BITS_DISTRIBUTIONS,
  ...MATMUL_DISTRIBUTIONS,
  ...Object.keys(distributions),
];
