/**
 * Look-ups in quantized tables; only the rows that are asked for become floats.
 *
 *   MsdGather          w int32 (packed), indices int32 […]            -> f32 […, columns]
 *   MsdSparseSegment   w, indices int32 [n], segmentIds int32 [n]     -> f32 [last id + 1, columns], sums or means
 *   MsdDequantize      w                                              -> f32, the whole real tensor
 */
import { realValues, rowsOf } from '../rows.ts';
import { type QuantizedSpec, realShape } from '../spec.ts';
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

export function msdGatherKernel(
  { w, indices }: { readonly w: TensorInfo; readonly indices: TensorInfo },
  { spec }: { readonly spec: QuantizedSpec },
  backend: object,
): TensorInfo {
  const host = hostOf(backend);
  const columns = spec.kind === 'table' ? spec.columns : spec.K;
  return filled(host, [...indices.shape, columns], (out) => {
    const { count, read } = rowsOf(spec, host.bytes(w), 'gather');
    const rows = indicesOf(host, indices);
    rows.forEach((row, i) => {
      if (row < 0 || row >= count)
        throw new RangeError(`gather: indices[${i}], expected 0 … ${count - 1}, got ${row}.`);
      read(row, out, i * columns);
    });
  });
}

export function msdSparseSegmentKernel(
  inputs: { readonly w: TensorInfo; readonly indices: TensorInfo; readonly segmentIds: TensorInfo },
  { spec, mean }: { readonly spec: QuantizedSpec; readonly mean: boolean },
  backend: object,
): TensorInfo {
  const host = hostOf(backend);
  const where = mean ? 'sparseSegmentMean' : 'sparseSegmentSum';
  const columns = spec.kind === 'table' ? spec.columns : spec.K;
  const count = indicesOf(host, inputs.indices).length;
  const ids = indicesOf(host, inputs.segmentIds).slice(); // the result's allocation may move the heap
  if (ids.length !== count)
    throw new RangeError(`${where}: segmentIds, expected ${count} like indices, got ${ids.length}.`);
  ids.forEach((id, i) => {
    if (id < 0 || (i > 0 && id < ids[i - 1]!))
      throw new RangeError(`${where}: segmentIds[${i}], expected ids from 0 that never decrease, got ${id}.`);
  });
  const segments = count ? ids[count - 1]! + 1 : 0;
  return filled(host, [segments, columns], (out) => {
    const { count: rowCount, read } = rowsOf(spec, host.bytes(inputs.w), where);
    const rows = indicesOf(host, inputs.indices);
    out.fill(0);
    const row = new Float32Array(columns);
    for (let begin = 0, end = 0; begin < count; begin = end) {
      const at = ids[begin]! * columns;
      for (; end < count && ids[end] === ids[begin]; end++) {
        const index = rows[end]!;
        if (index < 0 || index >= rowCount)
          throw new RangeError(`${where}: indices[${end}], expected 0 … ${rowCount - 1}, got ${index}.`);
        read(index, row, 0);
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
