/** Operators that put elements somewhere else: every one is a strided copy, or several. */

import {
  type Copy,
  copyOnWasm as copy,
  concat as copyConcat,
  expand as copyExpand,
  pad as copyPad,
  slice as copySlice,
  split as copySplit,
  tile as copyTile,
  transpose as copyTranspose,
  type PadOptions,
} from '@msd/core/nn';
import { INT64 } from '../data-types.ts';
import { countOf, stridesOf } from '../dims.ts';
import { type Info, isKnown, type Size, type Symbols } from '../ir/info.ts';
import { pick, repeatStrides } from './host.ts';
import { emitOp } from './lowering.ts';
import { axisOf, broadcast, elements, type NodeView, type Operator } from './operator.ts';
import { checkMade } from './reshape.ts';

type Inputs = readonly (Info | undefined)[];

const open = (info: Info | undefined): Info => ({ elemType: info?.elemType ?? 0, dims: undefined });

/** Elements by strides, where they are known. */
function moved(
  x: Info,
  dims: readonly Size[],
  strides: (own: readonly number[]) => readonly number[],
  offset = 0,
): Info {
  const { elemType, data } = x;
  if (!data || !isKnown(dims) || !isKnown(x.dims)) return { elemType, dims };
  return { elemType, dims, data: pick(data, dims, strides(stridesOf(x.dims)), offset) };
}

