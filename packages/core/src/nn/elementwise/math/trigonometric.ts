/**
 * sin and cos of any finite f32: x = q·π/2 + r, then a polynomial in r for each of them, and q says which one and its sign.
 *
 * Up to 12,867 (q below 2¹³) q·π/2 is subtracted in five parts; beyond, x/2π is multiplied out in integers, as far as its
 * fraction needs it (Payne and Hanek): no argument is too large to be right. Inf and NaN give NaN.
 */
import { horner } from '../../../activations/contract.ts';
import type { MoreLanes } from '../lanes.ts';
import { isFiniteFloat } from './classes.ts';
import { COS, HALF_PI, SIN, TURN_BYTES } from './coefficients.ts';

export function sine<V>(f: MoreLanes<V>, x: V): V {
  const { quarters, r } = reduce(f, x);
  const y = ofQuarters(f, quarters, r);
  const isSmall = f.less(f.abs(x), f.constant(2 ** -12)); // then sin x = x, −0 too
  return finiteOnly(f, x, f.select(isSmall, x, y));
}

export function cosine<V>(f: MoreLanes<V>, x: V): V {
  const { quarters, r } = reduce(f, x);
  return finiteOnly(f, x, ofQuarters(f, f.addInt(quarters, f.int(1)), r));
}

const finiteOnly = <V>(f: MoreLanes<V>, x: V, y: V): V => f.select(isFiniteFloat(f, x), y, f.constant(Number.NaN));

/** sin(quarters · π/2 + r), |r| ≤ π/4. */
function ofQuarters<V>(f: MoreLanes<V>, quarters: V, r: V): V {
  const square = f.mul(r, r);
  const sin = f.add(f.mul(f.mul(square, r), horner(f, SIN, square)), r);
  const cos = f.add(
    f.add(f.mul(f.mul(square, square), horner(f, COS, square)), f.mul(square, f.constant(-0.5))),
    f.constant(1),
  );
  const isOdd = f.equalInt(f.andInt(quarters, f.int(1)), f.int(1));
  const sign = f.shiftLeft(f.andInt(quarters, f.int(2)), 30);
  return f.float(f.xorInt(f.bits(f.select(isOdd, cos, sin)), sign));
}

interface Reduced<V> {
  /** Of which only the lower two bits count. */
  readonly quarters: V;
  readonly r: V;
}

function reduce<V>(f: MoreLanes<V>, x: V): Reduced<V> {
  const q = f.nearest(f.mul(x, f.constant(2 / Math.PI)));
  // The first four have 11 bits: their products with q are exact, and so are the first differences.
  const r = HALF_PI.reduce((left, part) => f.rounded(f.sub(left, f.mul(q, f.constant(part)))), x);
  const isLarge = f.less(f.constant(LARGE), f.abs(x));
  const [quarters, rest] = f.whenAny(isLarge, [f.toInt(q), r], () => {
    const large = reduceLarge(f, x);
    return [large.quarters, large.r];
  });
  return { quarters, r: rest };
}
const LARGE = 8191 * (Math.PI / 2);

/**
 * x = m·2^e with an integer m of 24 bits. TURN_BYTES are 1/2π = Σ byte[i]·256^−(i + 1); of m·2^e/2π whole turns are dropped, so
 * that 96 bits of it from the byte where 2^e begins, times m, leave a fraction of 64 bits.
 */
function reduceLarge<V>(f: MoreLanes<V>, x: V): Reduced<V> {
  const bits = f.bits(x);
  const shift = f.subInt(f.andInt(f.shiftRight(bits, 23), f.int(255)), f.int(127 + 23 - ZERO_BITS));
  const significand = f.orInt(f.andInt(bits, f.int(0x7fffff)), f.int(0x800000));
  const m = f.mulInt(significand, f.toInt(f.pow2(f.toFloat(f.andInt(shift, f.int(7))))));
  const byte = f.shiftRight(shift, 3);
  // The table starts with the last byte: a word is four of them, the lowest first.
  const word = (i: number) => f.lookUp(REVERSED, f.subInt(f.int(TURN_BYTES.length - 4 - 4 * i), byte));

  const middle = word(1);
  const lowest = f.mulHigh(m, word(2));
  const low = f.addInt(f.mulInt(m, middle), lowest);
  const sign = f.int(0x80000000 | 0);
  const carry = f.maskToInt(f.lessInt(f.xorInt(low, sign), f.xorInt(lowest, sign)));
  const high = f.addInt(f.addInt(f.mulInt(m, word(0)), f.mulHigh(m, middle)), carry);

  // The nearest quarter, and the rest of it as a magnitude and a sign.
  const quarters = f.shiftRight(f.addInt(high, f.int(1 << 29)), 30);
  const signed = f.subInt(high, f.shiftLeft(quarters, 30));
  const negative = f.shiftRightSigned(signed, 31);
  const [highPart, lowPart] = [f.xorInt(signed, negative), f.xorInt(low, negative)];
  const piece = (value: V, exponent: number) => f.mul(f.toFloat(value), f.constant(2 ** exponent));
  const halves = (word: V, exponent: number) => [
    piece(f.andInt(word, f.int(0xffff)), exponent),
    piece(f.shiftRight(word, 16), exponent + 16),
  ];
  const turns = [...halves(lowPart, -64), ...halves(highPart, -32)].reduce((sum, part) => f.add(sum, part));
  const r = f.mul(turns, f.constant(2 * Math.PI));

  // Of −x everything is the other way round.
  const isBelow = f.lessInt(bits, f.int(0));
  const flip = f.xorInt(negative, f.select(isBelow, f.int(-1), f.int(0)));
  return {
    quarters: f.select(isBelow, f.subInt(f.int(0), quarters), quarters),
    r: f.float(f.xorInt(f.bits(r), f.andInt(flip, sign))),
  };
}

/** Zeros before the first bit of 1/2π: LARGE has exponent −10. */
const ZERO_BITS = 16;
const REVERSED: readonly number[] = /* @__PURE__ */ TURN_BYTES.toReversed();
