/**
 * Values whose model calls them float16, int8 or uint8, but which are f32 on the device and in plain JavaScript: float16 as what its
 * patterns stand for, int8 and uint8 as their whole numbers. Nothing is rounded between two steps of MSD; they become what the model
 * calls them where they leave: as outputs, for ONNX Runtime, and for the caller.
 */
import type { HalfArray } from '@msd/core';
import { FLOAT16, INT8, UINT8 } from './data-types.ts';
import { floatsOfHalves, halvesOf } from './half.ts';
import type { OrtData } from './ort.ts';

/** Is it one of them? */
export const isCarried = (elemType: number): boolean => elemType === FLOAT16 || elemType === INT8 || elemType === UINT8;

/** What is f32 on the device: data of a tensor that is carried, as a copy. Exact. */
export function carriedOf(elemType: number, data: OrtData): Float32Array {
  return elemType === FLOAT16 ? floatsOfHalves(data as HalfArray) : Float32Array.from(data as Uint8Array);
}

/** Data of a tensor, from what is carried. Of int8 and uint8 these are whole numbers in range: whoever makes them rounds and clips. */
export function leavingAs(elemType: number, floats: ArrayLike<number>): HalfArray | Int8Array | Uint8Array {
  if (elemType === FLOAT16) return halvesOf(floats);
  return elemType === INT8 ? Int8Array.from(floats) : Uint8Array.from(floats);
}
