/** How a constant lies in the tensor that Transpose, Reshape and their like made it of: as strides, where these can say it. */
import { stridesOf } from '../dims.ts';
import { permutationOf } from '../ops/movement.ts';
import { type NodeView, operatorName } from '../ops/operator.ts';

export interface StridedView {
  readonly dims: readonly number[];
  readonly strides: readonly number[];
}

export const wholeView = (dims: readonly number[]): StridedView => ({ dims, strides: stridesOf(dims) });

/**
 * Behind a node that moves or keeps elements.
 *
 * @param to dims of its result
 * @returns `undefined` if strides cannot say it, or the node does more
 */
export function viewBehind(view: NodeView, from: StridedView, to: readonly number[]): StridedView | undefined {
  switch (operatorName(view.node)) {
    case 'Identity':
    case 'Cast':
      return from;
    case 'Transpose':
      return transposedView(from, permutationOf(view, from.dims.length));
    case 'Reshape':
    case 'Squeeze':
    case 'Unsqueeze':
    case 'Flatten':
      return reshapedView(from, to);
    default:
      return undefined;
  }
}

/** The same elements, dimensions in another order. */
export const transposedView = ({ dims, strides }: StridedView, axes: readonly number[]): StridedView => ({
  dims: axes.map((axis) => dims[axis]!),
  strides: axes.map((axis) => strides[axis]!),
});

/**
 * The same elements under other dims. Neighbouring dimensions that lie behind each other are one; each is then cut into the new ones.
 *
 * @returns `undefined` if strides cannot say it
 */
export function reshapedView({ dims, strides }: StridedView, to: readonly number[]): StridedView | undefined {
  const runs: { size: number; stride: number }[] = [];
  for (const [i, size] of dims.entries()) {
    if (size === 1) continue;
    const last = runs.at(-1);
    if (last && last.stride === size * strides[i]!) {
      last.size *= size;
      last.stride = strides[i]!;
    } else runs.push({ size, stride: strides[i]! });
  }
  const result = new Array<number>(to.length).fill(1);
  let run = runs.pop();
  for (let i = to.length - 1; i >= 0; i--) {
    const size = to[i]!;
    if (size === 1) continue;
    if (!run || run.size % size !== 0) return undefined;
    result[i] = run.stride;
    run = run.size === size ? runs.pop() : { size: run.size / size, stride: run.stride * size };
  }
  return { dims: to, strides: result };
}
