/** Polynomials of the activations, constant term first: derived by test/derive-activations.ts, compared with it by a test. */

/** (eˣ − 1 − x) / x² for |x| ≤ 0.35. */
export const EXP: readonly number[] = [0.5, 0.166665733, 0.0416665487, 0.0083637666, 0.00139269186];

/** (tanh(x)/x − 1) / x², in x², for |x| ≤ 0.625. */
export const TANH: readonly number[] = [-0.333333284, 0.133327693, -0.0538509078, 0.0209971797, -0.00609671418];

/** erfcx(a/√2)/2 = t · P(t) with t = 1/(1 + a·ERFCX_STEP), for a ≤ 15.5. */
export const ERFCX_STEP = 0.35;
export const ERFCX: readonly number[] = [
  0.13961871, 0.139914051, 0.119418398, 0.107274219, -0.0275492743, 0.165953085, -0.261890203, 0.147057042,
  -0.0297960509,
];
