/** A tensor seen as [lead…, rows, channels], whatever the order of its dimensions: sizes and strides in elements. */
import type { HeadStrides } from '@msd/core';
import type { Tensor, TfNamespace } from '../tf.ts';

/**
 * Axis i of the view is axis `layout[i]` of the tensor; −1: there is none, its size is 1. Where the rank is not known, the last two
 * axes are 'swapped', or all is as it lies.
 */
export type Layout = readonly number[] | 'swapped' | undefined;

export interface View {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** @returns `undefined` if the layout is one of another rank */
export function viewOf(shape: readonly number[], layout: Layout): View | undefined {
  const strides = stridesOf(shape);
  const axes = axesOf(shape.length, layout);
  if (axes.filter((axis) => axis >= 0).length !== shape.length || axes.some((axis) => axis >= shape.length))
    return undefined;
  return {
    shape: axes.map((axis) => (axis < 0 ? 1 : shape[axis]!)),
    strides: axes.map((axis) => (axis < 0 ? 0 : strides[axis]!)),
  };
}

/** The view as a tensor that lies that way; the tensor itself if it does. */
export function arranged(tf: TfNamespace, x: Tensor, layout: Layout): Tensor {
  const axes = axesOf(x.rank, layout);
  const perm = axes.filter((axis) => axis >= 0);
  const moved = perm.every((axis, i) => axis === i) ? x : tf.transpose(x, perm);
  if (perm.length === axes.length) return moved;
  return tf.reshape(
    moved,
    axes.map((axis) => (axis < 0 ? 1 : x.shape[axis]!)),
  );
}

function axesOf(rank: number, layout: Layout): readonly number[] {
  if (Array.isArray(layout)) return layout as readonly number[];
  const axes = Array.from({ length: rank }, (_, i) => i);
  return layout === 'swapped' ? [...axes.slice(0, -2), rank - 1, rank - 2] : axes;
}

const stridesOf = (shape: readonly number[]): number[] =>
  shape.map((_, i) => shape.slice(i + 1).reduce((product, dim) => product * dim, 1));

/** Strides of a view with up to two leading dimensions: [batch, heads, rows, channels]. One that is repeated has stride 0. */
export function headStrides({ shape, strides }: View, lead: readonly number[]): HeadStrides {
  const stride = (i: number) => {
    const at = i - (lead.length - (shape.length - 2));
    return at < 0 || shape[at] === 1 ? 0 : strides[at]!;
  };
  return {
    batch: lead.length > 1 ? stride(0) : 0,
    head: lead.length > 0 ? stride(lead.length - 1) : 0,
    row: strides.at(-2)!,
  };
}
