/** Elements of float tensors as float32, whatever the model's own type is. */
import type { Tensor } from 'onnxruntime-web';

/** A view of float32, a copy of float16. */
export function floatsOfTensor({ type, data }: Tensor): Float32Array {
  if (type === 'float32') return data as Float32Array;
  // Engines that have a Float16Array give one.
  if (!(data instanceof Uint16Array)) return Float32Array.from(data as unknown as ArrayLike<number>);
  return Float32Array.from(data, floatOfHalf);
}

/** The number that 16 bits are. */
function floatOfHalf(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? Number.NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
