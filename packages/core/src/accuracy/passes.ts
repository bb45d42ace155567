/**
 * What P passes are worth, in closed form: error bounds of one element, and effective bits. Everything is real arithmetic; what
 * f32 adds is in bounds.ts.
 *
 * Symbols: max = largest |x| of a block, P = passes (components), B = elements of a block. Bounds and x have the same unit.
 */
import { alphaOf } from '../decompose/contract.ts';

/**
 * Bound of |x − S·q| after P passes of INT8, for any P: max / (2 · 127 · 254^(P−1)).                    (docs/msd.md, eq. 4)
 *
 * The paper's M / 64516 is P = 2. Derivation: S = max / (127 · 254^(P−1)), and rounding to integers leaves S/2.
 *
 * @param max largest |x| of the block, ≥ 0
 * @throws {@link RangeError} for a number of passes that is no positive integer
 */
export const int8Bound = (max: number, passes: number): number => max / (2 * int8Steps(checked('int8Bound', passes)));

/** 127 · 254^(P−1). */
const int8Steps = (passes: number): number => 127 * 254 ** (passes - 1);

/**
 * Bound of |x − S·q| after P passes of MXFP4: alpha / 8^P, with alpha = 2^ceil(log2 max).               (docs/msd.md, eq. 9)
 *
 * Derivation: alpha is mapped to 4. E2M1 has the steps 1/2 up to 2 and 1 up to 4, so a pass leaves at most 1/2, that is
 * alpha/8; the next pass maps that to 4 again. The paper's alpha/64 is P = 2.
 *
 * @param max largest |x| of the block of 32; 0 gives 0
 */
export function mxfp4Bound(max: number, passes: number): number {
  checked('mxfp4Bound', passes);
  return max > 0 ? alphaOf(max) / 8 ** passes : 0;
}

/**
 * Bits that a bound is worth beside the largest value: log2(max / bound).
 *
 * Two passes of INT8: log2 64516 = 15.98, the paper's "16 effective bits".
 */
export const bitsOfBound = (max: number, bound: number): number => Math.log2(max / bound);

/**
 * Effective bits of a binary float by its mean error: −log2 of the rms of (rounding error ÷ value), for values whose logarithm is
 * spread evenly.
 *
 * 3 bits after the point (E4M3, the elements of MXFP8) give 5.24, the figure that the paper compares with; BF16 has 9.24, FP16 12.24:
 * for many bits m it is m + log2 √(12 · 8 ln 2 / 3) = m + 2.236, from an error that is uniform in ± 2^(−m−1) and the mean of 1/x².
 *
 * @param mantissaBits m, bits after the point
 */
export function floatBits(mantissaBits: number): number {
  const count = 2 ** mantissaBits;
  return bitsInOctave(
    1,
    Array.from({ length: count + 1 }, (_, i) => 1 + i / count),
  );
}

/** Values of a pass: E2M1 up to 4, where alpha is mapped to. */
const E2M1 = [-4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4];

/**
 * Effective bits of P passes of MXFP4 by the same measure as {@link floatBits}, for values in the top half (alpha/2, alpha] of their
 * block's range. Further down steps get finer once only, so values there have fewer bits.
 *
 * P = 2 gives 6.60, the paper's "6.6 bits"; one pass 3.27.
 */
export function mxfp4Bits(passes: number): number {
  let values = E2M1;
  for (let p = 1; p < checked('mxfp4Bits', passes); p++)
    values = [...new Set(E2M1.flatMap((first) => values.map((rest) => first + rest / 8)))];
  return bitsInOctave(2, values);
}

/**
 * −log2 of the rms of (error ÷ x) for x in [low, 2·low], density 1 / (x ln 2), rounded to the nearest value.
 *
 * Of a cell [a, b] that is rounded to c:  ∫ (x − c)² / x³ dx = ln(b/a) + 2c (1/b − 1/a) − c²/2 · (1/b² − 1/a²)
 */
function bitsInOctave(low: number, values: readonly number[]): number {
  const sorted = values.filter((value) => value >= low / 2 && value <= 4 * low).sort((a, b) => a - b);
  let sum = 0;
  for (const [i, c] of sorted.entries()) {
    const [below, above] = [sorted[i - 1] ?? c, sorted[i + 1] ?? c];
    const [a, b] = [Math.max(low, (below + c) / 2), Math.min(2 * low, (c + above) / 2)];
    if (a < b) sum += Math.log(b / a) + 2 * c * (1 / b - 1 / a) - (c * c * (1 / b ** 2 - 1 / a ** 2)) / 2;
  }
  return -Math.log2(sum / Math.LN2) / 2;
}

/**
 * Expected SQNR in dB of P passes of INT8 on Gaussian activations, one scale per B of them: what "near 16 bits" comes to in the
 * usual unit.
 *
 *   SQNR = 12 · steps² · σ² / E[max²],   steps = 127 · 254^(P−1),   E[max²] = ∫ 2t · (1 − F(t)^B) dt,   F(t) = erf(t / √2)
 *
 * The error is assumed to be uniform in ± S/2 and independent of x. 256 and P = 2: 91 dB, 15.2 bits.
 *
 * @param block B, elements that share a scale, ≥ 1
 */
export function gaussianSqnr(block: number, passes: number): number {
  const steps = int8Steps(checked('gaussianSqnr', passes));
  return 10 * Math.log10((12 * steps ** 2) / meanSquareMax(block));
}

const FAR = 10; // |x| of a standard normal above it: 1e-23
const STEPS = 4000;

/** E[max²] of B standard normals, by the trapezoidal rule; F is summed up on the way. */
function meanSquareMax(block: number): number {
  const h = FAR / STEPS;
  const density = (t: number): number => Math.sqrt(2 / Math.PI) * Math.exp((-t * t) / 2);
  let below = 0;
  let sum = 0;
  for (let i = 1; i <= STEPS; i++) {
    const t = i * h;
    below += (h / 6) * (density(t - h) + 4 * density(t - h / 2) + density(t));
    sum += 2 * t * (1 - Math.min(1, below) ** block) * h;
  }
  return sum;
}

function checked(where: string, passes: number): number {
  if (!Number.isInteger(passes) || passes < 1)
    throw new RangeError(`${where}: passes expected a positive integer, got ${passes}.`);
  return passes;
}
