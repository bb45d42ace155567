/**
 * The operations of elementwise functions: the activations' {@link Lanes} and more. A value is an f32, an i32 or a mask
 * (true or false); a function knows which. References run on numbers, kernels emit them for four lanes of WebAssembly
 * or for one thread of WGSL.
 */
import type { Lanes } from '../../activations/contract.ts';

export interface MoreLanes<V> extends Lanes<V> {
  sqrt(a: V): V;
  floor(a: V): V;
  ceil(a: V): V;
  /** Flips the sign bit, also of NaN. */
  negate(a: V): V;
  /** The same number, which compilers must not look through: the rounding error of a sum is computed from it. */
  rounded(a: V): V;
  /** NaN of either operand; −0 is below 0. */
  min(a: V, b: V): V;
  max(a: V, b: V): V;

  /** Masks, of floats. */
  less(a: V, b: V): V;
  lessOrEqual(a: V, b: V): V;
  equal(a: V, b: V): V;
  /** Masks, of ints. */
  lessInt(a: V, b: V): V;
  equalInt(a: V, b: V): V;
  and(a: V, b: V): V;
  or(a: V, b: V): V;
  xor(a: V, b: V): V;
  not(a: V): V;
  /** Of two floats, ints or masks. */
  select(mask: V, then: V, otherwise: V): V;

  int(value: number): V;
  addInt(a: V, b: V): V;
  subInt(a: V, b: V): V;
  mulInt(a: V, b: V): V;
  /** Truncates; x/0 is the largest or smallest int, 0/0 is 0, −2³¹/−1 is 2³¹ − 1. */
  divInt(a: V, b: V): V;
  /** The upper 32 bits of the product of two unsigned ints. */
  mulHigh(a: V, b: V): V;
  minInt(a: V, b: V): V;
  maxInt(a: V, b: V): V;
  andInt(a: V, b: V): V;
  orInt(a: V, b: V): V;
  xorInt(a: V, b: V): V;
  shiftLeft(a: V, bits: number): V;
  shiftRight(a: V, bits: number): V;
  /** Copies of the sign come in. */
  shiftRightSigned(a: V, bits: number): V;

  /** The bits of a float as an int, and back. */
  bits(a: V): V;
  float(bits: V): V;
  /** Truncates and saturates; NaN gives 0. */
  toInt(a: V): V;
  /** Half to even. */
  toFloat(a: V): V;
  /** 0 or 1. */
  maskToInt(mask: V): V;

  /** Four bytes of a table of 32, from byte `at` (0..28) on, the first one lowest. */
  lookUp(table: readonly number[], at: V): V;

  /** `values`, replaced by those of `then` where the mask holds. For slow code that is rarely needed. */
  whenAny(mask: V, values: readonly V[], then: () => readonly V[]): readonly V[];
  /** Repeats `step` on `values` as long as `goesOn` holds for them; each lane stops by itself. */
  loop(
    values: readonly V[],
    goesOn: (values: readonly V[]) => V,
    step: (values: readonly V[]) => readonly V[],
  ): readonly V[];
}
