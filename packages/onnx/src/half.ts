/** Elements of float16 as tensors of ONNX Runtime have them. */
import { fp16Bits, type HalfArray, type NativeFloat16Array } from '@msd/core';

/** The engine's own array, where it has one: tensors then hold numbers, elsewhere their bits. */
const Native = (globalThis as { readonly Float16Array?: new (bits: ArrayBufferLike) => NativeFloat16Array })
  .Float16Array;

/** The nearest ones, half to even; from 65520 on infinite. */
export function halvesOf(data: ArrayLike<number>): HalfArray {
  const bits = fp16Bits(data);
  return Native ? new Native(bits.buffer) : bits;
}
