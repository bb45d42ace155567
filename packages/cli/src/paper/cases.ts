/** What is simulated: a case is one seeded experiment, its readings are what each variant made of the same inputs. */
import { distributions } from '@msd/core/numerics';
import { simulateAttention } from './attention.ts';
import { simulateBits } from './bits.ts';
import { MATMUL_DISTRIBUTIONS, simulateMatmul } from './matmul.ts';

/**
 *   bits        one row of numbers, rounded: effective bits. `size` is its length
 *   matmul      x·Wᵀ, f32 activations; `size` is K
 *   matmul-bf16 the same on activations that are BF16 already, as the paper's
 *   attention   softmax(Q·Kᵀ)·V on int8 keys and values; `size` is T
 */
export type Experiment = 'bits' | 'matmul' | 'matmul-bf16' | 'attention';

/** One seeded experiment. */
export interface Case {
  readonly experiment: Experiment;
  readonly distribution: string;
  readonly size: number;
  readonly seed: number;
}

/** What one variant made of it. */
export interface Reading {
  readonly variant: string;
  readonly value: number;
}

/** How much of it is simulated. */
export interface Extent {
  /** Reduction lengths of products. */
  readonly K: readonly number[];
  /** Keys of attention. */
  readonly T: readonly number[];
  /** Seeds of every case, and of those of more than {@link LONG} keys. */
  readonly seeds: number;
  readonly longSeeds: number;
  /** The first of them. */
  readonly firstSeed: number;
}

const LONG = 4096;

export const FULL: Extent = {
  K: [1024, 2048, 4096, 8192],
  T: [1024, 2048, 4096, 8192, 16384, 32768],
  seeds: 8,
  longSeeds: 3,
  firstSeed: 1,
};
/** Shortened, for a first look: less than 20 seconds. */
export const QUICK: Extent = { K: [1024, 4096], T: [1024, 4096], seeds: 2, longSeeds: 2, firstSeed: 1 };

/** Numbers in a row of `bits`. */
const ROW = 4096;
export const BITS_DISTRIBUTIONS = ['top half', 'uniform', 'gaussian', 'laplace', 'of bound'] as const;

/** All cases of an extent, the longest first, so that threads end together. */
export function casesOf({ K, T, seeds, longSeeds, firstSeed }: Extent): Case[] {
  const seedsFor = (size: number): number[] =>
    Array.from({ length: size > LONG ? longSeeds : seeds }, (_, i) => firstSeed + i);
  const all = (experiment: Experiment, names: readonly string[], sizes: readonly number[], count = seedsFor): Case[] =>
    sizes.flatMap((size) =>
      names.flatMap((distribution) => count(size).map((seed) => ({ experiment, distribution, size, seed }))),
    );
  return [
    ...all('attention', Object.keys(distributions), T),
    ...all('matmul', MATMUL_DISTRIBUTIONS, K, () => seedsFor(0)),
    ...all('matmul-bf16', MATMUL_DISTRIBUTIONS, K, () => seedsFor(0)),
    ...all('bits', BITS_DISTRIBUTIONS, [ROW]),
  ].sort((a, b) => workOf(b) - workOf(a));
}

/** Roughly its milliseconds, for the time that is left. */
export function workOf({ experiment, size }: Case): number {
  if (experiment === 'attention') return Math.ceil(size / 20);
  return Math.ceil(size / (experiment === 'bits' ? 40 : 100));
}

/** Runs one case. */
export function runCase({ experiment, distribution, size, seed }: Case): Reading[] {
  if (experiment === 'bits') return simulateBits(distribution, size, seed);
  if (experiment === 'attention') return simulateAttention(distribution, size, seed);
  return simulateMatmul(distribution, size, seed, experiment === 'matmul-bf16');
}
