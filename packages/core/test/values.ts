/** Rows of floats for property tests: as networks have them, and as they break kernels. */
import { gaussian, type Random } from './random.ts';

const SPECIAL = [
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  -0,
  0,
  2 ** -149,
  -(2 ** -130),
  3e38,
  1,
];

/** Names of {@link values}' kinds. */
export const VALUE_KINDS = ['gaussian', 'offset', 'magnitudes', 'zeros', 'special', 'huge', 'subnormal'] as const;
export type ValueKind = (typeof VALUE_KINDS)[number];

const draw: Record<ValueKind, (next: Random) => number> = {
  gaussian,
  offset: (next) => 100 + gaussian(next),
  magnitudes: (next) => (next() - 0.5) * 2 ** Math.floor(next() * 60 - 30),
  zeros: (next) => (next() < 0.5 ? -0 : 0),
  special: (next) => (next() < 0.2 ? SPECIAL[Math.floor(next() * SPECIAL.length)] : gaussian(next)),
  huge: (next) => (next() - 0.5) * 2 ** 127,
  subnormal: (next) => (next() - 0.5) * 2 ** -125,
};

export const values = (next: Random, kind: ValueKind, count: number): Float32Array =>
  Float32Array.from({ length: count }, () => draw[kind](next));

/** Around the vectors and blocks of kernels. */
export const LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 130, 200] as const;
