/** fp16, IEEE 754 binary16: 5 bits of exponent, 10 of significand, subnormals down to 2⁻²⁴, Inf above 65504. */
import { floorLog2, roundHalfEven } from '../numbers.ts';
import { type Func, f32, f32x4, i32, i32x4, type V128, v128 } from '../wasm/emitter.ts';
import type { Half } from './half.ts';

const NAN = 0x7e00;

/** Value of a bit pattern. */
export function fromFp16(bits: number): number {
  const magnitude = bits & 0x7fff;
  if (magnitude > 0x7c00) return Number.NaN;
  const exponent = magnitude >> 10;
  const normal = exponent === 31 ? Infinity : (1 + (magnitude & 0x3ff) / 1024) * 2 ** (exponent - 15);
  const value = exponent === 0 ? magnitude * 2 ** -24 : normal;
  return bits & 0x8000 ? -value : value;
}

/** Bit pattern of a value, half to even; from 65520 on infinite. */
export function toFp16(value: number): number {
  if (Number.isNaN(value)) return NAN;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  // Above 2^e the steps are 2^(e − 10); subnormals have those of 2⁻¹⁴. A carry runs into the exponent by itself.
  const exponent = magnitude === 0 ? -14 : Math.max(-14, floorLog2(magnitude));
  const steps = roundHalfEven(magnitude / 2 ** (exponent - 10));
  return sign | (steps + ((exponent + 14) << 10));
}

/** Emits values of four sign-extended patterns that are finite: moved to f32's place the bits are 2⁻¹¹² of them, subnormals too. */
export function widenFinite(f: Func): (patterns: V128) => V128 {
  const mask = f.let(i32x4.splat(i32.const(0x8fffe000 | 0)));
  const rebias = f.let(f32x4.splat(f32.const(2 ** 112)));
  return (patterns) => f32x4.mul(v128.and(i32x4.shl(patterns, 13), mask), rebias);
}

export const fp16: Half = {
  value: fromFp16,
  bits: toFp16,
  widen: (f) => {
    const finite = widenFinite(f);
    const largest = f.let(f32x4.const(65504));
    const infinity = f.let(f32x4.const(Infinity));
    return (patterns) => {
      const value = f.let(finite(patterns));
      // Inf and NaN come out as 2¹⁶ and more, with their sign and significand.
      return v128.or(value, v128.and(f32x4.gt(f32x4.abs(value), largest), infinity));
    };
  },
  narrow: (f) => {
    const word = (pattern: number) => f.let(i32x4.splat(i32.const(pattern)));
    const [absMask, signMask, exponentMask, nan] = [0x7fffffff, 0x8000, 0x7f800000, NAN].map(word);
    const overflow = f.let(f32x4.const(2 ** 16));
    const normal = f.let(f32x4.const(2 ** -14));
    const thirteen = word(13 << 23);
    return (values) => {
      const value = f.let(values);
      const magnitude = f.let(i32x4.minU(v128.and(value, absMask), overflow)); // 2¹⁶ becomes the pattern of Inf
      const binade = f.let(i32x4.maxU(v128.and(magnitude, exponentMask), normal));
      // The last bit of 2^(e + 13) is fp16's step above 2^e: the addition rounds, and its bits count the steps.
      const anchor = f.let(i32x4.add(binade, thirteen));
      const steps = i32x4.sub(f32x4.add(anchor, magnitude), anchor);
      const pattern = i32x4.add(steps, i32x4.shrU(i32x4.sub(binade, normal), 13));
      const signed = v128.or(pattern, v128.and(i32x4.shrU(value, 16), signMask));
      return v128.bitselect(nan, signed, f32x4.ne(value, value));
    };
  },
};
