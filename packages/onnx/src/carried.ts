/**
 * Values that are float16, or integers of 8 or 16 bits, in the model, but f32 on the device and in plain JavaScript:
 * float16 as its exact values, integers as whole numbers. Nothing is rounded between two steps of MSD. They become the
 * model's type where they leave MSD: as outputs, for ONNX Runtime, and for the caller.
 */
import { floatsOfFp16, type HalfArray } from '@msd/core';
import { FLOAT16, INT8, INT16, UINT8, UINT16 } from './data-types.ts';
import { halvesOf } from './half.ts';
import type { OrtData } from './ort.ts';

type Integers = Int8Array | Uint8Array | Int16Array | Uint16Array;

/** Arrays in tensors of the integer types. */
const INTEGERS: ReadonlyMap<number, { from(numbers: ArrayLike<number>): Integers }> = /* @__PURE__ */ new Map<
  number,
  { from(numbers: ArrayLike<number>): Integers }
>([
  [INT8, Int8Array],
  [UINT8, Uint8Array],
  [INT16, Int16Array],
  [UINT16, Uint16Array],
]);

/** Is it one of them? */
export const isCarried = (elemType: number): boolean => elemType === FLOAT16 || INTEGERS.has(elemType);

/** The f32 values of such a tensor's data, as a copy. Exact. */
export function carriedOf(elemType: number, data: OrtData): Float32Array {
  return elemType === FLOAT16 ? floatsOfFp16(data as HalfArray) : Float32Array.from(data as Uint8Array);
}

/**
 * Data of a tensor from its f32 values. Integers have to be whole numbers in range: the steps that make them round and
 * clip.
 */
export function leavingAs(elemType: number, floats: ArrayLike<number>): HalfArray | Integers {
  return INTEGERS.get(elemType)?.from(floats) ?? halvesOf(floats);
}
