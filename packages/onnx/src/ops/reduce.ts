/** Operators that fold rows: reductions, softmax, the position of the largest. */
import { INT64 } from '../data-types.ts';
import { type Info, isKnown, type Size } from '../ir/info.ts';
import { reduceElements } from './host.ts';
import { axisOf, type NodeView, type Operator } from './operator.ts';
import { axesOf } from './shape.ts';

type Inputs = readonly (Info | undefined)[];

interface Reduction {
  /** Version from which the axes are an input. */
  readonly axesInput: number;
  readonly start?: number;
  readonly step?: (sum: number, value: number) => number;
}

const REDUCTIONS: Readonly<Record<string, Reduction>> = {
  ReduceSum: { axesInput: 13, start: 0, step: (sum, value) => sum + value },
  ReduceProd: { axesInput: 18, start: 1, step: (sum, value) => sum * value },
  ReduceMax: { axesInput: 18, start: Number.NEGATIVE_INFINITY, step: Math.max },
  ReduceMin: { axesInput: 18, start: Number.POSITIVE_INFINITY, step: Math.min },
  ReduceMean: { axesInput: 18 },
  ReduceL2: { axesInput: 18 },
  ReduceSumSquare: { axesInput: 18 },
};

/** The axes that a reduction folds; none given means all of them, unless the node says none at all. */
export function reducedAxes(
  node: NodeView,
  x: Info | undefined,
  axesInput: Info | undefined,
  since: number,
): ReadonlySet<number> | undefined {
  if (!x?.dims) return undefined;
  const rank = x.dims.length;
  const axes = axesOf(node, axesInput, since);
  if (axes === undefined) return undefined;
  if (axes === null || axes.length === 0)
    return new Set(node.int('noop_with_empty_axes', 0) ? [] : Array.from({ length: rank }, (_, i) => i));
  return new Set(axes.map((axis) => axisOf(node, axis, rank)));
}

function reduction(name: string): Operator {
  const { axesInput, start = 0, step } = REDUCTIONS[name]!;
  const infer = (node: NodeView, [x, a]: Inputs): [Info] => {
    const elemType = x?.elemType ?? 0;
    const axes = reducedAxes(node, x, a, axesInput);
    if (!x?.dims || !axes) return [{ elemType, dims: undefined }];
    const keeps = node.int('keepdims', 1) !== 0;
    const dims: Size[] = x.dims.flatMap((dim, i) => (axes.has(i) ? (keeps ? [1] : []) : [dim]));
    const data =
      step && x.data && isKnown(x.dims) ? reduceElements(x.data, x.dims, axes, elemType, start, step) : undefined;
    return [{ elemType, dims, data }];
  };
  return {
    name,
    attributes: ['axes', 'keepdims', 'noop_with_empty_axes'],
    infer,
    host: step !== undefined,
    sizedBy: [1],
  };
}

function argument(node: NodeView, [x]: Inputs): [Info] {
  if (!x?.dims) return [{ elemType: INT64, dims: undefined }];
  const axis = axisOf(node, node.int('axis', 0), x.dims.length);
  const keeps = node.int('keepdims', 1) !== 0;
  return [{ elemType: INT64, dims: keeps ? x.dims.toSpliced(axis, 1, 1) : x.dims.toSpliced(axis, 1) }];
}

const same = (_: NodeView, [x]: Inputs): [Info | undefined] => [x && { elemType: x.elemType, dims: x.dims }];

export const reduceOperators: readonly Operator[] = [
  ...Object.keys(REDUCTIONS).map(reduction),
  { name: 'ArgMax', attributes: ['axis', 'keepdims', 'select_last_index'], infer: argument },
  { name: 'ArgMin', attributes: ['axis', 'keepdims', 'select_last_index'], infer: argument },
  { name: 'Softmax', attributes: ['axis'], infer: same },
  { name: 'LogSoftmax', attributes: ['axis'], infer: same },
];
