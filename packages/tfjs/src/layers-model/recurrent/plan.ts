/** What loaded files and loaded models have in common: both kernels of a cell, packed, and its line of the report. */
import { formatFor, whyUnwanted } from '../../graph-model/options.ts';
import type { RewriteOptions } from '../../graph-model/rewrite.ts';
import type { Packed } from '../../pack.ts';
import type { MatMulInputsReport, NodeReport } from '../../report.ts';
import { sizeOf } from '../../shapes.ts';
import type { MatrixSpec } from '../../spec.ts';
import { encode } from '../../weights/encode.ts';
import type { StoredValues } from '../../weights/source.ts';
import type { CellSpecs } from './cell.ts';
import { arranged, LEAVES, type Leaf, type RecurrentKind, viewOf, whyMisshapen } from './kinds.ts';

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
  readonly data: Readonly<Record<Leaf, Int32Array<ArrayBuffer>>>;
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

/** A cell that {@link whyNotCell} says nothing against. */
export function packCell(kind: RecurrentKind, weights: CellWeights, options: RewriteOptions): PackedCellWeights {
  const parts = LEAVES.map((leaf) => {
    const { shape, byteLength, stored } = weights[leaf];
    const view = viewOf(kind, leaf, shape);
    const { packed, error, how } = encode(arranged(stored(), view), view, formatFor(false, options));
    const bytes = { bytesBefore: byteLength, bytesAfter: packed.data.byteLength };
    return { packed: packed as Packed<MatrixSpec>, report: { spec: packed.spec, how, error, ...bytes, sharedBy: 1 } };
  });
  const [kernel, own] = parts as [(typeof parts)[0], (typeof parts)[0]];
  return {
    specs: { kernel: kernel.packed.spec, recurrent: own.packed.spec },
    data: { kernel: kernel.packed.data, recurrent_kernel: own.packed.data },
    weights: parts.map(({ report }) => report),
  };
}

/** @param op class of the layer as it was, @param msdOp as it is now */
export function takenNode(name: string, op: string, msdOp: string, packed: readonly PackedCellWeights[]): NodeReport {
  const [weights, ...more] = packed.flatMap((one) => one.weights) as [MatMulInputsReport, ...MatMulInputsReport[]];
  return { name, op, where: 'msd', msdOp, weights, more };
}
