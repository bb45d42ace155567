/**
 * Look-ups in quantized tables; only the rows that are asked for become floats.
 *
 *   MsdGather          w int32 (packed), indices int32 […]            -> f32 […, columns]
 *   MsdSparseSegment   w, indices int32 [n], segmentIds int32 [n]     -> f32 [last id + 1, columns], sums or means
 *   MsdDequantize      w                                              -> f32, the whole real tensor
 */
import { realValues, rowsOf } from '../rows.ts';
import { type QuantizedSpec, realShape, rowCount, rowLength } from '../spec.ts';
import type { TensorInfo } from '../tf.ts';
import { type Host, hostOf } from './host.ts';

/** Fills a new tensor; it is given back if that fails. */
function filled(host: Host, shape: number[], fill: (out: Float32Array) => void): TensorInfo {
  const y = host.output(shape);
  try {
    const operand = host.operand(y);
    fill(operand instanceof Float32Array ? operand : host.msd.arena.float32(operand));
  } catch (error) {
    host.release(y);
    throw error;
  }
  return y;
}

const indicesOf = (host: Host, tensor: TensorInfo): Int32Array => {
  const { buffer, byteOffset, byteLength } = host.bytes(tensor);
  return new Int32Array(buffer, byteOffset, byteLength / 4);
};

/**
 * @param indices `undefined` where they cannot be seen
 * @throws `RangeError` for one that is no row
 */
export function checkIndices(indices: ArrayLike<number> | undefined, spec: QuantizedSpec, where: string): void {
  const count = rowCount(spec);
  for (let i = 0; i < (indices?.length ?? 0); i++)
    if (indices![i]! < 0 || indices![i]! >= count)
      throw new RangeError(`${where}: indices[${i}], expected 0 … ${count - 1}, got ${indices![i]}.`);
}

/**
 * @returns how many segments there are
 * @throws `RangeError` for ids that decrease
 */
export function checkSegments(ids: ArrayLike<number>, where: string): number {
  for (let i = 0; i < ids.length; i++)
    if (ids[i]! < 0 || (i > 0 && ids[i]! < ids[i - 1]!))
      throw new RangeError(`${where}: segmentIds[${i}], expected ids from 0 that never decrease, got ${ids[i]}.`);
  return ids.length ? ids[ids.length - 1]! + 1 : 0;
}

export function msdGatherKernel(
  { w, indices }: { readonly w: TensorInfo; readonly indices: TensorInfo },
  { spec }: { readonly spec: QuantizedSpec },
  backend: object,
): TensorInfo {
  const host = hostOf(backend);
  const columns = rowLength(spec);
  checkIndices(indicesOf(host, indices), spec, 'gather');
  return filled(host, [...indices.shape, columns], (out) => {
    const { read } = rowsOf(spec, host.bytes(w), 'gather');
    indicesOf(host, indices).forEach((row, i) => {
      read(row, out, i * columns);
    });
  });
}

export interface SparseSegmentInputs {
  readonly w: TensorInfo;
  readonly indices: TensorInfo;
  readonly segmentIds: TensorInfo;
}

export function msdSparseSegmentKernel(
  inputs: SparseSegmentInputs,
  { spec, mean }: { readonly spec: QuantizedSpec; readonly mean: boolean },
  backend: object,
): TensorInfo {
  const host = hostOf(backend);
  const where = mean ? 'sparseSegmentMean' : 'sparseSegmentSum';
  const columns = rowLength(spec);
  const ids = indicesOf(host, inputs.segmentIds).slice(); // the result's allocation may move the heap
  const count = ids.length;
  checkIndices(indicesOf(host, inputs.indices), spec, where);
  return filled(host, [checkSegments(ids, where), columns], (out) => {
    const { read } = rowsOf(spec, host.bytes(inputs.w), where);
    const rows = indicesOf(host, inputs.indices);
    out.fill(0);
    const row = new Float32Array(columns);
    for (let begin = 0, end = 0; begin < count; begin = end) {
      const at = ids[begin]! * columns;
      for (; end < count && ids[end] === ids[begin]; end++) {
        read(rows[end]!, row, 0);
        for (let i = 0; i < columns; i++) out[at + i] = out[at + i]! + row[i]!;
      }
      if (mean) for (let i = 0; i < columns; i++) out[at + i] = out[at + i]! / (end - begin);
    }
  });
}

export function msdDequantizeKernel(
  { w }: { readonly w: TensorInfo },
  { spec }: { readonly spec: QuantizedSpec },
  backend: object,
): TensorInfo {
  const host = hostOf(backend);
  return filled(host, realShape(spec), (out) => out.set(realValues(spec, host.bytes(w))));
}
