/** eˣ for what lies below a maximum: softmax, LogSumExp, attention. */
import { expParts, type Lanes } from '../activations/contract.ts';
import { U } from './rounding.ts';

/** rne(−88 / ln 2) is −127, whose power of two is 0. */
const LEAST = -88;

/**
 * eˣ for x ≤ 0: 1 at 0, NaN of NaN. Off by {@link EXP_ERROR} of it, and 0 below −87.68, where f32 has no normal
 * numbers left: off by 2⁻¹²⁶ at most from {@link EXP_LEAST} down.
 */
export function expOrZero<V>(f: Lanes<V>, x: V): V {
  const { n, rest } = expParts(f, f.pmax(x, f.constant(LEAST)));
  return f.mul(f.add(rest, f.constant(1)), f.pow2(n));
}

/** Proved by looking: a dense sample of all bit patterns, 1.41·2⁻²⁴ at worst. */
export const EXP_ERROR: number = 1.5 * U;
export const EXP_LEAST = -87.3;
