/** bf16: the upper half of an f32. */
import { f32x4, i32, i32x4, v128 } from '../wasm/emitter.ts';
import type { Half } from './half.ts';

const NAN = 0x7fc0;

/** Value of a bit pattern. */
export const fromBf16 = (bits: number): number => new Float32Array(Int32Array.of(bits << 16).buffer)[0];

/** Bit pattern of an f32 value, half to even; a carry out of the largest one gives Inf. */
export function toBf16(value: number): number {
  if (Number.isNaN(value)) return NAN;
  const [word] = new Uint32Array(Float32Array.of(value).buffer);
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

export const bf16: Half = {
  value: fromBf16,
  bits: toBf16,
  widen: () => (patterns) => i32x4.shl(patterns, 16),
  narrow: (f) => {
    const word = (pattern: number) => f.let(i32x4.splat(i32.const(pattern)));
    const [one, belowHalf, nan] = [1, 0x7fff, NAN].map(word);
    return (values) => {
      const value = f.let(values);
      const isOdd = v128.and(i32x4.shrU(value, 16), one);
      const rounded = i32x4.shrU(i32x4.add(value, i32x4.add(isOdd, belowHalf)), 16);
      return v128.bitselect(nan, rounded, f32x4.ne(value, value));
    };
  },
};
