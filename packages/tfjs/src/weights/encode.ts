/**
 * How a constant becomes a packed matrix or table. Stored integers stay what they are; floats that lie on a grid of 256
 * levels get their integers back; only real floats are quantized, as finely as they need.
 */
import type { FormatId } from '@msd/core';
import type { SeenActivations } from '../activations.ts';
import { type Packed, packStoredTable } from '../pack.ts';
import { type Accuracy, accuracyOf, whyInaccurate } from './accuracy.ts';
import { whyUnfit, whyWithoutLevels } from './fit.ts';
import { formsOf } from './forms.ts';
import { gridOf } from './grid.ts';
import { encodeCodes } from './integers.ts';
import { floatsOf, type StoredCodes, type StoredValues } from './source.ts';
import { rowMajor, type WeightView } from './view.ts';

/** For floats; what is stored quantized keeps its form. */
export interface WeightFormatOptions {
  readonly format: FormatId;
  readonly blockSize: number | null | undefined;
  /** The weight is only multiplied with, through `matMul`: input features may be levelled. */
  readonly canLevel?: boolean | undefined;
}

export interface Encoded {
  readonly packed: Packed;
  /** Against the floats that tfjs would have used; absent = the stored integers, as they were. */
  readonly accuracy?: Accuracy;
  /** What was done, for the report. */
  readonly how: 'stored integers kept' | 'integers recovered' | 'stored floats as 16-bit integers' | 'quantized';
  /** Why it is not in the form that was asked for. */
  readonly finer?: string;
}

/**
 * @param x activations that the matrix meets, where the caller knows some
 * @returns or why the weight stays what it is
 */
export function encode(
  stored: StoredValues,
  view: WeightView,
  options: WeightFormatOptions,
  x?: SeenActivations,
): Encoded | { readonly reason: string } {
  const { weight } = stored;
  if (!weight) return encodeNow(stored, view, options, x);
  weight.encoded ??= encodeNow(stored, view, options, x);
  return weight.encoded;
}

function encodeNow(
  stored: StoredValues,
  view: WeightView,
  options: WeightFormatOptions,
  x: SeenActivations | undefined,
): Encoded | { readonly reason: string } {
  if (view.kind === 'table' && stored.kind !== 'float32') {
    const without = stored.kind === 'float16' ? undefined : whyWithoutLevels(stored);
    return without ? { reason: without } : { packed: packStored(stored, view), how: 'stored integers kept' };
  }
  const unfit = whyUnfit(stored);
  if (unfit) return { reason: unfit };
  if (stored.kind === 'uint8' || stored.kind === 'uint16') return encodeStored(stored, view, x);
  // Row by row as they are packed: for the integers, and for the error after that.
  const rows = view.kind === 'table' ? floatsOf(stored) : rowMajor(floatsOf(stored), view);
  const grid = stored.kind === 'float32' ? gridOf(rows) : undefined;
  if (grid) {
    const packed = view.kind === 'table' ? packStored(grid, view) : encodeCodes(grid, { ...view, transposed: true });
    const accuracy = accuracyOf(packed, rows, x);
    if (!whyInaccurate(packed, accuracy)) return { packed, accuracy, how: 'integers recovered' };
  }
  const isHalf = stored.kind === 'float16';
  let finer: string | undefined;
  for (const form of formsOf(rows, isHalf, view, options)) {
    const packed = form();
    const accuracy = accuracyOf(packed, rows, x);
    const reason = whyInaccurate(packed, accuracy);
    const how = isHalf ? 'stored floats as 16-bit integers' : 'quantized';
    if (!reason) return { packed, accuracy, how, ...(finer !== undefined && { finer }) };
    finer ??= reason;
  }
  return { reason: `${finer}, and no finer form keeps it` };
}

/** Integers stay what they are; what activations lose beside them only the caller's own can tell. */
function encodeStored(
  stored: StoredCodes,
  view: WeightView,
  x: SeenActivations | undefined,
): Encoded | { readonly reason: string } {
  const packed = packStored(stored, view);
  const how = 'stored integers kept';
  if (!x || view.kind === 'table') return { packed, how };
  const accuracy = accuracyOf(packed, rowMajor(floatsOf(stored), view), x);
  const reason = whyInaccurate(packed, accuracy);
  return reason ? { reason } : { packed, how, accuracy };
}

function packStored(stored: Exclude<StoredValues, { kind: 'float32' }>, view: WeightView): Packed {
  if (view.kind === 'matrix') return encodeCodes(stored as StoredCodes, view);
  const { rows, columns } = view;
  const { scale, min } = stored.kind === 'float16' ? { scale: 1, min: 0 } : stored;
  return packStoredTable(stored.values, { codes: stored.kind, rows, columns, scale, min });
}
