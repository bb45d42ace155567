/**
 * Packed weights that were saved. What an older version of this package saved is repacked where it is loaded; everything else
 * knows the layout of @msd/core alone.
 */
import { PACKED_VERSION, upgradePacked } from '@msd/core';
import { shown } from './errors.ts';
import type { Packed } from './pack.ts';
import { QuantizedTensor } from './quantized-tensor.ts';
import { checkSpec, type MatrixSpec, planeBytes, type QuantizedSpec } from './spec.ts';
import { requireRegistration } from './state.ts';
import type { DataId, Tensor } from './tf.ts';

/**
 * Puts a saved tensor and its spec together again. What an older version saved is repacked into a tensor of its own.
 *
 * @param packed int32; becomes the result's, which disposes of it
 * @throws `TypeError`, `RangeError` if the tensor cannot hold what the spec says, `UnsupportedError` if a newer version saved it
 * @example
 * ```ts
 * const q = quantizedTensor(tf.tensor(savedInt32), JSON.parse(savedSpec));
 * ```
 */
export function quantizedTensor(packed: Tensor, spec: QuantizedSpec): QuantizedTensor {
  const dtype = (packed as Tensor | undefined)?.dtype;
  if (dtype !== 'int32')
    throw new TypeError(`quantizedTensor: packed, expected an int32 tensor, got ${dtype ?? shown(packed)}.`);
  const saved = checkSpec(spec, packed.size, 'quantizedTensor');
  if (!isOlder(saved)) return new QuantizedTensor(packed, saved);
  const upgraded = repacked(packed, saved);
  packed.dispose();
  return upgraded;
}

/** Tables are stored row by row in every version. */
export const isOlder = (spec: QuantizedSpec): spec is MatrixSpec =>
  spec.kind === 'matrix' && spec.version !== PACKED_VERSION;

/** The same weights in the layout of this version. */
export function upgrade(spec: MatrixSpec, values: Int32Array<ArrayBuffer>): Packed {
  const size = planeBytes(spec);
  const before = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const after = new Uint8Array(values.byteLength);
  for (let at = 0; at < before.length; at += size) {
    const bytes = before.subarray(at, at + size);
    after.set(upgradePacked({ ...spec, version: spec.version ?? 1, bytes }).bytes, at);
  }
  return { spec: upgradedSpec(spec), data: new Int32Array(after.buffer) };
}

export const upgradedSpec = (spec: QuantizedSpec): QuantizedSpec =>
  isOlder(spec) ? { ...spec, version: PACKED_VERSION } : spec;

function repacked(packed: Tensor, saved: MatrixSpec): QuantizedTensor {
  const { tf } = requireRegistration('packed weights of an older version');
  const { spec, data } = upgrade(saved, packed.dataSync<'int32'>() as Int32Array<ArrayBuffer>);
  return new QuantizedTensor(tf.tensor1d(data, 'int32'), spec);
}

const copies = /* @__PURE__ */ new WeakMap<DataId, QuantizedTensor>();
const forget = /* @__PURE__ */ new FinalizationRegistry<QuantizedTensor>((copy) => copy.dispose());

/**
 * A constant of a graph model that tfjs loaded by itself. It stays tfjs's, which saves it as it is: an older one gets a repacked
 * copy beside it, for as long as it is there.
 */
export function constantTensor(packed: Tensor, saved: QuantizedSpec): QuantizedTensor {
  if (!isOlder(saved)) return new QuantizedTensor(packed, saved);
  let copy = copies.get(packed.dataId);
  if (!copy) {
    copy = repacked(packed, saved);
    requireRegistration('packed weights of an older version').tf.keep(copy.packed);
    copies.set(packed.dataId, copy);
    forget.register(packed.dataId, copy);
  }
  return copy;
}
