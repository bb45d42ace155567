/** Reductions: what they make of shapes and whole numbers. On the device: reduce-device.ts. */
import type { ReduceKind } from '@msd/core/nn';
import { type Info, isKnown, type Size } from '../ir/info.ts';
import { reduceElements } from './host.ts';
import { fetched } from './late.ts';
import { axisOf, type NodeView, type Operator } from './operator.ts';
import { axesOf } from './shape.ts';

type Inputs = readonly (Info | undefined)[];

interface Reduction {
  /** On the device. */
  readonly kind: ReduceKind;
  /** Version from which the axes are an input. */
  readonly axesInput: number;
  readonly start?: number;
  readonly step?: (sum: number, value: number) => number;
}

const REDUCTIONS: Readonly<Record<string, Reduction>> = {
  ReduceSum: { kind: 'sum', axesInput: 13, start: 0, step: (sum, value) => sum + value },
  ReduceProd: { kind: 'prod', axesInput: 18, start: 1, step: (sum, value) => sum * value },
  ReduceMax: { kind: 'max', axesInput: 18, start: Number.NEGATIVE_INFINITY, step: Math.max },
  ReduceMin: { kind: 'min', axesInput: 18, start: Number.POSITIVE_INFINITY, step: Math.min },
  ReduceMean: { kind: 'mean', axesInput: 18 },
  ReduceL1: { kind: 'l1', axesInput: 18 },
  ReduceL2: { kind: 'l2', axesInput: 18 },
  ReduceSumSquare: { kind: 'sum_square', axesInput: 18 },
};

/** The axes that a reduction folds; none given means all of them, unless the node says none at all. */
function reducedAxes(
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
  const { kind, axesInput, start = 0, step } = REDUCTIONS[name]!;
  const infer = (node: NodeView, [x, a]: Inputs): [Info] => {
    const elemType = x?.elemType ?? 0;
    const axes = reducedAxes(node, x, a, axesInput);
    if (!x?.dims || !axes) return [{ elemType, dims: undefined }];
    const keeps = node.int('keepdims', 1) === 1;
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
    match: (view, matcher) => fetched('reductions')(kind, axesInput)(view, matcher),
  };
}

export const reduceOperators: readonly Operator[] = Object.keys(REDUCTIONS).map(reduction);
