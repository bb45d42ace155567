/**
 * x^y = 2^(y · log₂|x|) with the logarithm in two floats, then its sign. Special cases are those of C and NumPy:
 *
 *   x^±0 = 1 and 1^y = 1, of NaN too           (−x)^y: NaN unless y is an integer; negative if it is odd
 *   |x| < 1: x^Inf = 0, x^−Inf = Inf           |x| > 1 the other way round; (−1)^±Inf = 1
 */
import { expMinus1, horner } from '../../../activations/contract.ts';
import type { MoreLanes } from '../lanes.ts';
import { LOG2 } from './coefficients.ts';
import { splitPowerOf2 } from './exponential.ts';

export function power<V>(f: MoreLanes<V>, x: V, y: V): V {
  const [zero, one, infinity] = [0, 1, Infinity].map(f.constant);
  const a = f.abs(x);
  const isNegative = f.less(y, zero);
  const general = powerOf2(f, timesLog2(f, a, y));
  const atZero = f.select(isNegative, infinity, zero);
  const atInfinity = f.select(isNegative, zero, infinity);
  const magnitude = f.select(f.equal(a, zero), atZero, f.select(f.equal(a, infinity), atInfinity, general));

  const isInteger = f.equal(f.floor(y), y);
  const half = f.mul(y, f.constant(0.5));
  const isOdd = f.and(isInteger, f.not(f.equal(f.floor(half), half)));
  const signed = f.select(isOdd, f.copySign(magnitude, x), magnitude);
  const isUndefined = f.and(f.and(f.less(x, zero), f.less(a, infinity)), f.not(isInteger));
  const isNumber = f.and(f.equal(x, x), f.equal(y, y));
  const result = f.select(f.and(isNumber, f.not(isUndefined)), signed, f.constant(Number.NaN));
  return f.select(f.or(f.equal(y, zero), f.equal(x, one)), one, result);
}

/** An unevaluated sum: `high` has 12 bits, or `low` is far below it. */
interface Sum<V> {
  readonly high: V;
  readonly low: V;
}

/** y · log₂ a for a > 0, both factors cut into a half of 12 bits, whose product is exact, and a rest. */
function timesLog2<V>(f: MoreLanes<V>, a: V, y: V): Sum<V> {
  const { high, low } = log2(f, a);
  const large = f.constant(2 ** 34); // times the smallest logarithm, 2^−24, is past all exponents
  const bounded = f.pmax(f.pmin(y, large), f.negate(large));
  const top = f.topBits(bounded);
  return {
    high: f.mul(high, top),
    low: f.add(f.mul(high, f.sub(bounded, top)), f.mul(low, bounded)),
  };
}

/**
 * a = 2ⁿ·m, m in [√¾, √3), near b = 1 or 1½: log₂(m/b) = 2/ln 2 · artanh s with s = (m − b)/(m + b), which is
 * C·s + s³·Q(s²), s in two floats. Within 2^−31 of |log₂ a|.
 */
function log2<V>(f: MoreLanes<V>, a: V): Sum<V> {
  const zero = f.constant(0);
  const isTiny = f.less(a, f.constant(2 ** -126));
  const normal = f.select(isTiny, f.mul(a, f.constant(2 ** 23)), a);
  const { n, m } = splitPowerOf2(f, normal, LEAST_BITS);
  const isNear1 = f.less(m, f.constant(Math.sqrt(1.5)));
  const near = (one: number, oneAndHalf: number) => f.select(isNear1, f.constant(one), f.constant(oneAndHalf));
  const whole = f.add(f.add(n, f.select(isTiny, f.constant(-23), zero)), near(0, LOG2_HIGH));

  const r = f.sub(m, near(1, 1.5));
  const twice = near(2, 3);
  const sum = f.rounded(f.add(r, twice)); // m + b, and what it lost
  const lost = f.sub(r, f.sub(sum, twice));
  const sHigh = f.topBits(f.div(r, sum));
  const top = f.topBits(sum);
  const rest = f.sub(f.sub(r, f.mul(sHigh, top)), f.mul(sHigh, f.add(f.sub(sum, top), lost)));
  const sLow = f.div(rest, sum);
  const s = f.add(sHigh, sLow);
  const square = f.mul(s, s);
  const cubic = f.mul(f.mul(square, s), horner(f, LOG2, square));
  const small = f.add(
    f.add(f.mul(sLow, f.constant(C_HIGH + C_LOW)), near(0, LOG2_LOW)),
    f.add(f.mul(sHigh, f.constant(C_LOW)), cubic),
  );
  // Whole + C·s, exact in two floats, then the small terms into the second one.
  const product = f.mul(sHigh, f.constant(C_HIGH));
  const total = f.rounded(f.add(whole, product));
  const low = f.add(f.sub(product, f.sub(total, whole)), small);
  const high = f.topBits(f.add(total, low));
  return { high, low: f.add(f.sub(total, high), low) };
}
/** √¾ */
const LEAST_BITS = 0x3f5db3d7;
/** 2/ln 2, the first part of 12 bits. */
const C_HIGH = 2955 / 1024;
const C_LOW = 2 / Math.LN2 - C_HIGH;
/** log₂ 1½, likewise. */
const LOG2_HIGH = 1198 / 2048;
const LOG2_LOW = Math.log2(1.5) - LOG2_HIGH;

/** 2^(high + low), rounded into the subnormal range once. */
function powerOf2<V>(f: MoreLanes<V>, { high, low }: Sum<V>): V {
  const within = (x: V, least: number, most: number) => f.pmax(f.pmin(x, f.constant(most)), f.constant(least));
  const [top, rest] = [within(high, -160, 140), within(low, -1, 1)];
  const n = f.nearest(f.add(top, rest));
  const r = f.mul(f.add(f.sub(top, n), rest), f.constant(Math.LN2));
  const significand = f.add(expMinus1(f, r), f.constant(1));
  const half = f.nearest(f.mul(n, f.constant(0.5)));
  return f.mul(f.mul(significand, f.pow2(half)), f.pow2(f.sub(n, half)));
}

/** x^exponent for an exponent that is known beforehand: the forms that need no logarithm, one rounding or two. */
export function powerOf<V>(f: MoreLanes<V>, x: V, exponent: number): V {
  const one = f.constant(1);
  switch (exponent) {
    case 0:
      return one;
    case 1:
      return x;
    case 2:
      return f.mul(x, x);
    case 3:
      return f.mul(f.mul(x, x), x);
    case -1:
      return f.div(one, x);
    case 0.5:
      return root(f, x);
    case -0.5:
      return f.div(one, root(f, x));
    default:
      return power(f, x, f.constant(exponent));
  }
}

/** x^½ is √x, but +0 of −0, and Inf of −Inf. */
function root<V>(f: MoreLanes<V>, x: V): V {
  const infinity = f.constant(Infinity);
  return f.select(f.equal(f.abs(x), infinity), infinity, f.sqrt(f.add(x, f.constant(0))));
}
