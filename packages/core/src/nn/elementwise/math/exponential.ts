/** e^x, its inverse, and what is made of them. Every function is finite work on any bit pattern; NaN gives NaN. */
import { exp, expParts, horner, LN2_HIGH, LN2_LOW, VANISHES } from '../../../activations/contract.ts';
import type { MoreLanes } from '../lanes.ts';
import { ERF, ERFC, ERFC_LIMIT, ERFC_STEP, LOG } from './coefficients.ts';

/** e^x; from 88.73 on +Inf, subnormal below −87.33, 0 from −112 on. */
export function exponential<V>(f: MoreLanes<V>, x: V): V {
  const bounded = f.pmax(f.pmin(x, f.constant(89)), f.constant(-VANISHES));
  const { significand, power } = exp(f, bounded);
  return f.mul(significand, power);
}

/** e^x − 1 for x ≤ 0: both 2ⁿ − 1 and 2ⁿ times the rest keep their bits, so that nothing cancels. */
export function expMinus1Below0<V>(f: MoreLanes<V>, x: V): V {
  const { n, rest } = expParts(f, f.pmax(x, f.constant(-30)));
  const power = f.pow2(n);
  return f.add(f.mul(rest, power), f.sub(power, f.constant(1)));
}

/** ln x: −Inf at ±0, NaN below. */
export function logarithm<V>(f: MoreLanes<V>, x: V): V {
  const zero = f.constant(0);
  const isTiny = f.less(x, f.constant(2 ** -126));
  const normal = f.select(isTiny, f.mul(x, f.constant(2 ** 23)), x);
  const finite = positiveLogarithm(f, normal, f.select(isTiny, f.constant(-23), zero));
  const below = f.select(f.equal(x, zero), f.constant(-Infinity), f.constant(Number.NaN));
  const above = f.select(f.less(x, f.constant(Infinity)), finite, x); // Inf and NaN as they are
  return f.select(f.lessOrEqual(x, zero), below, above);
}

/** x = 2ⁿ · m with m from a float in [½, 1), given by its bits, to twice that. Of normal x > 0. */
export function splitPowerOf2<V>(f: MoreLanes<V>, x: V, leastBits: number): { n: V; m: V } {
  const exponent = f.shiftRightSigned(f.subInt(f.bits(x), f.int(leastBits)), 23);
  return { n: f.toFloat(exponent), m: f.float(f.subInt(f.bits(x), f.shiftLeft(exponent, 23))) };
}
const ROOT_HALF_BITS = 0x3f3504f3;

/** ln x + more · ln 2, for normal x = 2ⁿ·(1 + r), 1 + r in [√½, √2): ln(1 + r) = r − r²/2 + r³·P(r), small terms first. */
function positiveLogarithm<V>(f: MoreLanes<V>, x: V, more: V): V {
  const { n: exponent, m } = splitPowerOf2(f, x, ROOT_HALF_BITS);
  const n = f.add(exponent, more);
  const r = f.sub(m, f.constant(1));
  const square = f.mul(r, r);
  const cubic = f.mul(f.mul(square, r), horner(f, LOG, r));
  const small = f.sub(f.add(f.mul(n, f.constant(LN2_LOW)), cubic), f.mul(square, f.constant(0.5)));
  return f.add(f.add(small, r), f.mul(n, f.constant(LN2_HIGH)));
}

/** ln(1 + e^x) = max(x, 0) + ln(1 + u), u = e^−|x|. What 1 + u loses of u is added again, divided by it. */
export function softplus<V>(f: MoreLanes<V>, x: V): V {
  const zero = f.constant(0);
  const one = f.constant(1);
  const { significand, power } = exp(f, f.pmax(f.negate(f.abs(x)), f.constant(-VANISHES)));
  const u = f.mul(significand, power);
  const sum = f.rounded(f.add(u, one));
  const lost = f.div(f.sub(u, f.sub(sum, one)), sum);
  return f.add(f.pmax(x, zero), f.add(positiveLogarithm(f, sum, zero), lost));
}

/** An odd polynomial below 0.9; beyond, 1 − e^−x²·t·P(t) with t = 1/(1 + |x|·ERFC_STEP). */
export function errorFunction<V>(f: MoreLanes<V>, x: V): V {
  const one = f.constant(1);
  const a = f.pmin(f.abs(x), f.constant(ERFC_LIMIT));
  const square = f.mul(a, a);
  const small = f.add(f.mul(a, horner(f, ERF, square)), a);
  const { significand, power } = exp(f, f.negate(square));
  const t = f.div(one, f.add(f.mul(a, f.constant(ERFC_STEP)), one));
  const tail = f.mul(f.mul(f.mul(horner(f, ERFC, t), t), significand), power);
  const large = f.sub(one, tail);
  return f.copySign(f.select(f.less(a, f.constant(0.9)), small, large), x);
}
