/** What folds rows on the device: reductions, softmax, the position of the largest. */
import {
  type ArgMaxOp,
  argMaxOnWasm as argMax,
  type OpSpec,
  type ReduceKind,
  reduceOnWasm as reduceSpec,
  type SoftmaxOp,
  softmaxOnWasm as softmax,
} from '@msd/core/nn';
import { INT64 } from '../data-types.ts';
import { countOf } from '../dims.ts';
import { type Info, isKnown } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { emitOp } from './lowering.ts';
import { axisOf, type NodeView, type Operator } from './operator.ts';
import { axesOf } from './shape.ts';

type Inputs = readonly (Info | undefined)[];

/** Axes that lie side by side, whatever the rank is. */
function areNeighbours(axes: readonly number[], rank: number | undefined): boolean {
  const places = axes.map((axis) => (axis < 0 && rank !== undefined ? axis + rank : axis)).sort((a, b) => a - b);
  return places.every((axis, i) => i === 0 || axis === places[i - 1]! + 1) && places[0]! < 0 === places.at(-1)! < 0;
}

/** A match of one device op of x. */
function rowMatch<O>(
  op: string,
  { node }: NodeView,
  matcher: Matcher,
  spec: OpSpec<O>,
  opOf: (dims: readonly number[]) => O,
): Match | string {
  const [x = ''] = node.inputs;
  const outputs = [node.outputs[0] ?? ''];
  const refused = matcher.notFloat('x', x);
  if (refused !== undefined) return refused;
  return {
    op,
    place: 'device',
    nodes: [node],
    inputs: [x],
    outputs,
    resources: matcher.constants([x]),
    lower: (to) => void emitOp(to, spec, opOf(to.info(x).dims), [to.slot(x)], outputs),
  };
}

/** @param axesInput version from which the axes are an input */
export function deviceReductions(kind: ReduceKind, axesInput: number): NonNullable<Operator['match']> {
  return (view, matcher) => {
    const [x = '', a = ''] = view.node.inputs;
    const given = axesOf(view, a === '' ? undefined : matcher.info(a), axesInput);
    if (given === undefined) return 'axes are not constant';
    const axes = given ?? [];
    const keepDims = view.int('keepdims', 1) === 1;
    if (axes.length === 0 && view.int('noop_with_empty_axes', 0) !== 0) return 'nothing is reduced';
    if (axes.length > 0 && !areNeighbours(axes, matcher.info(x)?.dims?.length)) return 'axes are not neighbours';
    return rowMatch('reduce', view, matcher, reduceSpec, (dims) => {
      const folded = axes.length > 0 ? axes : dims.map((_, i) => i);
      // ONNX leaves the mean of nothing open; ONNX Runtime gives 0, the sum of nothing.
      const isNothing = folded.some((axis) => dims.at(axis) === 0);
      return { kind: kind === 'mean' && isNothing ? 'sum' : kind, axes: folded, keepDims };
    });
  };
}

function matchArgument(kind: ArgMaxOp['kind']): Operator['match'] {
  return (view, matcher) => {
    const op: ArgMaxOp = {
      kind,
      axis: view.int('axis', 0),
      keepDims: view.int('keepdims', 1) === 1,
      last: view.int('select_last_index', 0) !== 0,
    };
    return rowMatch('reduce', view, matcher, argMax, () => op);
  };
}

/** Along the last axis; up to version 12, over all dimensions from the axis on. */
function matchSoftmax(kind: SoftmaxOp['kind']): Operator['match'] {
  return (view, matcher) => {
    const rank = matcher.info(view.node.inputs[0] ?? '')?.dims?.length;
    const axis = view.int('axis', view.version < 13 ? 1 : -1);
    if (view.version >= 13 && axis !== -1 && axis !== (rank ?? 0) - 1) return 'not along the last axis';
    return rowMatch('softmax', view, matcher, softmax, ({ length }) => ({
      kind,
      axes: view.version < 13 ? length - axisOf(view, axis, length) : 1,
    }));
  };
}

function argument(node: NodeView, [x]: Inputs): [Info] {
  if (!x?.dims) return [{ elemType: INT64, dims: undefined }];
  const axis = axisOf(node, node.int('axis', 0), x.dims.length);
  const keeps = node.int('keepdims', 1) === 1;
  const dims = keeps ? x.dims.toSpliced(axis, 1, 1) : x.dims.toSpliced(axis, 1);
  const data = isKnown(x.data) && isKnown(x.dims) ? places(node, x.data, x.dims, axis) : undefined;
  return [{ elemType: INT64, dims, data }];
}

/** Where the largest or smallest ones are along an axis: words of a text, of which the last one is the largest number. */
function places(node: NodeView, data: readonly number[], dims: readonly number[], axis: number): number[] {
  const n = dims[axis]!;
  const inner = countOf(dims.slice(axis + 1));
  const isLeast = node.node.opType === 'ArgMin';
  const isLast = node.int('select_last_index', 0) !== 0;
  if (n === 0 && data.length === 0 && countOf(dims.toSpliced(axis, 1)) > 0)
    node.fail(`dimension ${axis}`, 'at least one element', '0');
  return Array.from({ length: n === 0 ? 0 : data.length / n }, (_, i) => {
    const from = Math.floor(i / inner) * n * inner + (i % inner);
    let best = 0;
    for (let k = 1; k < n; k++) {
      const [value, most] = [data[from + k * inner]!, data[from + best * inner]!];
      if ((isLeast ? value < most : value > most) || (isLast && value === most)) best = k;
    }
    return best;
  });
}

const same = (_: NodeView, [x]: Inputs): [Info | undefined] => [x && { elemType: x.elemType, dims: x.dims }];

export const foldOperators: readonly Operator[] = [
  {
    name: 'ArgMax',
    attributes: ['axis', 'keepdims', 'select_last_index'],
    infer: argument,
    host: true,
    match: matchArgument('arg_max'),
  },
  {
    name: 'ArgMin',
    attributes: ['axis', 'keepdims', 'select_last_index'],
    infer: argument,
    host: true,
    match: matchArgument('arg_min'),
  },
  {
    name: 'Softmax',
    attributes: ['axis'],
    infer: same,
    match: matchSoftmax('softmax'),
  },
  { name: 'LogSoftmax', attributes: ['axis'], infer: same, match: matchSoftmax('log_softmax') },
];
