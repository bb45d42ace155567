/**
 * float16 and f32, either way, by arithmetic on bit patterns: every logit of a float16 model passes here, so an element costs about a
 * nanosecond, with no table to warm up.
 */
import { fromFp16, type HalfArray, type NativeFloat16Array } from '@msd/core';

/** The engine's own array, where it has one: tensors of ONNX Runtime then hold numbers, elsewhere their bits. */
const Native = (globalThis as { readonly Float16Array?: new (bits: ArrayBufferLike) => NativeFloat16Array })
  .Float16Array;

/** Patterns of f32: ±0 and float16's subnormals are below NORMAL, and what rounds to its infinity is from INFINITE on. */
const NORMAL = 0x38800000;
const INFINITE = 0x477ff000;
/** What the exponents differ by, in f32's place. */
const REBIAS = 0x38000000;
/** Every NaN is this one. */
const NAN = 0x7e00;

/** Exact. @param data bit patterns, or the engine's own array, in whatever realm it was made */
export function floatsOfHalves(data: HalfArray): Float32Array {
  const bits = data instanceof Uint16Array ? data : new Uint16Array(data.buffer, data.byteOffset, data.length);
  const floats = new Float32Array(bits.length);
  const words = new Int32Array(floats.buffer);
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i]!;
    const magnitude = half & 0x7fff;
    if (magnitude >= 0x400 && magnitude < 0x7c00) words[i] = ((half & 0x8000) << 16) | ((magnitude << 13) + REBIAS);
    else if (magnitude === 0) words[i] = half << 16;
    else floats[i] = fromFp16(half);
  }
  return floats;
}

/** The nearest ones, half to even; from 65520 on infinite. */
export function halvesOf(data: ArrayLike<number>): HalfArray {
  const bits = bitsOf(data);
  return Native ? new Native(bits.buffer) : bits;
}

/** The same as bits. */
export function bitsOf(data: ArrayLike<number>): Uint16Array {
  const floats = data instanceof Float32Array ? data : Float32Array.from(data);
  const words = new Int32Array(floats.buffer, floats.byteOffset, floats.length);
  const bits = new Uint16Array(words.length);
  for (let i = 0; i < bits.length; i++) {
    const word = words[i]!;
    const magnitude = word & 0x7fffffff;
    const sign = (word >>> 16) & 0x8000;
    if (magnitude >= NORMAL && magnitude < INFINITE)
      // Just below one half, and one more if the last bit is odd: a carry runs into the exponent by itself.
      bits[i] = sign | ((magnitude - REBIAS + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
    else if (magnitude > 0x7f800000) bits[i] = NAN;
    else bits[i] = sign | (magnitude < NORMAL ? subnormal(magnitude) : 0x7c00);
  }
  return bits;
}

/** Steps of 2⁻²⁴, half to even. */
function subnormal(magnitude: number): number {
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return 0;
  const significand = (magnitude & 0x7fffff) | 0x800000;
  return (significand + (1 << (shift - 1)) - 1 + ((significand >>> shift) & 1)) >>> shift;
}
