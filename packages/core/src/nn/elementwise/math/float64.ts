/** Mathematics that `Math` lacks or has otherwise, in float64. */
import { erfcx } from '../../../activations/activations.reference.ts';

/** The series where 1 − erfc would cancel. */
export function erf64(x: number): number {
  const a = Math.abs(x);
  if (!(a < 1)) return x < 0 ? -(1 - Math.exp(-a * a) * erfcx(a)) : 1 - Math.exp(-a * a) * erfcx(a);
  let sum = 0;
  for (let k = 0, term = x; k < 30; k++, term *= (-a * a) / k) sum += term / (2 * k + 1);
  return (2 / Math.sqrt(Math.PI)) * sum;
}

/** As in C: `**` gives NaN for 1^NaN and (±1)^±Inf. */
export const pow64 = (x: number, y: number): number => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y);
