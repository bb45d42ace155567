/**
 * Where the elements of a value lie that Transpose, Reshape, Expand, Split and the like make of another one: nothing is moved as
 * long as strides can say it.
 *
 * A dimension is a list of factors, outermost first: heads that a group of queries shares are (kvHeads, stride) (group, 0).
 */

import { copyOnWasm as copy } from '@msd/core/nn';
import { FLOAT32 } from '../../data-types.ts';
import { countOf, stridesOf } from '../../dims.ts';
import type { GraphNode } from '../../ir/graph.ts';
import { emitOp, type Lowering, type Slot } from '../lowering.ts';
import { movementOperators, permutationOf, sliceOf } from '../movement.ts';
import { axisOf, concrete, type NodeView, type Operator } from '../operator.ts';
import { reshapeOperators } from '../reshape.ts';
import { NO_SYMBOLS, shapeOperators } from '../shape.ts';

export interface Factor {
  readonly size: number;
  readonly stride: number;
}

/** A view of a slot. */
export interface View {
  readonly slot: Slot;
  readonly offset: number;
  readonly axes: readonly (readonly Factor[])[];
}

const OPERATORS: ReadonlyMap<string, Operator> = /* @__PURE__ */ new Map(
  [...shapeOperators, ...reshapeOperators, ...movementOperators].map((operator) => [operator.name, operator]),
);

const sizeOf = (axis: readonly Factor[]): number => axis.reduce((product, { size }) => product * size, 1);

export const sizesOf = ({ axes }: View): number[] => axes.map(sizeOf);

export function viewOf(slot: Slot, dims: readonly number[] = slot.dims): View {
  const strides = stridesOf(dims);
  return { slot, offset: 0, axes: dims.map((size, i) => [{ size, stride: strides[i]! }]) };
}

/** Neighbours that are one run of elements become one factor. */
function merged(factors: readonly Factor[]): Factor[] {
  const out: Factor[] = [];
  for (const factor of factors) {
    if (factor.size === 1) continue;
    const last = out.at(-1);
    if (last && last.stride === factor.stride * factor.size && last.stride !== 0)
      out[out.length - 1] = { size: last.size * factor.size, stride: factor.stride };
    else out.push(factor);
  }
  return out;
}

/** The one factor of an axis; `undefined` if it takes several. */
export function single(axis: readonly Factor[]): Factor | undefined {
  const factors = merged(axis);
  return factors.length > 1 ? undefined : (factors[0] ?? { size: sizeOf(axis), stride: 0 });
}

/** Are its elements in order, without gaps? */
export function isDense({ axes }: View): boolean {
  const factors = merged(axes.flat());
  return factors.length === 0 || (factors.length === 1 && factors[0]!.stride === 1);
}

/** The same elements under other dimensions; `undefined` if they would have to move. */
export function regrouped(axes: readonly (readonly Factor[])[], dims: readonly number[]): Factor[][] | undefined {
  const rest = merged(axes.flat());
  const out: Factor[][] = [];
  for (const dim of dims) {
    const own: Factor[] = [];
    let left = dim;
    while (left > 1) {
      const factor = rest.shift();
      if (!factor) return undefined;
      if (left % factor.size === 0) {
        own.push(factor);
        left /= factor.size;
      } else if (factor.size % left === 0) {
        const inner = factor.size / left;
        own.push({ size: left, stride: factor.stride * inner });
        rest.unshift({ size: inner, stride: factor.stride });
        left = 1;
      } else return undefined;
    }
    out.push(own.length > 0 ? own : [{ size: dim, stride: 0 }]);
  }
  return rest.length === 0 ? out : undefined;
}

/** Copies a view into a slot of its own. */
export function dense(to: Lowering, view: View): View {
  const dims = sizesOf(view);
  const factors = view.axes.flat();
  const from = { operand: 0, offset: view.offset, strides: factors.map(({ stride }) => stride) };
  const sizes = factors.map(({ size }) => size);
  const part = { dims: sizes, from, to: { operand: 0, offset: 0, strides: stridesOf(sizes) } };
  const [slot] = emitOp(to, copy, { outputs: [dims], parts: [part] }, [view.slot], []);
  return viewOf(slot!);
}

