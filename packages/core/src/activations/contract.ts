/**
 * Activations of the fused end, operation by operation: each is one f32 rounding, none is fused. The functions below are
 * written once over {@link Lanes}; the reference runs them on numbers, kernels emit them for four lanes, and both give the
 * same bits.                                                                                (docs/msd.md, "Fused ends")
 *
 *   relu       y = x < 0 ? 0 : x
 *   relu6      the same, and 6 where it is more
 *   sigmoid    1 / (1 + e^−x)
 *   silu       x · sigmoid(x)
 *   tanh
 *   gelu       x · Φ(x), with erf
 *   gelu_tanh  x · sigmoid(2·√(2/π)·(x + 0.044715·x³)), which is its tanh form: (1 + tanh u)/2 = sigmoid(2u)
 *
 * NaN gives NaN; +Inf and −Inf give the limits (−0 for silu and gelu at −Inf).
 */
import { ERFCX, ERFCX_STEP, EXP, TANH } from './coefficients.ts';

export type ActivationId = 'relu' | 'relu6' | 'silu' | 'gelu' | 'gelu_tanh' | 'sigmoid' | 'tanh';

export const activationIds: readonly ActivationId[] = ['relu', 'relu6', 'silu', 'gelu', 'gelu_tanh', 'sigmoid', 'tanh'];

/**
 * Largest error of an f32 activation, in units in the last place of the float64 value; tested on a dense sample of all
 * bit patterns, subnormal results included. Where gelu_tanh decays, its error is the rounding of its argument times
 * |argument|.
 */
export function activationUlps(id: ActivationId, x: number): number {
  if (id === 'gelu_tanh') return x >= -1 ? 4 : 200;
  return { relu: 0, relu6: 0, sigmoid: 3, tanh: 2, silu: 4, gelu: 7 }[id];
}

/** The operations that a machine provides: IEEE 754 single precision, half to even, with subnormals. */
export interface Lanes<V> {
  constant(value: number): V;
  add(a: V, b: V): V;
  sub(a: V, b: V): V;
  mul(a: V, b: V): V;
  div(a: V, b: V): V;
  /** Half to even. */
  nearest(a: V): V;
  abs(a: V): V;
  /** b < a ? b : a; NaN in a stays. */
  pmin(a: V, b: V): V;
  /** a < b ? b : a; NaN in a stays. */
  pmax(a: V, b: V): V;
  /** a < b ? then : otherwise */
  ifLess(a: V, b: V, then: V, otherwise: V): V;
  /** `magnitude` ≥ 0 or NaN, with the sign of `sign`. */
  copySign(magnitude: V, sign: V): V;
  /** The upper 12 bits of the significand: its square is exact. */
  topBits(a: V): V;
  /** 2ⁿ for an integer n in [−126, 127]; 0 for −127. */
  pow2(n: V): V;
}

/** e^−112 and 112 times it round to 0. */
export const VANISHES = 112;

export function activate<V>(f: Lanes<V>, id: ActivationId, x: V): V {
  switch (id) {
    case 'relu':
      return f.pmax(x, f.constant(0));
    case 'relu6':
      return f.pmin(f.pmax(x, f.constant(0)), f.constant(6));
    case 'sigmoid':
      return timesLogistic(f, f.constant(1), x);
    case 'silu':
      return timesLogistic(f, x, x);
    case 'tanh':
      return tanh(f, x);
    case 'gelu':
      return gelu(f, x);
    case 'gelu_tanh':
      return timesLogistic(f, x, tanhArgument(f, x));
  }
}

/** c[0] + v·(c[1] + v·(…)) */
export const horner = <V>(f: Lanes<V>, coefficients: readonly number[], v: V): V =>
  coefficients
    .slice(0, -1)
    .reduceRight((sum, c) => f.add(f.mul(sum, v), f.constant(c)), f.constant(coefficients.at(-1)!));

/**
 * e^(x + low) = significand · power for x in [−121, 89] and |low| far below |x|. Two factors, so that the caller rounds
 * into the subnormal range only once, at its very end. What vanishes there has power 0: CPUs take 100 cycles to underflow.
 */
