/**
 * fp16 and f32 in arrays, either way. fp16.ts defines the values. Here, nearly all elements are converted on their bit
 * patterns, in a nanosecond each and with no table to warm up: every logit of a float16 model passes through.
 */
import { fromFp16, toFp16 } from './fp16.ts';
import { bitsOf, type HalfArray } from './half.ts';

/** Patterns of f32: below TINY everything becomes 0, from NORMAL on fp16's normal numbers, from INFINITE on infinity. */
const TINY = 0x33000000;
const NORMAL = 0x38800000;
const INFINITE = 0x477ff000;
/** The difference of the exponents, shifted to f32's place. */
const REBIAS = 0x38000000;

/** Exact. @param data bit patterns, or the engine's own array, of any realm */
export function floatsOfFp16(data: HalfArray): Float32Array<ArrayBuffer> {
  const bits = bitsOf(data);
  const floats = new Float32Array(bits.length);
  const words = new Int32Array(floats.buffer);
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i];
    const magnitude = half & 0x7fff;
    if (magnitude >= 0x400 && magnitude < 0x7c00) words[i] = ((half & 0x8000) << 16) | ((magnitude << 13) + REBIAS);
    else if (magnitude === 0) words[i] = half << 16;
    else floats[i] = fromFp16(half);
  }
  return floats;
}

/** Bit patterns of the nearest ones, half to even; from 65520 on infinite. Values that are not f32 become that first. */
export function fp16Bits(data: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const floats = data instanceof Float32Array ? data : Float32Array.from(data);
  const words = new Int32Array(floats.buffer, floats.byteOffset, floats.length);
  const bits = new Uint16Array(words.length);
  for (let i = 0; i < bits.length; i++) {
    const word = words[i];
    const magnitude = word & 0x7fffffff;
    const sign = (word >>> 16) & 0x8000;
    if (magnitude >= NORMAL && magnitude < INFINITE)
      // Just below one half, and one more if the last bit is odd: a carry runs into the exponent by itself.
      bits[i] = sign | ((magnitude - REBIAS + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
    else if (magnitude < TINY) bits[i] = sign;
    else bits[i] = toFp16(floats[i]);
  }
  return bits;
}
