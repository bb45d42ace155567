/** Operators that give a value another shape without moving an element, or make one of a shape. */

import { FLOAT32 } from '../data-types.ts';
import { countOf } from '../dims.ts';
import type { GraphNode } from '../ir/graph.ts';
import { type Info, isKnown, numberAmong, type Size, type Symbols } from '../ir/info.ts';
import { stored } from './host.ts';
import { axisOf, type NodeView, type Operator } from './operator.ts';
import { aliasMatch, axesOf } from './shape.ts';

type Inputs = readonly (Info | undefined)[];

/** The same elements under other dims. */
export function reshaped(info: Info, dims: readonly Size[] | undefined): Info {
  return { elemType: info.elemType, dims, data: info.data };
}

const UNKNOWN: Info = { elemType: 0, dims: undefined };

function reshape(node: NodeView, [x, wanted]: Inputs, symbols: Symbols): [Info] {
  const target = wanted ? wanted.data : node.ints('shape');
  if (!x || !target) {
    // How many sizes there are is known all the same.
    const rank = wanted?.dims?.[0];
    const dims = typeof rank === 'number' ? Array.from({ length: rank }, () => symbols.fresh(x?.dims)) : undefined;
    return [{ elemType: x?.elemType ?? 0, dims }];
  }
  const keepZero = node.int('allowzero', 0) !== 0;
  const dims: Size[] = [];
  let open = -1;
  for (const [i, size] of target.entries()) {
    if (size === -1) {
      if (open >= 0) node.fail('shape', 'one -1 at most', `[${target.join(', ')}]`);
      open = i;
    }
    if (size === 0 && !keepZero) {
      if (x.dims && i >= x.dims.length)
        node.fail('shape', `zeros in the first ${x.dims.length} places`, `[${target.join(', ')}]`);
      dims.push(x.dims?.[i] ?? symbols.fresh());
    } else dims.push(size);
  }
  if (open >= 0) dims[open] = x.dims ? missingSize(node, x.dims, dims.toSpliced(open, 1), symbols) : symbols.fresh();
  else if (x.dims && isEmptied(x.dims, dims, target)) return [reshaped(x, target)];
  else if (x.dims) checkCount(node, x.dims, dims);
  if (dims.some((dim) => typeof dim === 'number' && dim < 0))
    node.fail('shape', 'sizes of at least 0', `[${dims.join(', ')}]`);
  return [reshaped(x, dims)];
}

/** What is left of `from` once `rest` is taken: equal symbols cancel out. */
function missingSize(node: NodeView, from: readonly Size[], rest: readonly Size[], symbols: Symbols): Size {
  const above = from.flatMap(symbols.factors);
  const below: Size[] = [];
  for (const factor of rest.flatMap(symbols.factors)) {
    const at = typeof factor === 'string' ? above.indexOf(factor) : -1;
    if (at >= 0) above.splice(at, 1);
    else below.push(factor);
  }
  if (!isKnown(below)) return symbols.fresh(from);
  const divisor = countOf(below);
  const known = numberAmong(above);
  if (isKnown(above)) {
    if (divisor === 0 ? known !== 0 : known % divisor !== 0)
      node.fail('shape', `a size that divides [${from.join(', ')}]`, `[${rest.join(', ')}] and -1`);
    return divisor === 0 ? 0 : known / divisor;
  }
  // [batch, sequence, 8, 64] -> [batch, sequence, -1]: the known part is divided, the open part stays.
  if (divisor === 0 || known % divisor !== 0) return symbols.fresh(from);
  return symbols.product([...above.filter((size) => typeof size === 'string'), known / divisor]);
}

/** A size of 0 that was computed looks like one that is copied: of an empty value it means itself, if copied it would make elements. */
function isEmptied(from: readonly Size[], copied: readonly Size[], target: readonly Size[]): boolean {
  return isKnown(from) && countOf(from) === 0 && isKnown(copied) && countOf(copied) !== 0 && target.includes(0);
}

function checkCount(node: NodeView, from: readonly Size[], to: readonly Size[]): void {
  if (isKnown(from) && isKnown(to) && countOf(from) !== countOf(to))
    node.fail('shape', `${countOf(from)} elements like [${from.join(', ')}]`, `[${to.join(', ')}]`);
}

function squeeze(node: NodeView, [x, axesInput]: Inputs): [Info] {
  if (!x?.dims) return [{ ...UNKNOWN, elemType: x?.elemType ?? 0 }];
  const axes = axesOf(node, axesInput, 13);
  if (axes === undefined) return [reshaped(x, undefined)];
  const { dims } = x;
  if (axes === null) return [reshaped(x, isKnown(dims) ? dims.filter((dim) => dim !== 1) : undefined)];
  const gone = new Set(axes.map((axis) => axisOf(node, axis, dims.length)));
  for (const axis of gone)
    if (typeof dims[axis] === 'number' && dims[axis] !== 1)
      node.fail(`dimension ${axis}`, 'a size of 1', `${dims[axis]}`);
  return [
    reshaped(
      x,
      dims.filter((_, i) => !gone.has(i)),
    ),
  ];
}

