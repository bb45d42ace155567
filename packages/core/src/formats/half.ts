/** Half-precision activations: both formats, the arrays that hold them, and their conversion to f32 and back. */
import type { Func, V128 } from '../wasm/emitter.ts';
import { bf16 } from './bf16.ts';
import { fp16 } from './fp16.ts';

export type HalfType = 'f16' | 'bf16';
export const halfTypes: readonly HalfType[] = ['f16', 'bf16'];
/** Element types of activations and results. */
export type FloatType = 'f32' | HalfType;
export const floatBytes = (type: FloatType): 2 | 4 => (type === 'f32' ? 4 : 2);

/** The engine's own `Float16Array` where it has one (Chrome 135, Firefox 129, Safari 18.2, Node 24), spelled without its declaration. */
export interface NativeFloat16Array {
  readonly [Symbol.toStringTag]: 'Float16Array';
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly length: number;
}

/** Bit patterns of f16 or bf16, or f16 values where the engine has an array for them. */
export type HalfArray = Uint16Array | NativeFloat16Array;

export interface Half {
  /** Value of a bit pattern; exact. */
  value(bits: number): number;
  /** Bit pattern of an f32 value, half to even; what is too large becomes infinite, every NaN the same one. */
  bits(value: number): number;
  /** Emits values of four sign-extended patterns; exact. Constants go into locals once, outside of the loops. */
  widen(f: Func): (patterns: V128) => V128;
  /** Emits the patterns, one in the lower half of each lane, of four f32. */
  narrow(f: Func): (values: V128) => V128;
}

export const halves: Readonly<Record<HalfType, Half>> = { f16: fp16, bf16 };

/** Checks the tag of the engine's typed arrays, which no other object has. */
export const isFloat16Array = (value: unknown): value is NativeFloat16Array =>
  ArrayBuffer.isView(value) && (value as unknown as NativeFloat16Array)[Symbol.toStringTag] === 'Float16Array';

/** The same memory as bit patterns. */
export const bitsOf = (array: HalfArray): Uint16Array =>
  array instanceof Uint16Array ? array : new Uint16Array(array.buffer, array.byteOffset, array.length);
