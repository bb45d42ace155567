/** One rounding to f32, and what many of them add up to. */
import type { Arithmetic } from '../decompose/decompose.reference.ts';

export type Rounding = (value: number) => number;
/** To f32, or none. */
export const roundingOf = (arithmetic: Arithmetic): Rounding =>
  arithmetic === 'float32' ? Math.fround : (value) => value;

/** u: a rounding is off by u times the result at most, */
export const U: number = 2 ** -24;
/** or by half of this, where the result is subnormal. */
export const UNDERFLOW: number = 2 ** -149;
/** γ(k): a product of k factors within 1 ± u is within 1 ± γ(k). */
export const gamma = (roundings: number, u: number = U): number => (roundings * u) / (1 - roundings * u);
