/** Parts of kernels that turn floats into integers: scales, and the digits of integers. WebAssembly SIMD128. */
import { QUAD } from '../formats/format.ts';
import {
  type F32,
  type Func,
  f32,
  type I32,
  i8x16,
  i16x8,
  i32,
  i32x4,
  type Local,
  type V128,
  v128,
} from '../wasm/emitter.ts';
import { range } from '../wasm/loops.ts';
import { TINY } from './contract.ts';

/** 1.5 · 2²³, whose last bit counts ones: fl(v + ROUNDING) is an integer for |v| < 2²². */
export const ROUNDING = 0xc00000;
export const INFINITY_BITS = 0x7f800000;
export const TINY_BITS: number = new Int32Array(Float32Array.of(TINY).buffer)[0];

/** S of a block whose largest |x| has these bits: `scale`, or 0 if |x| is below 2⁻¹⁰⁰, or NaN. */
export function scaleOrSpecial(maxBits: Local<'i32'>, scale: F32): F32 {
  const orZero = f32.select(i32.ltU(maxBits, TINY_BITS), f32.const(0), scale);
  return f32.select(i32.geU(maxBits, INFINITY_BITS), f32.const(Number.NaN), orZero);
}

/** 1 / S, by which integers are made. */
export interface Inverse {
  /** fl(1/step); 0 if S is NaN or 0. */
  readonly invS: Local<'f32'>;
  /** All bits, or none: the results of NaN and Inf are not integers. */
  readonly keep: Local<'i32'>;
}

/** @param step S, or the step of the integers */
export function inverseOf(f: Func, S: Local<'f32'>, step: F32): Inverse {
  const isNormal = f.let(i32.ltU(i32.sub(i32.reinterpretF32(S), 1), INFINITY_BITS - 1)); // neither 0 nor NaN
  const invS = f.let(f32.select(isNormal, f32.div(f32.const(1), step), f32.const(0)));
  return { invS, keep: f.let(i32.sub(0, isNormal)) };
}

/** Digits of eight q, higher ones first, as i16 lanes: d1 = floor((q + 127) / 254), d2 = q - 254 d1. Call it outside of loops. */
export function digitSplitter(f: Func): (q: Local<'v128'>) => Local<'v128'>[] {
  const constant = (lane: number) => f.let(v128.const16(lane)); // inside a loop, V8 would rebuild it each time
  const [two, inverse, base, largest] = [2, 129, 254, 126].map(constant);
  return (q) => {
    // (q - 2) / 254.016, rounded: d1 or one less, and then d2 tells.
    // The constant comes first: V8's baseline compiler without AVX loses `q` when it may put the result where the second operand is.
    const high = f.let(i16x8.q15mulrSatS(inverse, i16x8.sub(q, two)));
    const low = f.let(i16x8.sub(q, i16x8.mul(high, base)));
    const more = f.let(i16x8.gtS(low, largest)); // a mask is -1
    return [f.let(i16x8.sub(high, more)), f.let(i16x8.sub(low, v128.and(more, base)))];
  };
}

/** Combines all four lanes. */
export function overLanes(f: Func, combine: (a: V128, b: V128) => V128, vector: V128): I32 {
  const rotated = (lanes: Local<'v128'>, by: number) =>
    v128.shuffle(
      lanes,
      lanes,
      range(16).map((byte) => (byte + by) % 16),
    );
  const all = f.let(vector);
  const pairs = f.let(combine(all, rotated(all, 8)));
  return i32x4.extractLane(combine(pairs, rotated(pairs, 4)), 0);
}

/**
 * Digits of 16 integers as bytes, those of two times eight, each four in the order of QUAD. Call it outside of loops: V8 makes one
 * instruction of a swizzle whose indices are a constant in a local, but builds those of a shuffle each time.
 */
export function digitBytes(f: Func): (a: readonly V128[], b: readonly V128[]) => Local<'v128'>[] {
  const order = f.let(v128.const(...range(16).map((byte) => (byte & -4) + QUAD[byte & 3])));
  return (a, b) => a.map((digits, i) => f.let(v128.swizzle(i8x16.narrowI16x8S(digits, b[i]), order)));
}

/** Words of both in turn: a0 b0 a1 b1, a2 b2 a3 b3. An instruction each. */
export const wordsInTurn = (a: V128, b: V128): V128[] =>
  [0, 8].map((begin) =>
    v128.shuffle(
      a,
      b,
      [0, 16, 4, 20].flatMap((word) => range(4).map((byte) => begin + word + byte)),
    ),
  );
