/** A value during a run: on MSD's device, in plain JavaScript, in a cache, or a tensor of ONNX Runtime or the caller. */

import type { ArenaHandle } from '@msd/core';
import type { DType } from '@msd/core/nn';
import type { Device } from '@msd/core/program';
import { carriedOf, isCarried, leavingAs } from '../carried.ts';
import { BOOL, dataTypeCode, FLOAT32, INT32, INT64, jsDataType } from '../data-types.ts';
import { countOf } from '../dims.ts';
import { type Concrete, int64Elements, int64Given } from '../ir/info.ts';
import type { Elements } from '../ops/lowering.ts';
import { createOrtTensor, type OrtData, type OrtModule, type OrtTensor } from '../ort.ts';
import { checkTarget, fillTarget } from './bind.ts';
import { type Kept, keptOf, lazyTensor, readKept } from './kv/lazy.ts';

export interface Value {
  readonly elemType: number;
  readonly dims: readonly number[];
  /** Where it lies on the device, until the run ends. */
  readonly handle: ArenaHandle | undefined;
  readonly dtype: DType | undefined;
  /** Its elements in plain JavaScript, once somebody asked. */
  data: readonly number[] | undefined;
  tensor: OrtTensor | undefined;
  /** Its elements in an array of the caller's, who alone needs them. */
  readonly floats?: Float32Array | undefined;
  /** Where it lies in a cache of keys and values. */
  readonly kept?: Kept | undefined;
}

export function valueOfTensor(tensor: OrtTensor): Value {
  const elemType = dataTypeCode(tensor.type) ?? 0;
  const kept = keptOf(tensor);
  return { elemType, dims: tensor.dims, handle: undefined, dtype: undefined, data: undefined, tensor, kept };
}

export function valueOfInfo({ elemType, dims, data }: Concrete): Value {
  return { elemType, dims, handle: undefined, dtype: undefined, data, tensor: undefined };
}

/** An array that becomes the caller's, unless its type is another one. */
export function valueOfFloats(elemType: number, floats: Float32Array, dims: readonly number[]): Value {
  return { elemType, dims, handle: undefined, dtype: undefined, data: undefined, tensor: undefined, floats };
}

/** Elements as numbers. */
export function elementsOf(value: Value, device: Device<ArenaHandle>): readonly number[] {
  value.data ??= numbersOf(value.elemType, dataIn(value) ?? readBack(value, device));
  return value.data;
}

/** Its elements where JavaScript has them. What lies in a cache stays there: the tensor that stands for it is not touched. */
function dataIn({ kept, tensor }: Value): OrtData | undefined {
  return kept ? readKept(kept) : tensor?.data;
}

/** The value with its elements in whatever array they are; int64 as numbers. */
export function arrayOf(value: Value, device: Device<ArenaHandle>): Elements {
  const data = dataIn(value);
  if (data && isCarried(value.elemType)) return { dims: value.dims, data: carriedOf(value.elemType, data) };
  if (value.elemType === INT64) return { dims: value.dims, data: elementsOf(value, device) };
  return { dims: value.dims, data: (data as ArrayLike<number> | undefined) ?? elementsOf(value, device) };
}

/** Its elements as floats. */
export function floatsOf(value: Value, device: Device<ArenaHandle>): Float32Array {
  if (isCarried(value.elemType)) return Float32Array.from(arrayOf(value, device).data);
  const data = dataIn(value) ?? value.data ?? readBack(value, device);
  return data instanceof Float32Array ? data : Float32Array.from(data as ArrayLike<number>);
}

function numbersOf(elemType: number, data: OrtData): number[] {
  if (data instanceof BigInt64Array) return int64Given(data);
  if (isCarried(elemType)) return Array.from(carriedOf(elemType, data));
  if (elemType === BOOL) return Array.from(data as Uint8Array, (element) => (element ? 1 : 0));
  return Array.from(data as Float32Array);
}

