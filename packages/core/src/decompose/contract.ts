/**
 * Decompose: x f32 [M,K] -> q int16 [M,K], one scale per (row, K-block).
 *
 *   S = max |x| / limit,  q = round(x / S)  in [-limit, limit],  limit = 127 · 254^(components − 1)      (docs/msd.md, eq. 1-3)
 *
 * q is a balanced base-254 number: its digits d1 = floor((q + 127) / 254), d2 = q − 254·d1 are the int8 components of the
 * paper. The i16 carrier multiplies q as it is; carriers with 8-bit operands take the digits.
 */

/** How many int8 components an activation is split into: 1 = what engines call dynamic int8, 2 = ~16 bits. */
export type Components = 1 | 2;

/**
 * Consecutive k of a row that share one activation scale: 256 (default, free everywhere), 32 (an outlier spoils 32 k only),
 * or the whole row (the paper's).
 */
export type ActivationBlock = 'row' | 256 | 32;

/** How activations become integers: the user's choice, it changes bits. */
export interface Plan {
  readonly components: Components;
  readonly activationBlock: ActivationBlock;
}

/** Largest |q|. */
export const limitOf = (components: Components): number => 127 * 254 ** (components - 1);

/** Blocks whose maximum is below this are zero: their error is at most the maximum itself. */
export const TINY: number = 2 ** -100;

/** Most significant first: q = 254·d1 + d2, both in [-127, 127]. */
export function digits(q: number): [number, number] {
  const high = Math.floor((q + 127) / 254);
  return [high, q - 254 * high];
}

/**
 * Proved bound of |x − S·q| for one element of a block, as the f32 contract rounds.     (docs/msd.md, eq. 4)
 *
 * @param blockMax largest |x| of the (row, K-block); finite
 */
export function elementBound(blockMax: number, components: Components): number {
  return blockMax < TINY ? blockMax : (blockMax / limitOf(components) / 2) * (1 + 2 ** -6);
}

/** Half to even in float64, for |x| < 2⁵¹: adding 1.5·2⁵² leaves no room for a fraction. */
export const roundHalfEven = (x: number): number => x + 6755399441055744 - 6755399441055744;
