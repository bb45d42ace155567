/**
 * Look-ups in quantized tables; only the rows that are asked for become floats.
 *
 *   MsdGather          w int32 (packed), indices int32 […]            -> f32 […, columns]
 *   MsdSparseSegment   w, indices int32 [n], segmentIds int32 [n]     -> f32 [last id + 1, columns], sums or means
 *   MsdDequantize      w                                              -> f32, the whole real tensor
 */
import { rowExtent } from '@msd/core';
import { sizeOf } from '../shapes.ts';
import { int32Length, type QuantizedSpec, realShape, sourceCount } from '../spec.ts';
import type { DataId, TensorInfo } from '../tf.ts';
import type { Host } from './host.ts';

/**
 * @param indices `undefined` where they cannot be seen: on a GPU, where they give zeros as in tfjs
 * @throws `RangeError` for one that is no row
 */
function checkIndices(indices: ArrayLike<number> | undefined, spec: QuantizedSpec, where: string): void {
  const { rows: count } = rowExtent(spec);
  for (let i = 0; i < (indices?.length ?? 0); i++)
    if (indices![i]! < 0 || indices![i]! >= count)
      throw new RangeError(`${where}: indices[${i}], expected 0 … ${count - 1}, got ${indices![i]}.`);
}

export function msdGather(
  { w, indices }: { readonly w: TensorInfo; readonly indices: TensorInfo },
  { spec }: { readonly spec: QuantizedSpec },
  host: Host,
): TensorInfo {
  checkIndices(host.integers(indices), spec, 'gather');
  return host.output([...indices.shape, rowExtent(spec).columns], [w, indices], (y) =>
    host.rows(spec, host.at(w), { indices: host.at(indices), out: host.at(y) }),
  );
}

export interface SparseSegmentInputs {
  readonly w: TensorInfo;
  readonly indices: TensorInfo;
  readonly segmentIds: TensorInfo;
}

export function msdSparseSegment(
  { w, indices, segmentIds }: SparseSegmentInputs,
  { spec, mean }: { readonly spec: QuantizedSpec; readonly mean: boolean },
  host: Host,
): TensorInfo {
  const where = mean ? 'sparseSegmentMean' : 'sparseSegmentSum';
  checkIndices(host.integers(indices), spec, where);
  const count = segmentsOf(segmentIds, where, host);
  return host.output([count, rowExtent(spec).columns], [w, indices, segmentIds], (y) => {
    const segments = { ids: host.at(segmentIds), count, mean };
    host.rows(spec, host.at(w), { indices: host.at(indices), segments, out: host.at(y) });
  });
}

const segmentCounts = /* @__PURE__ */ new WeakMap<DataId, number>();

/**
 * How many segments a tensor of ids has. Their values decide about the shape of the result, so a GPU reads them back: once.
 * @throws `RangeError` for ids that decrease
 */
function segmentsOf(tensor: TensorInfo, where: string, host: Host): number {
  const known = segmentCounts.get(tensor.dataId);
  if (known !== undefined) return known;
  const ids = sizeOf(tensor.shape) ? host.integers(tensor, true)! : [];
  for (let i = 0; i < ids.length; i++)
    if (ids[i]! < 0 || (i > 0 && ids[i]! < ids[i - 1]!))
      throw new RangeError(`${where}: segmentIds[${i}], expected ids from 0 that never decrease, got ${ids[i]}.`);
  const count = ids.length ? ids[ids.length - 1]! + 1 : 0;
  segmentCounts.set(tensor.dataId, count);
  return count;
}

export function msdDequantize(
  { w }: { readonly w: TensorInfo },
  { spec }: { readonly spec: QuantizedSpec },
  host: Host,
): TensorInfo {
  const shape = realShape(spec);
  const count = sourceCount(spec);
  const [length, size] = [int32Length(spec) / count, sizeOf(shape) / count];
  return host.output(shape, [w], (y) => {
    for (let i = 0; i < count; i++)
      host.rows(spec, host.at(w, i * length, length), { out: host.at(y, i * size, size) });
  });
}