function unsqueeze(node: NodeView, [x, axesInput]: Inputs): [Info] {
  const axes = axesOf(node, axesInput, 13);
  if (!x?.dims || !axes) return [{ ...UNKNOWN, elemType: x?.elemType ?? 0 }];
  const rank = x.dims.length + axes.length;
  const added = new Set(axes.map((axis) => axisOf(node, axis, rank)));
  if (added.size !== axes.length) node.fail('axes', 'different ones', `[${axes.join(', ')}]`);
  const rest = [...x.dims];
  return [
    reshaped(
      x,
      Array.from({ length: rank }, (_, i) => (added.has(i) ? 1 : rest.shift()!)),
    ),
  ];
}

function flatten(node: NodeView, [x]: Inputs, symbols: Symbols): [Info] {
  if (!x?.dims) return [{ ...UNKNOWN, elemType: x?.elemType ?? 0 }];
  const rank = x.dims.length;
  const axis = node.int('axis', 1);
  const at = axis < 0 ? axis + rank : axis;
  if (!(at >= 0 && at <= rank)) node.fail('axis', `0 to ${rank}`, `${axis}`);
  return [reshaped(x, [symbols.product(x.dims.slice(0, at)), symbols.product(x.dims.slice(at))])];
}

/** Elements that shape arithmetic makes out of nothing; beyond this the sizes are inputs gone wild. */
const MAX_MADE = 2 ** 24;

function constantOfShape(node: NodeView, [wanted]: Inputs): [Info] {
  const value = node.tensor('value') ?? { elemType: FLOAT32, dims: [1], data: [0] };
  const dims = wanted?.data;
  if (!isKnown(dims)) return [{ elemType: value.elemType, dims }];
  const count = checkMade(node, dims);
  const element = value.data?.[0];
  return [
    { elemType: value.elemType, dims, data: element === undefined ? undefined : new Array<Size>(count).fill(element) },
  ];
}

export function checkMade(node: NodeView, dims: readonly number[]): number {
  const count = countOf(dims);
  if (!(count <= MAX_MADE) || dims.some((dim) => dim < 0))
    node.fail('shape', `sizes of at least 0 and ${MAX_MADE} elements at most`, `[${dims.join(', ')}]`);
  return count;
}

function range(node: NodeView, [from, to, by]: Inputs, symbols: Symbols): [Info] {
  const elemType = from?.elemType ?? 0;
  const [start, limit, delta] = [from, to, by].map((info) => info?.data?.[0]);
  if (start === 0 && delta === 1 && typeof limit === 'string') return [{ elemType, dims: [limit] }];
  if (typeof start !== 'number' || typeof limit !== 'number' || typeof delta !== 'number') {
    const rest = start !== undefined && limit !== undefined && delta === 1 ? symbols.rest(limit, start) : undefined;
    if (rest !== undefined) return [{ elemType, dims: [rest] }];
    const ends = [start, limit].filter((end) => end !== undefined);
    return [{ elemType, dims: [symbols.fresh(ends)] }];
  }
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  checkMade(node, [count]);
  const data = new Array<number>(count);
  // Added up step by step, like ONNX Runtime: floats differ in the last place otherwise.
  for (let i = 0, value = start; i < count; i++, value = stored(value + delta, elemType)) data[i] = value;
  return [{ elemType, dims: [count], data }];
}

const afterX = (node: GraphNode): readonly string[] => node.inputs.slice(1);
const byNothing = (): readonly string[] => [];

export const reshapeOperators: readonly Operator[] = [
  {
    name: 'Reshape',
    attributes: ['allowzero', 'shape'],
    infer: reshape,
    host: true,
    sizedBy: [1],
    match: aliasMatch('reshape', reshape, afterX),
  },
  {
    name: 'Squeeze',
    attributes: ['axes'],
    infer: squeeze,
    host: true,
    sizedBy: [1],
    match: aliasMatch('reshape', squeeze, afterX),
  },
  {
    name: 'Unsqueeze',
    attributes: ['axes'],
    infer: unsqueeze,
    host: true,
    sizedBy: [1],
    match: aliasMatch('reshape', unsqueeze, afterX),
  },
  {
    name: 'Flatten',
    attributes: ['axis'],
    infer: flatten,
    host: true,
    match: aliasMatch('reshape', flatten, byNothing),
  },
  { name: 'ConstantOfShape', attributes: ['value'], infer: constantOfShape, host: true, sizedBy: [0] },
  { name: 'Range', infer: range, host: true, sizedBy: [0, 1, 2] },
];
