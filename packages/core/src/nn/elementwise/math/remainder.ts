/** Remainders: of floats exact, with the sign of x (C's fmod); of ints in both ONNX forms. */
import type { MoreLanes } from '../lanes.ts';
import { isFiniteFloat } from './classes.ts';

/**
 * x − trunc(x/y)·y, exactly: long division of the significands, a bit per step. x of ±0 by ±Inf stays; NaN for y = 0 and
 * infinite x.
 */
export function remainder<V>(f: MoreLanes<V>, x: V, y: V): V {
  const zero = f.constant(0);
  const [dividend, divisor] = [f.abs(x), f.abs(y)];
  const [a, b] = [integerOf(f, dividend), integerOf(f, divisor)];
  // |x| < |y|: nothing to do. What is not finite is replaced by what ends at once.
  const isDefined = f.and(isFiniteFloat(f, x), f.less(zero, divisor));
  const steps = f.select(
    f.and(isDefined, f.lessOrEqual(divisor, dividend)),
    f.subInt(a.exponent, b.exponent),
    f.int(-1),
  );
  const [, rest] = f.loop(
    [steps, a.significand],
    ([left]) => f.lessInt(f.int(-1), left),
    ([left, value]) => {
      const less = f.subInt(value, b.significand);
      const fits = f.lessInt(f.int(-1), less);
      const reduced = f.select(fits, less, value);
      const isLast = f.equalInt(left, f.int(0));
      return [f.subInt(left, f.int(1)), f.select(isLast, reduced, f.shiftLeft(reduced, 1))];
    },
  );
  // A multiple of 2^−149: two powers that don't round.
  const n = f.toFloat(b.exponent);
  const half = f.nearest(f.mul(n, f.constant(0.5)));
  const scaled = f.mul(f.mul(f.toFloat(rest), f.pow2(half)), f.pow2(f.sub(n, half)));
  const magnitude = f.select(f.less(dividend, divisor), dividend, scaled);
  return f.select(isDefined, f.copySign(magnitude, x), f.constant(Number.NaN));
}

/** a = significand · 2^exponent with a significand in [2²³, 2²⁴), for finite a ≥ 0, subnormal ones too; of 0 it is 2²³. */
function integerOf<V>(f: MoreLanes<V>, a: V): { significand: V; exponent: V } {
  const bits = f.bits(a);
  const biased = f.shiftRight(bits, 23);
  const fraction = f.andInt(bits, f.int(0x7fffff));
  const isSubnormal = f.equalInt(biased, f.int(0));
  // Its integer as a float has the exponent that it would have.
  const asFloat = f.bits(f.toFloat(fraction));
  const shifted = f.subInt(f.shiftRight(asFloat, 23), f.int(127 + 23));
  const significand = f.select(isSubnormal, f.andInt(asFloat, f.int(0x7fffff)), fraction);
  return {
    significand: f.orInt(significand, f.int(0x800000)),
    exponent: f.select(isSubnormal, f.addInt(shifted, f.int(-149)), f.subInt(biased, f.int(127 + 23))),
  };
}

/** With the sign of x, as C has it; x of y = 0. */
export const remainderInt = <V>(f: MoreLanes<V>, x: V, y: V): V =>
  f.select(f.equalInt(y, f.int(-1)), f.int(0), f.subInt(x, f.mulInt(f.divInt(x, y), y))); // −2³¹/−1 is no int

/** With the sign of y, as Python has it; x of y = 0. */
export function moduloInt<V>(f: MoreLanes<V>, x: V, y: V): V {
  const rest = remainderInt(f, x, y);
  const zero = f.int(0);
  const differs = f.and(f.lessInt(f.xorInt(rest, y), zero), f.not(f.equalInt(rest, zero)));
  return f.select(f.and(differs, f.not(f.equalInt(y, zero))), f.addInt(rest, y), rest);
}
