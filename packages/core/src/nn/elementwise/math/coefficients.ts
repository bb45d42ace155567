/** Polynomials, constant term first: derived by test/derive-nn.ts, compared with it by a test. */

/** (ln(1 + r) − r + r²/2) / r³ for 1 + r in [√½, √2]. */
export const LOG: readonly number[] = [
  0.333333313, -0.24999997, 0.200007156, -0.166678026, 0.142490581, -0.124256872, 0.116854198, -0.114797339,
  0.0697161183,
];

/** erf(x)/x − 1, in x², for |x| ≤ 0.9. */
export const ERF: readonly number[] = [
  0.128379166, -0.376126349, 0.11283718, -0.0268606655, 0.00520422682, -0.000817963213, 0.0000852940138,
];

/** e^(x²)·erfc(x) = t · P(t) with t = 1/(1 + x·ERFC_STEP), for x from 0.9 to ERFC_LIMIT, where erf is 1. */
export const ERFC_STEP = 0.5;
export const ERFC_LIMIT = 4;
export const ERFC: readonly number[] = [
  0.282661438, 0.273616731, 0.300448716, -0.00807063654, 0.448846221, -0.395862192, 0.0983049944,
];

/** (log₂((1 + s)/(1 − s)) − 2s/ln 2) / s³, in s², for |s| ≤ 0.102. */
export const LOG2: readonly number[] = [0.961796701, 0.577058256, 0.417250186];

/** (sin(r)/r − 1) / r², in r², for |r| ≤ 0.79. */
export const SIN: readonly number[] = [-0.166666642, 0.00833273493, -0.000195849323];

/** (cos(r) − 1 + r²/2) / r⁴, in r², for |r| ≤ 0.79. */
export const COS: readonly number[] = [0.0416666642, -0.00138882897, 0.0000245449774];

/** π/2 in four parts of 11 bits and a rest. */
export const HALF_PI: readonly number[] = [
  1.5703125, 0.0004837512969970703, 7.549533620476723e-8, 2.5632829192545614e-12, 6.123234262925839e-17,
];

/** Two zeros, then 1/2π in base 256. */
export const TURN_BYTES: readonly number[] = [
  0, 0, 40, 190, 96, 219, 147, 145, 5, 74, 127, 9, 213, 244, 125, 77, 55, 112, 54, 216, 165, 102, 79, 16, 228, 16, 127,
  148, 88, 234, 247, 174,
];
