/** What loaded files and loaded models have in common: which layers are taken, and their lines of the report. */

import { rowsFor } from '../activations.ts';
import { roundedGain } from '../convolution/price.ts';
import { formatFor, whyUnwanted } from '../graph-model/options.ts';
import type { RewriteOptions } from '../graph-model/rewrite.ts';
import type { Packed } from '../pack.ts';
import { type NodeReport, weightsReport } from '../report.ts';
import { sizeOf } from '../shapes.ts';
import { int32Length, type QuantizedSpec } from '../spec.ts';
import { encode } from '../weights/encode.ts';
import type { StoredValues } from '../weights/source.ts';
import type { Field, LayerKind, LayerView } from './kinds.ts';

/** A layer whose class MSD knows. */
export interface Candidate {
  readonly kind: LayerKind;
  readonly name: string;
  readonly shape: readonly number[];
  readonly config: Field;
}

/** How the weight is read, or why the layer is left alone. */
export function planOf(
  { kind, shape, config }: Candidate,
  isCnn: boolean,
  options: RewriteOptions,
): LayerView | { readonly reason: string } {
  const view = kind.view(shape, config);
  if ('reason' in view) return view;
  const size = sizeOf(shape);
  const reason = whyUnwanted(
    { size, isTable: view.kind === 'table', isConvolution: kind.isConvolution, isCnn, gain: view.gain },
    options,
  );
  return reason === undefined ? view : { reason };
}

/**
 * @param byteLength of the weight as it was
 * @returns or why it stays what it is
 */
export function packLayer(
  { kind, name, shape }: Candidate,
  view: LayerView,
  stored: StoredValues,
  byteLength: number,
  options: RewriteOptions,
): { readonly packed: Packed; readonly node: NodeReport } | { readonly reason: string } {
  // What a convolution with windows meets are images, no rows; a separable one multiplies sums over windows.
  const hasRows =
    view.kind === 'matrix' && (!kind.isConvolution || (kind.weight === 'kernel' && shape.at(-2) === view.K));
  const x = hasRows ? rowsFor(options.activations.get(name), view.K, name) : undefined;
  const format = { ...formatFor(kind.isConvolution, options), canLevel: kind.canLevel };
  const encoded = encode(stored, view, format, x);
  if ('reason' in encoded) return encoded;
  const { packed } = encoded;
  const weights = weightsReport(encoded, byteLength, 1);
  const gain = view.gain !== undefined && { predictedGain: roundedGain(view.gain) };
  return { packed, node: { name, op: kind.stock, where: 'msd', msdOp: kind.msd, weights, ...gain } };
}

/** A layer whose weights were packed before. */
export const keptLayer = ({ kind, name }: Pick<Candidate, 'kind' | 'name'>, spec: QuantizedSpec): NodeReport => {
  const byteLength = 4 * int32Length(spec);
  const bytes = { bytesBefore: byteLength, bytesAfter: byteLength };
  const weights = { spec, how: 'stored integers kept', error: 0, ...bytes, sharedBy: 1 };
  return { name, op: kind.stock, where: 'msd', msdOp: kind.msd, weights };
};

export const leftAlone = ({ kind, name }: Pick<Candidate, 'kind' | 'name'>, reason: string): NodeReport => ({
  name,
  op: kind.stock,
  where: 'tfjs',
  reason,
});

/**
 * tfjs's loader clips such weights as it reads them; its training does not. Those of other constraints are in a file what a constraint
 * made of them.
 */
export const whyClipped = (config: Readonly<Record<string, unknown>>): string | undefined =>
  Object.entries(config).some(
    ([name, value]) =>
      /^(?!bias).*_?constraint$/i.test(name) && (value as { class_name?: unknown } | null)?.class_name === 'NonNeg',
  )
    ? 'tfjs makes its weights 0 where they are negative, as it reads them (NonNeg)'
    : undefined;

/** Wrappers that only call what they wrap. Others may read its weights, or copy it from its config. */
export const isTransparent = (wrapper: unknown): boolean => wrapper === undefined || wrapper === 'TimeDistributed';