/** A copy of what lies on the device, in the element type that the model gives it. */
function readBack({ handle, dtype, elemType, dims }: Value, device: Device<ArenaHandle>): OrtData {
  if (isCarried(elemType)) return leavingAs(elemType, handle!.arena.float32(handle!));
  const count = countOf(dims);
  // A copy of a view: engines don't fill it with zeros first, which takes as long as copying a vocabulary's logits.
  if (dtype === 'f32') return new Float32Array(handle!.arena.float32(handle!).subarray(0, count));
  const raw = dtype === 'bool' ? new Uint8Array(count) : new Int32Array(count);
  if (count > 0) device.read(handle!, raw);
  return elemType === INT64 ? BigInt64Array.from(raw, (element) => BigInt(element)) : raw;
}

/**
 * The value as a tensor that is the caller's: nothing of MSD's memory in it, but for what lies in a cache.
 *
 * @param holder of lazy tensors. Absent: there are none
 */
export function tensorOf(
  value: Value,
  ort: OrtModule,
  device: Device<ArenaHandle> | undefined,
  holder: object | undefined,
): OrtTensor {
  const { kept } = value;
  if (kept && holder) value.tensor ??= lazyTensor(ort, kept, holder);
  value.tensor ??= createOrtTensor(ort, jsDataType(value.elemType) ?? 'float32', dataOf(value, device!), value.dims);
  return value.tensor;
}

function dataOf(value: Value, device: Device<ArenaHandle>): OrtData {
  const { data, elemType, kept, floats } = value;
  if (kept) return readKept(kept);
  if (floats) return isCarried(elemType) ? leavingAs(elemType, floats) : floats;
  if (!data) return readBack(value, device);
  if (elemType === INT64) return int64Elements(data);
  if (isCarried(elemType)) return leavingAs(elemType, data);
  return (elemType === INT32 ? Int32Array : elemType === FLOAT32 ? Float32Array : Uint8Array).from(data);
}

/** Do its bytes on the device look as in a tensor? */
const isPlain = ({ elemType, dtype }: Value): boolean => dtype === 'f32' && !isCarried(elemType);

/** The value as a tensor for ONNX Runtime: floats on the device as a view, good until the device is touched again. */
export function viewOf(value: Value, ort: OrtModule, device: Device<ArenaHandle> | undefined): OrtTensor {
  const { handle, dims, kept } = value;
  if (kept) return createOrtTensor(ort, jsDataType(value.elemType)!, readKept(kept), dims);
  if (value.tensor || !handle || !isPlain(value)) return tensorOf(value, ort, device, undefined);
  return createOrtTensor(ort, 'float32', handle.arena.float32(handle), dims);
}

/** Copies what lies on the device into a tensor of the caller. */
export function fillFromDevice(name: string, target: OrtTensor, value: Value, device: Device<ArenaHandle>): OrtTensor {
  const { handle, elemType, dims } = value;
  const type = jsDataType(elemType) ?? 'float32';
  if (!isPlain(value)) return fillTarget(name, target, { type, dims, data: readBack(value, device), location: 'cpu' });
  checkTarget(`output '${name}'`, target, type, dims);
  const data = target.data as Float32Array;
  if (data.byteLength > 0) device.read(handle!, data);
  return target;
}

/** The bytes to put on the device: floats as they are, what is carried as floats, whole numbers as int32, bools as bytes. */
export function uploadOf(value: Value, where: string): ArrayBufferView {
  const { elemType, tensor, data } = value;
  if (elemType === FLOAT32) return (dataIn(value) as Float32Array | undefined) ?? Float32Array.from(data!);
  if (isCarried(elemType)) return data ? Float32Array.from(data) : carriedOf(elemType, dataIn(value)!);
  if (elemType === BOOL) return (tensor?.data as Uint8Array | undefined) ?? Uint8Array.from(data!);
  if (elemType === INT32 && tensor) return tensor.data as Int32Array;
  const numbers = data ?? numbersOf(elemType, tensor!.data);
  for (const number of numbers)
    if (number !== (number | 0))
      throw new RangeError(`run: ${where}: indices, expected whole numbers of 32 bits, got ${number}.`);
  return Int32Array.from(numbers);
}