export function exp<V>(f: Lanes<V>, x: V, low?: V): { significand: V; power: V } {
  const { n, rest } = expParts(f, x, low);
  const p = f.add(rest, f.constant(1));
  const half = f.nearest(f.mul(n, f.constant(0.5)));
  const power = f.ifLess(f.constant(-VANISHES), x, f.pow2(f.sub(n, half)), f.constant(0));
  return { significand: f.mul(p, f.pow2(half)), power };
}

/**
 * e^(x + low) = 2ⁿ · (1 + rest), |rest| < 0.42.
 *
 * Cody and Waite: n = rne(x/ln 2), r = x − n·ln 2 with ln 2 in two parts, the first of 9 bits: n·LN2_HIGH is exact.
 */
export function expParts<V>(f: Lanes<V>, x: V, low?: V): { n: V; rest: V } {
  const n = f.nearest(f.mul(low === undefined ? x : f.add(x, low), f.constant(Math.LOG2E)));
  const coarse = f.sub(f.sub(x, f.mul(n, f.constant(LN2_HIGH))), f.mul(n, f.constant(LN2_LOW)));
  return { n, rest: expMinus1(f, low === undefined ? coarse : f.add(coarse, low)) };
}
export const LN2_HIGH = 355 / 512;
export const LN2_LOW = Math.LN2 - LN2_HIGH;

/** e^r − 1 for |r| ≤ 0.35. */
export const expMinus1 = <V>(f: Lanes<V>, r: V): V => f.add(f.mul(f.mul(r, r), horner(f, EXP, r)), r);

/**
 * factor · sigmoid(x), where factor is 1 or has the sign of x.
 * @param least a smaller factor counts as this one, because −Inf · 0 would be NaN. By default it is so small that the
 * result vanishes for factor = x
 */
export function timesLogistic<V>(f: Lanes<V>, factor: V, x: V, least = -VANISHES): V {
  const zero = f.constant(0);
  const one = f.constant(1);
  const { significand, power } = exp(f, f.pmax(f.sub(zero, f.abs(x)), f.constant(-VANISHES)));
  const denominator = f.add(f.mul(significand, power), one);
  const bounded = f.pmax(factor, f.constant(least));
  const numerator = f.ifLess(x, zero, f.mul(bounded, significand), factor);
  return f.mul(f.div(numerator, denominator), f.ifLess(x, zero, power, one));
}

/** 2·√(2/π)·(x + 0.044715·x³) */
function tanhArgument<V>(f: Lanes<V>, x: V): V {
  const slope = 2 * Math.sqrt(2 / Math.PI);
  const cubic = f.mul(f.mul(x, x), f.constant(0.044715 * slope));
  return f.mul(f.add(cubic, f.constant(slope)), x);
}

function tanh<V>(f: Lanes<V>, x: V): V {
  const a = f.abs(x);
  const square = f.mul(a, a);
  const small = f.add(f.mul(f.mul(a, square), horner(f, TANH, square)), a);
  const one = f.constant(1);
  const { significand, power } = exp(f, f.mul(f.pmin(a, f.constant(10)), f.constant(-2)));
  const e = f.mul(significand, power);
  const large = f.sub(one, f.div(f.add(e, e), f.add(e, one)));
  return f.copySign(f.ifLess(a, f.constant(0.625), small, large), x);
}

/**
 * x·Φ(x) with Φ(−a) = e^(−a²/2)·erfcx(a/√2)/2, erfcx/2 = t·P(t), t = 1/(1 + a·ERFCX_STEP). a² is split into an exact square and
 * a small rest, so that the tail has as many good bits as the middle.
 */
function gelu<V>(f: Lanes<V>, x: V): V {
  const zero = f.constant(0);
  const one = f.constant(1);
  const minusHalf = f.constant(-0.5);
  const limit = 15.5; // 15.5²/2 > VANISHES
  const a = f.pmin(f.abs(x), f.constant(limit));
  const top = f.topBits(a);
  const low = f.mul(f.mul(f.sub(a, top), f.add(a, top)), minusHalf);
  const { significand, power } = exp(f, f.mul(f.mul(top, top), minusHalf), low);
  const t = f.div(one, f.add(f.mul(a, f.constant(ERFCX_STEP)), one));
  const tail = f.mul(f.mul(horner(f, ERFCX, t), t), significand);
  const left = f.mul(f.mul(f.pmax(x, f.constant(-limit)), tail), power);
  const right = f.mul(f.sub(one, f.mul(tail, power)), x);
  return f.ifLess(x, zero, left, right);
}
