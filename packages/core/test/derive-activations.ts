/**
 * The coefficients of src/activations/coefficients.ts, derived: interpolation at the Chebyshev nodes of each interval in
 * float64, then rounded to f32. Run it to print them; activations.test.ts compares them with what is committed.
 */
import { pathToFileURL } from 'node:url';
import { erfcx } from '../src/activations/activations.reference.ts';
import { ERFCX_STEP } from '../src/activations/coefficients.ts';

/** Coefficients, constant first, of the polynomial that equals f at the Chebyshev nodes of [low, high]. */
export function interpolate(f: (x: number) => number, low: number, high: number, degree: number): number[] {
  const size = degree + 1;
  const nodes = Array.from(
    { length: size },
    (_, i) => (low + high) / 2 + ((high - low) / 2) * Math.cos((Math.PI * (i + 0.5)) / size),
  );
  // Newton's divided differences, then expanded into powers.
  const differences = nodes.map(f);
  for (let order = 1; order < size; order++)
    for (let i = degree; i >= order; i--)
      differences[i] = (differences[i] - differences[i - 1]) / (nodes[i] - nodes[i - order]);
  const coefficients = Array<number>(size).fill(0);
  for (let i = degree; i >= 0; i--) {
    for (let power = degree; power > 0; power--)
      coefficients[power] = coefficients[power - 1] - nodes[i] * coefficients[power];
    coefficients[0] = differences[i] - nodes[i] * coefficients[0];
  }
  return coefficients.map((c) => Number(Math.fround(c).toPrecision(9)));
}

/** Σ x^k / (k + 2)!, which (e^x − 1 − x) / x² would lose to cancellation. */
function expRest(x: number): number {
  let sum = 0;
  for (let k = 20, term = 1 / 2432902008176640000 / 21 / 22; k >= 0; k--) {
    sum = sum * x + term;
    term *= k + 2;
  }
  return sum;
}

/** (tanh(√s)/√s − 1) / s, from the series of sinh and cosh. */
function tanhRest(s: number): number {
  let difference = 0; // (sinh(x)/x − cosh(x)) / s
  let cosh = 0;
  for (let k = 20, factorial = 1; k >= 0; k--) {
    factorial = 1;
    for (let i = 2; i <= 2 * k; i++) factorial *= i;
    cosh = cosh * s + 1 / factorial;
    // terms of x^(2k+2): 1/(2k+3)! − 1/(2k+2)!
    difference = difference * s + (1 / (2 * k + 3) - 1) / (factorial * (2 * k + 1) * (2 * k + 2));
  }
  return difference / cosh;
}

export function deriveCoefficients(): Record<'EXP' | 'TANH' | 'ERFCX', number[]> {
  const step = ERFCX_STEP * Math.SQRT2; // per z = |x| / √2
  return {
    EXP: interpolate(expRest, -0.35, 0.35, 4),
    TANH: interpolate(tanhRest, 0, 0.625 ** 2, 4),
    ERFCX: interpolate((t) => erfcx((1 / t - 1) / step) / t / 2, 1 / (1 + 15.5 * ERFCX_STEP), 1, 8),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) console.log(deriveCoefficients());
