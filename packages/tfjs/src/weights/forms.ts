/** Floats -> packed weights: the form that was asked for, and finer ones for weights that it would lose. */
import { toFp16 } from '@msd/core';
import { type Packed, packMatrices, packPlanes, packStoredTable, packTable } from '../pack.ts';
import type { MatrixSpec, TableSpec } from '../spec.ts';
import type { WeightFormatOptions } from './encode.ts';
import { int16Planes } from './integers.ts';
import { powersOf } from './powers.ts';
import { type MatrixView, split, type TableView, type WeightView } from './view.ts';

/** Consecutive k that share a scale where one per output channel is too coarse. */
const FINER_BLOCK = 32;
const LARGEST_HALF = 65504;

/**
 * Forms of floats, the wanted one first. A matrix: as asked for, so with input features levelled, int8 in blocks, 16 bits. A table: int8 with a scale per row, half floats.
 *
 * @param rows [batch…][N,K] of a matrix, [rows, columns] of a table
 * @param isHalf they were half floats: nothing below 16 bits is tried
 */
export function formsOf(
  rows: Float32Array,
  isHalf: boolean,
  view: WeightView,
  { format, blockSize, canLevel }: WeightFormatOptions,
): readonly (() => Packed)[] {
  if (view.kind === 'table') {
    const isInRange = rows.every((value) => Math.abs(value) <= LARGEST_HALF);
    return [() => packTable(rows, view.rows, view.columns), ...(isInRange ? [() => packHalves(rows, view)] : [])];
  }
  const int16 = () => packInt16(rows, view);
  if (isHalf) return [int16];
  const asked = () => packCentred(rows, view, { format, blockSize });
  const isFine = format === 'int8' && typeof blockSize === 'number' && blockSize <= FINER_BLOCK;
  const blocks = () => packCentred(rows, view, { format: 'int8', blockSize: FINER_BLOCK });
  const powers =
    canLevel && view.batchShape.length === 0 ? () => packLevelled(rows, view, { format, blockSize }) : undefined;
  return [asked, ...(powers ? [powers] : []), ...(isFine ? [] : [blocks]), int16];
}

/** Weights that all lie far from 0 are integers around their middle, and an offset. */
function packCentred(rows: Float32Array, view: MatrixView, options: WeightFormatOptions): Packed<MatrixSpec> {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < rows.length && !(low < 0 && high > 0); i++) {
    const value = rows[i]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const middle = Math.fround((low + high) / 2);
  // Less than half of the middle on both sides of it: 0 is not among them, and |w − middle| < |w|.
  if (!(high - low < Math.abs(middle))) return packMatrices(rows, view, options);
  const { spec, data } = packMatrices(
    rows.map((value) => value - middle),
    view,
    options,
  );
  return { spec: { ...spec, offset: middle }, data };
}

/** The same form, for weights whose input features are of one size. */
function packLevelled(rows: Float32Array, view: MatrixView, options: WeightFormatOptions): Packed<MatrixSpec> {
  const { N, K } = view;
  const powers = powersOf(rows, N, K);
  const factors = Float32Array.from(powers, (power) => 2 ** -power);
  const { spec, data } = packMatrices(
    rows.map((value, i) => value * factors[i % K]!),
    view,
    options,
  );
  return { spec: { ...spec, powers }, data };
}

function packInt16(rows: Float32Array, view: MatrixView): Packed<MatrixSpec> {
  const planes = split(rows, view).flatMap((part) => int16Planes(part, view));
  return packPlanes(planes, { batchShape: view.batchShape, planes: 2, offset: 0 });
}

function packHalves(values: Float32Array, { rows, columns }: TableView): Packed<TableSpec> {
  return packStoredTable(Uint16Array.from(values, toFp16), { codes: 'float16', rows, columns, scale: 1, min: 0 });
}
