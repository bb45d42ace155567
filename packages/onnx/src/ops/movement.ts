/** Operators that put elements somewhere else: every one is a strided copy, or several. */
import { type Info, isKnown, type Size, type Symbols } from '../ir/info.ts';
import { countOf, pick, repeatStrides, stridesOf } from './host.ts';
import { axisOf, broadcast, elements, type NodeView, type Operator } from './operator.ts';
import { checkMade } from './shape.ts';

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
  return [{ elemType: x.elemType, dims: x.dims.map((dim, i) => (sliced.has(i) ? symbols.fresh() : dim)) }];
}

function concat(node: NodeView, inputs: Inputs, symbols: Symbols): [Info] {
  const [first] = inputs;
  if (inputs.some((input) => !input?.dims)) return [open(first)];
  const parts = inputs as readonly (Info & { dims: readonly Size[] })[];
  const rank = first!.dims!.length;
  const axis = axisOf(node, node.int('axis', 0), rank);
  let size: Size = 0;
  for (const { dims } of parts) {
    if (dims.length !== rank) node.fail('operands', `${rank} dimensions each`, `[${dims.join(', ')}]`);
    const part = dims[axis]!;
    size =
      size === 0
        ? part
        : typeof size === 'number' && typeof part === 'number'
          ? size + part
          : part === 0
            ? size
            : symbols.fresh();
  }
  const dims = first!.dims!.map((dim, i) => {
    if (i === axis) return size;
    const sizes = parts.map((part) => part.dims[i]!);
    const known = sizes.filter((each) => typeof each === 'number');
    if (known.some((each) => each !== known[0])) node.fail(`dimension ${i}`, 'equal sizes', sizes.join(' and '));
    return known[0] ?? dim;
  });
  const { elemType } = first!;
  if (!isKnown(dims) || parts.some((part) => !part.data || !isKnown(part.dims))) return [{ elemType, dims }];
  const outer = countOf(dims.slice(0, axis) as number[]);
  const data: Size[] = [];
  for (let i = 0; i < outer; i++)
    for (const part of parts) {
      const chunk = part.data!.length / outer;
      data.push(...part.data!.slice(i * chunk, (i + 1) * chunk));
    }
  return [{ elemType, dims, data }];
}

/** Sizes of the parts of a Split. */
export function splitSizes(
  node: NodeView,
  size: Size,
  sizes: Info | undefined,
  parts: number,
): readonly Size[] | undefined {
  const given = node.version < 13 ? node.ints('split') : sizes && elements(sizes);
  if (given) {
    const sum = given.reduce((total, part) => total + part, 0);
    if (given.length !== parts || given.some((part) => part < 0) || (typeof size === 'number' && sum !== size))
      node.fail('split', `${parts} sizes that make up ${size}`, `[${given.join(', ')}]`);
    return given;
  }
  if ((node.version >= 13 && sizes) || typeof size !== 'number') return undefined;
  const part = Math.ceil(size / parts);
  return Array.from({ length: parts }, (_, i) => Math.max(0, Math.min(part, size - i * part)));
}

function split(node: NodeView, [x, sizes]: Inputs, symbols: Symbols): readonly Info[] {
  const parts = node.node.outputs.length;
  if (!x?.dims) return Array.from({ length: parts }, () => open(x));
  const axis = axisOf(node, node.int('axis', 0), x.dims.length);
  const each = splitSizes(node, x.dims[axis]!, sizes, parts) ?? Array.from({ length: parts }, () => symbols.fresh());
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
    times[i] === 1 ? dim : typeof dim === 'number' ? dim * times[i]! : symbols.fresh(),
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
    if (added !== 0) dims[at] = typeof dim === 'number' ? dim + added : symbols.fresh();
  }
  return [{ elemType: x.elemType, dims }];
}

export const movementOperators: readonly Operator[] = [
  { name: 'Transpose', attributes: ['perm'], infer: transpose, host: true },
  { name: 'Slice', attributes: ['starts', 'ends', 'axes'], infer: slice, host: true, sizedBy: [1, 2, 3, 4] },
  { name: 'Concat', attributes: ['axis'], infer: concat, host: true },
  { name: 'Split', attributes: ['axis', 'split', 'num_outputs'], infer: split, host: true, sizedBy: [1] },
  { name: 'Expand', infer: expand, host: true, sizedBy: [1] },
  { name: 'Tile', infer: tile, sizedBy: [1] },
  { name: 'Pad', attributes: ['pads', 'mode', 'value'], infer: pad, sizedBy: [1, 3] },
];
