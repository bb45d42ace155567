/** Array classes of JavaScript tensors, by the name of their type. */

type ArrayType = new (buffer: ArrayBufferLike, offset?: number, length?: number) => ArrayBufferView;

const { Float16Array: Halves = Uint16Array } = globalThis as { readonly Float16Array?: ArrayType };

/** Arrays of a type's elements, the usual one first. */
export const ARRAYS: Readonly<Record<string, readonly [ArrayType, ...ArrayType[]]>> = {
  float32: [Float32Array],
  float64: [Float64Array],
  float16: [Uint16Array, Halves],
  int8: [Int8Array],
  int16: [Int16Array],
  int32: [Int32Array],
  int64: [BigInt64Array],
  uint8: [Uint8Array],
  uint16: [Uint16Array],
  uint32: [Uint32Array],
  uint64: [BigUint64Array],
  bool: [Uint8Array],
  int4: [Uint8Array, Int8Array],
  uint4: [Uint8Array],
};
