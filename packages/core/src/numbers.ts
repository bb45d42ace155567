/** Exact arithmetic that `Math` does not offer. */

/** Half to even in float64, for |x| < 2⁵¹: adding 1.5·2⁵² leaves no room for a fraction. */
export const roundHalfEven = (x: number): number => x + 6755399441055744 - 6755399441055744;

/** floor(log2 x) for finite x > 0; Math.log2 alone may be off by an ulp on either side of a power of two. */
export function floorLog2(x: number): number {
  const guess = Math.floor(Math.log2(x));
  if (2 ** guess > x) return guess - 1;
  return 2 ** (guess + 1) <= x ? guess + 1 : guess;
}

/** Bits of a number as f32: for integer arguments of kernels. */
export const f32Bits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0];
