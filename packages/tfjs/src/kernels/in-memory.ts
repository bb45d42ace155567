/** What is done in JavaScript where it sees the tensors: rows as floats, and the term of an offset. */
import { type RowSource, rowExtent, rowReader } from '@msd/core';
import type { OffsetOptions, RowsOptions } from './host.ts';

/** @param bytes of the source; indices are rows, ids never decrease */
export function readRows(
  source: RowSource,
  bytes: Uint8Array,
  { out, indices, segments }: RowsOptions<Float32Array, Int32Array>,
): void {
  const { rows, columns } = rowExtent(source);
  const read = rowReader(source, bytes);
  if (segments) sumSegments(read, columns, indices!, segments, out);
  else if (indices) for (let i = 0; i < indices.length; i++) read(indices[i]!, out, i * columns);
  else if (source.kind === 'table') for (let n = 0; n < rows; n++) read(n, out, n * columns);
  else {
    const row = new Float32Array(columns);
    for (let n = 0; n < rows; n++) {
      read(n, row);
      for (let k = 0, to = n; k < columns; k++, to += rows) out[to] = row[k]!;
    }
  }
}

function sumSegments(
  read: (n: number, out: Float32Array) => void,
  columns: number,
  indices: Int32Array,
  { ids, mean }: NonNullable<RowsOptions<Float32Array, Int32Array>['segments']>,
  out: Float32Array,
): void {
  out.fill(0);
  const row = new Float32Array(columns);
  for (let begin = 0, end = 0; begin < ids.length; begin = end) {
    const at = ids[begin]! * columns;
    for (; end < ids.length && ids[end] === ids[begin]; end++) {
      read(indices[end]!, row);
      for (let i = 0; i < columns; i++) out[at + i] = out[at + i]! + row[i]!;
    }
    if (mean) for (let i = 0; i < columns; i++) out[at + i] = out[at + i]! / (end - begin);
  }
}

/** The same for every column. */
export function addOffset(x: Float32Array, { M, K, N, offset, out }: OffsetOptions<Float32Array>): void {
  for (let m = 0; m < M; m++) {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += x[m * K + k]!;
    const term = offset * sum;
    for (let n = 0; n < N; n++) out[m * N + n]! += term;
  }
}
