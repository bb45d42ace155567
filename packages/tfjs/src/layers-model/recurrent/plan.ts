/** What loaded files and loaded models have in common: both kernels of a cell, packed, and its line of the report. */
import { rowsFor } from '../../activations.ts';
import { formatFor, whyUnwanted } from '../../graph-model/options.ts';
import type { RewriteOptions } from '../../graph-model/rewrite.ts';
import type { Packed } from '../../pack.ts';
import { type MatMulInputsReport, type ModelReport, type NodeReport, weightsReport } from '../../report.ts';
import { sizeOf } from '../../shapes.ts';
import { int32Length, type MatrixSpec } from '../../spec.ts';
import { encode } from '../../weights/encode.ts';
import type { StoredValues } from '../../weights/source.ts';
import { apart } from '../parts.ts';
import type { CellSpecs } from './cell.ts';
import { LEAVES, type Leaf, RECURRENT_KINDS, type RecurrentKind, viewOf, whyMisshapen } from './kinds.ts';

/** A weight of a cell, wherever it comes from. */
export interface CellWeight {
  readonly shape: readonly number[];
  readonly dtype: string;
  /** As it was. */
  readonly byteLength: number;
  readonly stored: () => StoredValues;
}

export type CellWeights = Readonly<Record<Leaf, CellWeight>>;

export interface PackedCellWeights {
  readonly specs: CellSpecs;
  readonly packed: Readonly<Record<Leaf, Packed<MatrixSpec>>>;
  readonly weights: readonly MatMulInputsReport[];
}

export function whyNotCell(kind: RecurrentKind, weights: CellWeights, options: RewriteOptions): string | undefined {
  const [kernel, own] = LEAVES.map((leaf) => weights[leaf]) as [CellWeight, CellWeight];
  if (kernel.dtype !== 'float32' || own.dtype !== 'float32') return `kernels of ${kernel.dtype} and ${own.dtype}`;
  const size = sizeOf(kernel.shape) + sizeOf(own.shape);
  return (
    whyMisshapen(kind, kernel.shape, own.shape) ??
    whyUnwanted({ size, isTable: false, isConvolution: false, isCnn: false }, options)
  );
}

/** What a cell's products meet, by these names: x by that of its layer, the states beside it. */
export const statesOf = (name: string): string => `${name}/states`;

/** Of the cells of one layer: those of a stack are told apart. */
export const cellName = (layer: string, index: number, count: number): string =>
  count > 1 ? `${layer}/${index}` : layer;

/**
 * A cell that {@link whyNotCell} says nothing against; or why it stays what it is after all.
 *
 * @param name that activations are given by
 */
export function packCell(
  kind: RecurrentKind,
  weights: CellWeights,
  options: RewriteOptions,
  name: string,
): PackedCellWeights | { readonly reason: string } {
  const parts: { packed: Packed<MatrixSpec>; report: MatMulInputsReport }[] = [];
  for (const leaf of LEAVES) {
    const { shape, byteLength, stored } = weights[leaf];
    const view = viewOf(kind, leaf, shape);
    const isOfX = leaf === 'kernel';
    const known = options.activations.get(isOfX ? name : statesOf(name));
    // A GRU has a matrix for the state, and others for what its gate leaves of it.
    const met = view.batchShape.length === 0 ? rowsFor(known, view.K, isOfX ? name : statesOf(name)) : undefined;
    // States are of one size; what a layer is given may be of any.
    const format = { ...formatFor(false, options), canLevel: isOfX };
    const encoded = encode(apart(stored(), view), view, format, met);
    if ('reason' in encoded) return encoded;
    parts.push({ packed: encoded.packed as Packed<MatrixSpec>, report: weightsReport(encoded, byteLength, 1) });
  }
  const [kernel, own] = parts as [(typeof parts)[0], (typeof parts)[0]];
  return {
    specs: { kernel: kernel.packed.spec, recurrent: own.packed.spec },
    packed: { kernel: kernel.packed, recurrent_kernel: own.packed },
    weights: parts.map(({ report }) => report),
  };
}

/** A cell that was packed before. */
export const keptCell = ({ kernel, recurrent }: CellSpecs): MatMulInputsReport[] =>
  [kernel, recurrent].map((spec) => {
    const byteLength = 4 * int32Length(spec);
    return {
      spec,
      how: 'stored integers kept',
      error: 0,
      bytesBefore: byteLength,
      bytesAfter: byteLength,
      sharedBy: 1,
    };
  });

/** @param op class of the layer as it was, @param msdOp as it is now */
export function takenNode(
  name: string,
  op: string,
  msdOp: string,
  cells: readonly (readonly MatMulInputsReport[])[],
): NodeReport {
  const [weights, ...more] = cells.flat() as [MatMulInputsReport, ...MatMulInputsReport[]];
  return { name, op, where: 'msd', msdOp, weights, more };
}

/** Is there a recurrent layer of MSD's, as a layer or a cell? */
export const hasRecurrent = ({ nodes }: ModelReport): boolean =>
  nodes.some(({ msdOp }) => RECURRENT_KINDS.some(({ msd, msdCell }) => msdOp === msd || msdOp?.includes(msdCell)));
