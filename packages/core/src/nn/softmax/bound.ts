/**
 * How far the f32 contract of softmax may be from the mathematics, element by element. With u = 2⁻²⁴ and D = sumDepth(n):
 *
 *   d   fl(x − m) is off by u·|d|
 *   e   so eᵈ is off by e^(u·|d|) − 1 of itself, and by EXP_ERROR; from EXP_LEAST down by 2⁻¹²⁶
 *   l   Σ of the errors of e, and γ(D) for the additions
 *   y   softmax: between the quotients of what e and l may be, and two roundings
 *       log_softmax: the errors of d and l, an ulp of the logarithm, and a rounding                (docs/nn.md, "Softmax")
 */
import { EXP_ERROR, EXP_LEAST } from '../exp.ts';
import { gamma, U, UNDERFLOW } from '../rounding.ts';
import { sumDepth } from '../rows.ts';
import type { SoftmaxOp } from './contract.ts';

/** @returns for each element of y how far it may be from float64's. Of a row whose y is not NaN, without differences beyond f32 */
export function softmaxBound(x: ArrayLike<number>, kind: SoftmaxOp['kind'] = 'softmax'): number[] {
  const row = Array.from(x);
  const max = row.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const terms = row.map((value) => {
    const d = value - max;
    const e = Math.exp(d);
    return { d, e, error: d < EXP_LEAST ? 2 ** -126 : e * (Math.expm1(U * -d) + (1 + 2 ** -10) * EXP_ERROR) };
  });
  const l = terms.reduce((sum, { e }) => sum + e, 0);
  const moved = terms.reduce((sum, { error }) => sum + error, 0);
  const lError = moved + gamma(sumDepth(row.length)) * (l + moved);
  return terms.map(({ d, e, error }) => {
    if (kind === 'log_softmax') {
      const log = Math.log(l);
      const logError = Math.log1p(lError / (l - lError)) * (1 + 2 * U) + 2 * U * log;
      return (U * -d + logError) * (1 + U) + U * (log - d);
    }
    const most = ((e + error) / (l - lError)) * (1 + U) ** 2;
    const least = ((e - error) / (l + lError)) * (1 - U) ** 2;
    return Math.max(most - e / l, e / l - least) + UNDERFLOW;
  });
}
