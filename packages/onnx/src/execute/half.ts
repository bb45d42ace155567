/** float16 at the border: on the device, and in plain JavaScript, its values are f32. */
import { fromFp16, type HalfArray, type NativeFloat16Array } from '@msd/core';

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
export function bitsOf(data: ArrayLike<number>): Uint16Array {
  const bits = new Uint16Array(data.length);
  const float = new Float32Array(1);
  const word = new Uint32Array(float.buffer);
  for (let i = 0; i < bits.length; i++) {
    const value = data[i]!;
    float[0] = Math.abs(value);
    const magnitude = word[0]!;
    let half: number;
    if (magnitude > 0x7f800000) half = 0x7e00;
    else if (magnitude >= 0x47800000) half = 0x7c00;
    else if (magnitude < 0x38800000) {
      // f32's step above ½ is the one of subnormals, 2⁻²⁴: the addition rounds.
      float[0]! += 0.5;
      half = word[0]! - 0x3f000000;
    } else half = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    bits[i] = value < 0 || Object.is(value, -0) ? half | 0x8000 : half;
  }
  return bits;
}
