/** Operators about shapes: they make them, or give a value another one without moving an element. */

import { INT64 } from '../data-types.ts';
import { countOf } from '../dims.ts';
import { describeNode, type GraphNode } from '../ir/graph.ts';
import { type Info, isKnown, type Symbols } from '../ir/info.ts';
import { concrete, elements, type NodeView, type Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

function shape(node: NodeView, [x]: Inputs): [Info] {
  if (!x?.dims) return [{ elemType: INT64, dims: undefined }];
  const rank = x.dims.length;
  const from = clampAxis(node.int('start', 0), rank);
  const to = clampAxis(node.int('end', rank), rank);
  const data = x.dims.slice(from, Math.max(from, to));
  return [{ elemType: INT64, dims: [data.length], data }];
}

/** `start` and `end` of Shape, as in a slice. */
function clampAxis(axis: number, rank: number): number {
  return Math.min(Math.max(axis < 0 ? axis + rank : axis, 0), rank);
}

/** Axes of Squeeze, Unsqueeze and reductions: an attribute, from some version on an input. */
export function axesOf(
  node: NodeView,
  input: Info | undefined,
  inputSince: number,
): readonly number[] | undefined | null {
  if (node.version < inputSince) return node.ints('axes') ?? null;
  return input ? elements(input) : null;
}

/** Nothing may be open when a step is planned. */
export const NO_SYMBOLS: Symbols = {
  fresh: refuseOpen,
  sum: refuseOpen,
  rest: refuseOpen,
  product: (sizes) => (isKnown(sizes) ? countOf(sizes) : refuseOpen()),
  factors: (size) => [size],
};

function refuseOpen(): never {
  throw new RangeError('run: shapes, expected sizes that are known before a region runs, got an open one.');
}

/** Floats and bools on the device: the same bytes under other dims, or as another type of floats. */
export function aliasMatch(
  op: 'reshape' | 'cast',
  infer: Operator['infer'],
  shapedBy: (node: GraphNode) => readonly string[],
): NonNullable<Operator['match']> {
  return (view, matcher) => {
    const { node } = view;
    const [x = ''] = node.inputs;
    const [y = ''] = node.outputs;
    const refused = matcher.notMovable(x);
    if (refused !== undefined) return refused;
    const shapes = shapedBy(node).filter((name) => name !== '');
    if (!shapes.every((name) => matcher.isHostOperand(name))) return 'the shape is not at hand';
    return {
      op,
      place: 'device',
      nodes: [node],
      inputs: [x, ...shapes],
      outputs: [y],
      shapedBy: shapes,
      resources: matcher.constants([x]),
      lower(to) {
        const [info] = infer(
          view,
          node.inputs.map((name) => (name === x || shapes.includes(name) ? to.info(name) : undefined)),
          NO_SYMBOLS,
        );
        to.alias(y, to.slot(x), concrete(info, describeNode(node)).dims);
      },
    };
  };
}

const identity: Operator['infer'] = (_, [x]) => [x];
const byNothing = (): readonly string[] => [];

export const shapeOperators: readonly Operator[] = [
  { name: 'Shape', attributes: ['start', 'end'], infer: shape },
  {
    name: 'Size',
    infer: (_, [x], symbols) => [{ elemType: INT64, dims: [], data: x?.dims && [symbols.product(x.dims)] }],
  },
  { name: 'Identity', infer: identity, host: true, match: aliasMatch('reshape', identity, byNothing) },
];
