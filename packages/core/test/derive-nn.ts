/**
 * The coefficients of src/nn/elementwise/math/coefficients.ts, derived: interpolation at the Chebyshev nodes of each interval in
 * float64, then rounded to f32. Run it to print them; a test compares them with what is committed.
 */
import { pathToFileURL } from 'node:url';
import { erfcx } from '../src/activations/activations.reference.ts';
import { ERFC_LIMIT, ERFC_STEP } from '../src/nn/elementwise/math/coefficients.ts';
import { interpolate } from './derive-activations.ts';

/** Σ terms from the smallest one: series whose leading terms would cancel in a closed form. */
const series = (term: (k: number) => number): number => {
  let sum = 0;
  for (let k = 60; k >= 0; k--) sum += term(k);
  return sum;
};

const factorial = (n: number): number => (n <= 1 ? 1 : n * factorial(n - 1));

export function deriveCoefficients() {
  return {
    // (ln(1 + r) − r + r²/2) / r³
    LOG: interpolate(
      (r) => (Math.abs(r) < 0.2 ? series((k) => (-r) ** k / (k + 3)) : (Math.log1p(r) - r + (r * r) / 2) / r ** 3),
      Math.SQRT1_2 - 1,
      Math.SQRT2 - 1,
      8,
    ),
    // erf(x)/x − 1, in s = x²
    ERF: interpolate(
      (s) => series((k) => ((2 / Math.sqrt(Math.PI)) * (-s) ** k) / (factorial(k) * (2 * k + 1))) - 1,
      0,
      0.9 ** 2,
      6,
    ),
    // e^(x²)·erfc(x)/t, in t = 1/(1 + x·ERFC_STEP)
    ERFC: interpolate(
      (t) => erfcx((1 / t - 1) / ERFC_STEP) / t,
      1 / (1 + ERFC_LIMIT * ERFC_STEP),
      1 / (1 + 0.9 * ERFC_STEP),
      6,
    ),
    // (log₂((1 + s)/(1 − s)) − 2s/ln 2) / s³, in s²
    LOG2: interpolate((v) => series((k) => ((2 / Math.LN2) * v ** k) / (2 * k + 3)), 0, 0.102 ** 2, 2),
    // (sin(r)/r − 1) / r² and (cos(r) − 1 + r²/2) / r⁴, in r²
    SIN: interpolate((v) => series((k) => -((-v) ** k) / factorial(2 * k + 3)), 0, 0.79 ** 2, 2),
    COS: interpolate((v) => series((k) => (-v) ** k / factorial(2 * k + 4)), 0, 0.79 ** 2, 2),
    HALF_PI: parts(PI / 2n, [11, 11, 11, 11, 24]),
    TURN_BYTES: [0, 0, ...digits((1n << (2n * BITS)) / (2n * PI), 30)],
  };
}

/** π · 2^BITS, by Machin's formula. */
const BITS = 320n;
const PI = 4n * (4n * arccot(5n) - arccot(239n));

function arccot(x: bigint): bigint {
  let sum = 0n;
  for (let k = 1n, power = (1n << (BITS + 64n)) / x; power !== 0n; k += 2n, power /= -x * x) sum += power / k;
  return sum >> 64n;
}

/** value · 2^−BITS cut into floats of so many bits, each what the ones before it left. */
function parts(value: bigint, bits: readonly number[]): number[] {
  let left = value;
  return bits.map((count) => {
    const unit = 1n << BigInt(left.toString(2).length - count);
    const part = ((left + (count === 24 ? unit / 2n : 0n)) / unit) * unit;
    left -= part;
    return Number(part) / 2 ** Number(BITS);
  });
}

/** The first digits after the point of value · 2^−BITS in base 256. */
const digits = (value: bigint, count: number): number[] =>
  Array.from({ length: count }, (_, i) => Number((value >> (BITS - BigInt(8 * (i + 1)))) & 255n));

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) console.log(deriveCoefficients());