/** A node as a view of its first operand, and which of its results it is. */
export interface ViewNode {
  readonly view: NodeView;
  readonly output: number;
}

/** Operators that views go through, and their operands that say how. */
const SHAPED: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'Transpose',
  'Reshape',
  'Squeeze',
  'Unsqueeze',
  'Expand',
  'Identity',
  'Split',
  'Slice',
  'Flatten',
  'Gather',
]);

export const isViewNode = ({ domain, opType }: GraphNode): boolean => domain === '' && SHAPED.has(opType);

/** The view that a node makes of another one. What strides cannot say is copied first. */
export function through(to: Lowering, from: View, node: ViewNode): View {
  return strided(to, from, node) ?? strided(to, dense(to, from), node)!;
}

/** The same without a copy; `undefined` if there has to be one. */
export function strided(to: Pick<Lowering, 'info'>, from: View, { view: node, output }: ViewNode): View | undefined {
  const { opType, inputs } = node.node;
  if (opType === 'Gather') return picked(to, from, node);
  const dims = sizesOf(from);
  const { axes, slot, offset } = from;
  const infos = inputs.map((name, i) =>
    name === '' ? undefined : i === 0 ? { elemType: FLOAT32, dims } : to.info(name),
  );
  const results = OPERATORS.get(opType)!.infer(node, infos, NO_SYMBOLS);
  const wanted = concrete(results[output], `'${node.node.outputs[output]}'`).dims;
  switch (opType) {
    case 'Identity':
      return from;
    case 'Transpose':
      return { ...from, axes: permutationOf(node, axes.length).map((axis) => axes[axis]!) };
    case 'Expand':
      return repeated(from, wanted);
    case 'Split': {
      const axis = axisOf(node, node.int('axis', 0), axes.length);
      const start = results.slice(0, output).reduce((sum, part) => sum + (part!.dims![axis] as number), 0);
      return cut(from, axis, start, 1, wanted[axis]!);
    }
    case 'Slice': {
      const { starts, steps } = sliceOf(node, infos)!;
      let result: View | undefined = from;
      for (const [axis, size] of wanted.entries())
        if (starts[axis] !== 0 || steps[axis] !== 1 || size !== dims[axis])
          result = result && cut(result, axis, starts[axis]!, steps[axis]!, size);
      return result;
    }
    default: {
      const regroup = countOf(wanted) === 0 ? viewOf(slot, wanted).axes : regrouped(axes, wanted);
      return regroup && { slot, offset, axes: regroup };
    }
  }
}

/** Dimensions of 1 repeated. */
export function repeated(from: View, dims: readonly number[]): View {
  const one: readonly Factor[] = [{ size: 1, stride: 0 }];
  const axes = [...new Array<readonly Factor[]>(dims.length - from.axes.length).fill(one), ...from.axes];
  return { ...from, axes: axes.map((axis, i) => (sizeOf(axis) === dims[i] ? axis : [{ size: dims[i]!, stride: 0 }])) };
}

/** One index of an axis, which goes away if the index has no dimensions. */
function picked(to: Pick<Lowering, 'info'>, from: View, view: NodeView): View | undefined {
  const { dims, data } = to.info(view.node.inputs[1]!);
  const axis = axisOf(view, view.int('axis', 0), from.axes.length);
  const size = sizeOf(from.axes[axis]!);
  const [index] = data!;
  const start = index! < 0 ? index! + size : index!;
  if (!(start >= 0 && start < size)) view.fail('index', `one of ${size}`, `${index}`);
  const part = cut(from, axis, start, 1, 1);
  return part && dims.length === 0 ? { ...part, axes: part.axes.toSpliced(axis, 1) } : part;
}

/** Some of the elements along an axis. */
function cut(from: View, axis: number, start: number, step: number, size: number): View | undefined {
  const factor = single(from.axes[axis]!);
  const part: Factor | undefined = factor && { size, stride: factor.stride * step };
  return part && { ...from, offset: from.offset + start * factor!.stride, axes: from.axes.with(axis, [part]) };
}
