/**
 * How a constant becomes a packed matrix or table. Stored integers stay what they are; floats that lie on a grid of 256
 * levels get their integers back; only real floats are quantized.
 */
import { type FormatId, rowExtent, rowReader } from '@msd/core';
import { type Packed, packMatrices, packPlanes, packStoredTable, packTable } from '../pack.ts';
import { sourcesOf } from '../rows.ts';
import type { MatrixSpec, QuantizedSpec, TableSpec } from '../spec.ts';
import { whyUnfit } from './fit.ts';
import { gridOf } from './grid.ts';
import { encodeCodes, int16Planes } from './integers.ts';
import { floatsOf, type StoredValues } from './source.ts';
import { type MatrixView, rowMajor, split, type TableView, type WeightView } from './view.ts';

/** For floats; what is stored quantized keeps its form. */
export interface WeightFormatOptions {
  readonly format: FormatId;
  readonly blockSize: number | null | undefined;
}

export interface Encoded {
  readonly packed: Packed;
  /** ‖W − W′‖ / ‖W‖ against the floats that tfjs would have used; 0 = the stored integers, as they were. */
  readonly error: number;
  /** What was done, for the report. */
  readonly how: 'stored integers kept' | 'integers recovered' | 'stored floats as 16-bit integers' | 'quantized';
}

/** Or why the weight stays what it is. */
export function encode(
  stored: StoredValues,
  view: WeightView,
  options: WeightFormatOptions,
): Encoded | { readonly reason: string } {
  const isKept = view.kind === 'table' && stored.kind !== 'float32';
  const reason = isKept ? undefined : whyUnfit(stored);
  if (reason) return { reason };
  const grid = stored.kind === 'float32' ? gridOf(stored.values) : undefined;
  const how = grid
    ? 'integers recovered'
    : stored.kind === 'uint8' || stored.kind === 'uint16' || (stored.kind === 'float16' && view.kind === 'table')
      ? 'stored integers kept'
      : stored.kind === 'float16'
        ? 'stored floats as 16-bit integers'
        : 'quantized';
  const isExact = how === 'stored integers kept';
  if (view.kind === 'table') {
    const packed = encodeTable(grid ?? stored, view);
    return { packed, how, error: isExact ? 0 : relativeError(packed, floatsOf(stored)) };
  }
  const codes = grid ?? stored;
  if ((codes.kind === 'uint8' || codes.kind === 'uint16') && isExact)
    return { packed: encodeCodes(codes, view), how, error: 0 };
  // Row by row as they are packed: for the integers, and for the error after that.
  const rows = rowMajor(floatsOf(stored), view);
  const packed = grid ? encodeCodes(grid, view) : encodeFloats(rows, stored.kind === 'float16', view, options);
  return { packed, how, error: relativeError(packed, rows) };
}

function encodeTable(stored: StoredValues, { rows, columns }: TableView): Packed<TableSpec> {
  if (stored.kind === 'float32') return packTable(stored.values, rows, columns);
  const { scale, min } = stored.kind === 'float16' ? { scale: 1, min: 0 } : stored;
  return packStoredTable(stored.values, { codes: stored.kind, rows, columns, scale, min });
}

/** @param rows [batch…][N,K] */
function encodeFloats(
  rows: Float32Array,
  isHalf: boolean,
  view: MatrixView,
  options: WeightFormatOptions,
): Packed<MatrixSpec> {
  if (!isHalf) return packMatrices(rows, view, options);
  const planes = split(rows, view).flatMap((part) => int16Planes(part, view));
  return packPlanes(planes, { batchShape: view.batchShape, planes: 2, offset: 0 });
}

/** @param rows [rows, columns] of a table, [batch…][N,K] of a matrix */
function relativeError({ spec, data }: Packed<QuantizedSpec>, rows: Float32Array): number {
  const sums = { error: 0, size: 0 };
  const { rows: count, columns } = rowExtent(spec);
  const row = new Float32Array(columns);
  sourcesOf(spec, new Uint8Array(data.buffer)).forEach((bytes, index) => {
    const read = rowReader(spec, bytes);
    for (let n = 0; n < count; n++) {
      read(n, row);
      addErrors(row, rows, (index * count + n) * columns, sums);
    }
  });
  return sums.size ? Math.sqrt(sums.error / sums.size) : 0;
}

function addErrors(got: Float32Array, want: Float32Array, at: number, sums: { error: number; size: number }): void {
  let [error, size] = [0, 0];
  for (let i = 0; i < got.length; i++) {
    const value = want[at + i]!;
    error += (got[i]! - value) ** 2;
    size += value ** 2;
  }
  sums.error += error;
  sums.size += size;
}
