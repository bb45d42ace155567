/** float16 at the border: on the device, and in plain JavaScript, its values are f32. */
import { fromFp16, type HalfArray, type NativeFloat16Array, toFp16 } from '@msd/core';

/** The engine's own array, where it has one: tensors of ONNX Runtime then hold numbers, elsewhere their bits. */
const Native = (globalThis as { readonly Float16Array?: { from(data: ArrayLike<number>): NativeFloat16Array } })
  .Float16Array;

let values: Float32Array | undefined;

/** Each pattern's value. */
function table(): Float32Array {
  values ??= Float32Array.from({ length: 65536 }, (_, bits) => fromFp16(bits));
  return values;
}

/** Exact. */
export function floatsOfHalves(data: ArrayLike<number>): Float32Array {
  if (!(data instanceof Uint16Array)) return Float32Array.from(data);
  const of = table();
  const floats = new Float32Array(data.length);
  for (let i = 0; i < floats.length; i++) floats[i] = of[data[i]!]!;
  return floats;
}

/** The nearest ones, half to even; from 65520 on infinite. */
export function halvesOf(data: ArrayLike<number>): HalfArray {
  return Native ? Native.from(data) : bitsOf(data);
}

/** The same as bits. */
export const bitsOf = (data: ArrayLike<number>): Uint16Array => Uint16Array.from(data, toFp16);