export function permutationOf(node: NodeView, rank: number): readonly number[] {
  const perm = node.ints('perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  if (perm.length !== rank || new Set(perm.map((axis) => axisOf(node, axis, rank))).size !== rank)
    node.fail('perm', `an order of ${rank} dimensions`, `[${perm.join(', ')}]`);
  return perm;
}

function transpose(node: NodeView, [x]: Inputs): [Info] {
  if (!x?.dims) return [open(x)];
  const { dims } = x;
  const perm = permutationOf(node, dims.length);
  return [
    moved(
      x,
      perm.map((axis) => dims[axis]!),
      (own) => perm.map((axis) => own[axis]!),
    ),
  ];
}

/** Where a slice starts, how many it takes, and how far apart they are, per dimension. */
export interface Cut {
  readonly starts: readonly number[];
  readonly steps: readonly number[];
  readonly dims: readonly number[];
}

/** The cut of a Slice; `undefined` while something of it is open. */
export function sliceOf(node: NodeView, [x, s, e, a, p]: Inputs): Cut | undefined {
  const old = node.version < 10;
  const starts = old ? node.ints('starts') : elements(s);
  const ends = old ? node.ints('ends') : elements(e);
  if (!isKnown(x?.dims) || !starts || !ends) return undefined;
  const { dims } = x;
  const axes = old ? node.ints('axes') : a && elements(a);
  const steps = old ? undefined : p && elements(p);
  if ((!old && a && !axes) || (p && !old && !steps)) return undefined;
  const cut = { starts: dims.map(() => 0), steps: dims.map(() => 1), dims: dims.slice() as number[] };
  for (const [i, start] of starts.entries()) {
    const axis = axisOf(node, axes?.[i] ?? i, dims.length);
    const step = steps?.[i] ?? 1;
    const size = dims[axis]!;
    if (step === 0) node.fail('steps', 'none of 0', '0');
    const clamp = (at: number, low: number, high: number): number =>
      Math.min(Math.max(at < 0 ? at + size : at, low), high);
    const from = step > 0 ? clamp(start, 0, size) : clamp(start, 0, size - 1);
    const to = step > 0 ? clamp(ends[i]!, 0, size) : clamp(ends[i]!, -1, size - 1);
    cut.starts[axis] = from;
    cut.steps[axis] = step;
    cut.dims[axis] = Math.max(0, Math.ceil((to - from) / step));
  }
  return cut;
}

function slice(node: NodeView, inputs: Inputs, symbols: Symbols): [Info] {
  const [x, , , a] = inputs;
  if (!x?.dims) return [open(x)];
  const cut = sliceOf(node, inputs);
  if (cut) {
    const offset = isKnown(x.dims)
      ? cut.starts.reduce((sum, start, i) => sum + start * stridesOf(x.dims as number[])[i]!, 0)
      : 0;
    return [moved(x, cut.dims, (own) => own.map((stride, i) => stride * cut.steps[i]!), offset)];
  }
  // Only the sliced dimensions are open.
  const axes = node.version < 10 ? node.ints('axes') : a && elements(a);
  if (!axes) return [open(x)];
  const sliced = new Set(axes.map((axis) => axisOf(node, axis, x.dims!.length)));
  const left = (dim: Size, i: number): Size => openSlice(node, inputs, i, symbols) ?? symbols.fresh([dim]);
  return [{ elemType: x.elemType, dims: x.dims.map((dim, i) => (sliced.has(i) ? left(dim, i) : dim)) }];
}

/** What is left of a dimension between two ends that are sums of sizes: they are in it, or nothing would fit what follows. */
function openSlice(node: NodeView, [x, s, e, a, p]: Inputs, axis: number, symbols: Symbols): Size | undefined {
  const axes = a ? elements(a) : s?.data?.map((_, i) => i);
  const at = axes?.findIndex((each) => axisOf(node, each, x!.dims!.length) === axis) ?? -1;
  const [start, end, step] = [s?.data?.[at], e?.data?.[at], p ? p.data?.[at] : 1];
  if (node.version < 10 || start === undefined || end === undefined || step !== 1) return undefined;
  if ([start, end].some((each) => typeof each === 'number' && each < 0)) return undefined;
  return typeof end === 'string' ? symbols.rest(end, start) : undefined;
}

/**
 * Sizes of a Concat's parts. One that takes no place, or that holds nothing among others that hold nothing, may have any other sizes,
 * as in ONNX Runtime: it takes those of the first that holds something.
 */
function alike<T extends Size>(parts: readonly (readonly T[])[], axis: number): readonly (readonly T[])[] {
  const isEmpty = (dims: readonly Size[]): boolean => dims.includes(0);
  const first = parts.find((dims) => !isEmpty(dims));
  return parts.map((dims) => {
    const mayDiffer = dims.length === parts[0]!.length && (first ? dims[axis] === 0 : isEmpty(dims));
    return mayDiffer ? (first ?? parts[0]!).with(axis, dims[axis]!) : dims;
  });
}

function concat(node: NodeView, inputs: Inputs, symbols: Symbols): [Info] {
  const [first] = inputs;
  if (inputs.some((input) => !input?.dims)) return [open(first)];
  const rank = first!.dims!.length;
  const axis = axisOf(node, node.int('axis', 0), rank);
  const parts = alike(
    inputs.map((input) => input!.dims!),
    axis,
  );
  let size: Size = 0;
  for (const dims of parts) {
    if (dims.length !== rank) node.fail('operands', `${rank} dimensions each`, `[${dims.join(', ')}]`);
    const part = dims[axis]!;
    size = typeof size === 'number' && typeof part === 'number' ? size + part : symbols.sum(size, part);
  }
  const dims = parts[0]!.map((dim, i) => {
    if (i === axis) return size;
    const sizes = parts.map((part) => part[i]!);
    const known = sizes.filter((each) => typeof each === 'number');
    if (known.some((each) => each !== known[0])) node.fail(`dimension ${i}`, 'equal sizes', sizes.join(' and '));
    return known[0] ?? dim;
  });
  const { elemType } = first!;
  const held = inputs.map((input) => input!.data);
  if (!isKnown(dims) || !parts.every(isKnown) || !held.every((each) => each !== undefined)) return [{ elemType, dims }];
  const outer = countOf(dims.slice(0, axis) as number[]);
  const data: Size[] = [];
  for (let i = 0; i < outer; i++)
    for (const part of held) {
      const chunk = part.length / outer;
      data.push(...part.slice(i * chunk, (i + 1) * chunk));
    }
  return [{ elemType, dims, data }];
}

/** Sizes of the parts of a Split. */
function splitSizes(node: NodeView, size: Size, sizes: Info | undefined, parts: number): readonly Size[] | undefined {
  const given = node.version < 13 ? node.ints('split') : sizes && elements(sizes);
  // No sizes at all are equal ones, as in ONNX Runtime.
  if (given && given.length > 0) {
    const sum = given.reduce((total, part) => total + part, 0);
    if (given.length !== parts || given.some((part) => part < 0) || (typeof size === 'number' && sum !== size))
      node.fail('split', `${parts} sizes that make up ${size}`, `[${given.join(', ')}]`);
    return given;
  }
  if ((node.version >= 13 && sizes && !given) || typeof size !== 'number') return undefined;
  const part = Math.ceil(size / parts);
  return Array.from({ length: parts }, (_, i) => Math.max(0, Math.min(part, size - i * part)));
}

function split(node: NodeView, [x, sizes]: Inputs, symbols: Symbols): readonly Info[] {
  const parts = node.node.outputs.length;
  if (!x?.dims) return Array.from({ length: parts }, () => open(x));
  const axis = axisOf(node, node.int('axis', 0), x.dims.length);
  const each =
    splitSizes(node, x.dims[axis]!, sizes, parts) ??
    Array.from({ length: parts }, () => symbols.fresh([x.dims![axis]!]));
  let start = 0;
  return each.map((size) => {
    const dims = x.dims!.toSpliced(axis, 1, size);
    const offset = isKnown(x.dims) ? start * stridesOf(x.dims)[axis]! : 0;
    if (typeof size === 'number') start += size;
    return moved(x, dims, (own) => own, offset);
  });
}

function expand(node: NodeView, [x, wanted]: Inputs, symbols: Symbols): [Info] {
  if (!x?.dims || !wanted?.data) return [open(x)];
  const dims = broadcast(node, [x.dims, wanted.data], symbols)!;
  if (isKnown(dims) && x.data) checkMade(node, dims);
  return [moved(x, dims, () => repeatStrides(x.dims as number[], dims as number[]))];
}

function tile(node: NodeView, [x, wanted]: Inputs, symbols: Symbols): [Info] {
  const times = elements(wanted);
  if (!x?.dims || !times) return [open(x)];
  if (times.length !== x.dims.length || times.some((count) => count < 0))
    node.fail('repeats', `${x.dims.length} counts`, `[${times.join(', ')}]`);
  const dims = x.dims.map((dim, i) =>
    times[i] === 1 ? dim : typeof dim === 'number' ? dim * times[i]! : symbols.fresh([dim]),
  );
  return [{ elemType: x.elemType, dims }];
}

function pad(node: NodeView, [x, p, , a]: Inputs, symbols: Symbols): [Info] {
  const pads = node.version < 11 ? node.ints('pads') : elements(p);
  if (!x?.dims || !pads || (a && !elements(a))) return [open(x)];
  const rank = x.dims.length;
  const axes = (a && elements(a)) ?? Array.from({ length: rank }, (_, i) => i);
  if (pads.length !== 2 * axes.length) node.fail('pads', `${2 * axes.length} sizes`, `[${pads.join(', ')}]`);
  const dims = [...x.dims];
  for (const [i, axis] of axes.entries()) {
    const added = pads[i]! + pads[i + axes.length]!;
    const at = axisOf(node, axis, rank);
    const dim = dims[at]!;
    if (added !== 0) dims[at] = typeof dim === 'number' ? dim + added : symbols.fresh([dim]);
  }
  return [{ elemType: x.elemType, dims }];
}

/** How a movement becomes copies, once all sizes are known. `elementsOf` gives the elements of an operand by its position. */
type Layout = (
  view: NodeView,
  shapes: readonly (readonly number[])[],
  elementsOf: (operand: number) => readonly number[] | undefined,
) => Copy;

/**
 * @param data how many operands are moved; all others say how. Absent: every one is moved.
 */
function matchMovement(layout: Layout, data?: number): Operator['match'] {
  return (view, matcher) => {
    const { node } = view;
    const moved = node.inputs.slice(0, data);
    const others = node.inputs.slice(moved.length);
    for (const name of moved) {
      const refused = matcher.notMovable(name);
      if (refused !== undefined) return refused;
    }
    if (!others.every((name) => name === '' || matcher.isHostOperand(name))) return 'where to is not at hand';
    const shapedBy = others.filter((name) => name !== '');
    return {
      op: 'copy',
      place: 'device',
      nodes: [node],
      inputs: [...moved, ...shapedBy],
      outputs: node.outputs,
      shapedBy,
      resources: matcher.constants(moved),
      lower(to) {
        const slots = moved.map((name) => to.slot(name));
        const elementsOf = (operand: number) => {
          const name = node.inputs[operand] ?? '';
          return name === '' ? undefined : to.info(name).data;
        };
        emitOp(
          to,
          copy,
          layout(
            view,
            slots.map(({ dims }) => dims),
            elementsOf,
          ),
          slots,
          node.outputs,
        );
      },
    };
  };
}

const transposeLayout: Layout = (view, [dims]) => copyTranspose(dims!, permutationOf(view, dims!.length));

const concatLayout: Layout = (view, shapes) => {
  const axis = axisOf(view, view.int('axis', 0), shapes[0]!.length);
  return copyConcat(alike(shapes, axis), axis);
};

const sliceLayout: Layout = (view, [dims], at) => {
  const old = view.version < 10;
  const [starts, ends] = old ? [view.ints('starts'), view.ints('ends')] : [at(1), at(2)];
  const axes = old ? view.ints('axes') : at(3);
  return copySlice(dims!, { starts: starts!, ends: ends!, axes, steps: old ? undefined : at(4) });
};

const splitLayout: Layout = (view, [dims], at) => {
  const axis = axisOf(view, view.int('axis', 0), dims!.length);
  const data = at(1);
  const sizes = data && { elemType: INT64, dims: [data.length], data };
  const each = splitSizes(view, dims![axis]!, sizes, view.node.outputs.length);
  return copySplit(dims!, axis, each as readonly number[]);
};

const padLayout: Layout = (view, [dims], at) => {
  const pads = view.version < 11 ? view.ints('pads') : at(1);
  const mode = view.string('mode', 'constant') as NonNullable<PadOptions['mode']>;
  const value = view.version < 11 ? view.float('value', 0) : (at(2)?.[0] ?? 0);
  const axes = (view.version < 11 ? undefined : at(3)) ?? dims!.map((_, i) => i);
  const before = dims!.map(() => 0);
  const after = dims!.map(() => 0);
  for (const [i, axis] of axes.entries()) {
    const d = axisOf(view, axis, dims!.length);
    before[d] = pads![i]!;
    after[d] = pads![i + axes.length]!;
  }
  return copyPad(dims!, { before, after, mode, value });
};

export const movementOperators: readonly Operator[] = [
  { name: 'Transpose', attributes: ['perm'], infer: transpose, host: true, match: matchMovement(transposeLayout, 1) },
  {
    name: 'Slice',
    attributes: ['starts', 'ends', 'axes'],
    infer: slice,
    host: true,
    sizedBy: [1, 2, 3, 4],
    match: matchMovement(sliceLayout, 1),
  },
  { name: 'Concat', attributes: ['axis'], infer: concat, host: true, match: matchMovement(concatLayout) },
  {
    name: 'Split',
    attributes: ['axis', 'split', 'num_outputs'],
    infer: split,
    host: true,
    sizedBy: [1],
    match: matchMovement(splitLayout, 1),
  },
  {
    name: 'Expand',
    infer: expand,
    host: true,
    sizedBy: [1],
    match: matchMovement((_, [dims], at) => copyExpand(dims!, at(1)!), 1),
  },
  { name: 'Tile', infer: tile, sizedBy: [1], match: matchMovement((_, [dims], at) => copyTile(dims!, at(1)!), 1) },
  {
    name: 'Pad',
    attributes: ['pads', 'mode', 'value'],
    infer: pad,
    sizedBy: [1, 3],
    match: matchMovement(padLayout, 1),
  },
];
