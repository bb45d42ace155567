/**
 * Values whose model calls them float16, or integers of 8 or 16 bits, but which are f32 on the device and in plain JavaScript:
 * float16 as what its patterns stand for, integers as their whole numbers. Nothing is rounded between two steps of MSD; they
 * become what the model calls them where they leave: as outputs, for ONNX Runtime, and for the caller.
 */
import { floatsOfFp16, type HalfArray } from '@msd/core';
import { FLOAT16, INT8, INT16, UINT8, UINT16 } from './data-types.ts';
import { halvesOf } from './half.ts';
import type { OrtData } from './ort.ts';

type Integers = Int8Array | Uint8Array | Int16Array | Uint16Array;

/** What tensors of the integers hold. */
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

/** What is f32 on the device: data of a tensor that is carried, as a copy. Exact. */
export function carriedOf(elemType: number, data: OrtData): Float32Array {
  return elemType === FLOAT16 ? floatsOfFp16(data as HalfArray) : Float32Array.from(data as Uint8Array);
}

/** Data of a tensor, from what is carried. Integers are whole numbers in range: whoever makes them rounds and clips. */
export function leavingAs(elemType: number, floats: ArrayLike<number>): HalfArray | Integers {
  return INTEGERS.get(elemType)?.from(floats) ?? halvesOf(floats);
}
