/**
 * Attention that is spelt out, found from its Softmax by structure:
 *
 *   q · kᵀ → scale, cap, biases, masks (scores.ts) → Softmax → (NaN of empty rows away) → · v
 *
 * with whatever splits heads, repeats or joins them around it (view.ts). Such nodes belong to the match if nobody else needs
 * what they make.
 */
import { elementwise } from '@msd/core/nn';
import type { GraphNode } from '../../ir/graph.ts';
import type { Matcher } from '../../passes/match.ts';
import { Expression } from '../elementwise.ts';
import { emitOp, type Lowering, type Slot } from '../lowering.ts';
import type { Pattern } from '../operator.ts';
import { emitAttention, emitFunction, type Heads } from './facts.ts';
import { type Added, keepsRows, numberOf, type Scores, scoresOf } from './scores.ts';
import {
  dense,
  type Factor,
  isDense,
  isViewNode,
  regrouped,
  repeated,
  single,
  sizesOf,
  strided,
  through,
  type View,
  type ViewNode,
  viewOf,
} from './view.ts';

/** Scores that a filter takes away become this: what they were is lost in its last place. */
const FILTERED = -1e30;

/** What an operand of attention is made of, from `base` on. */
interface Operand {
  readonly base: string;
  /** In the order in which they work. Numbers scale. */
  readonly nodes: readonly (ViewNode & { readonly node: GraphNode; readonly scale?: number | undefined })[];
}

interface Found {
  readonly scores: Scores;
  readonly softmax: GraphNode;
  /** From the Softmax on, the last one the product with v. */
  readonly weights: readonly GraphNode[];
  readonly tail: readonly ViewNode[];
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
}

const softmaxChain: Pattern = (matcher, softmax) => {
  const found = find(matcher, softmax);
  if (!found) return undefined;
  const { scores, q, k, v } = found;
  const bases = [q.base, k.base, v.base];
  const added = scores.added.map(({ name }) => name);
  const isFine =
    bases.every((name) => matcher.notFloat('x', name) === undefined) &&
    scores.added.every(({ kind, name }) => kind === 'filter' || matcher.notFloat('bias', name) === undefined);
  if (!isFine) return undefined;
  const views = [q, k, v].flatMap(({ nodes }) => nodes.map(({ node }) => node));
  const tail = found.tail.map(({ view }) => view.node);
  const nodes = [...new Set([...views, ...scores.nodes, ...found.weights, ...tail])].sort((a, b) => a.index - b.index);
  const shapes = [...views, ...tail].flatMap((node) => node.inputs.slice(1)).filter((name) => name !== '');
  const outputs = [nodes.at(-1)!.outputs[0]!];
  const operands = [...bases, ...added];
  return {
    op: 'attention',
    place: 'device',
    nodes,
    inputs: [...operands, ...shapes],
    outputs,
    shapedBy: shapes,
    resources: matcher.constants(operands),
    lower: (to) => lower(to, found, outputs[0]!),
  };
};

function find(matcher: Matcher, softmax: GraphNode): Found | undefined {
  const view = matcher.view(softmax);
  const [x = ''] = softmax.inputs;
  const rank = matcher.info(x)?.dims?.length;
  const axis = view.int('axis', view.version < 13 ? 1 : -1);
  if (rank === undefined || (axis !== -1 && axis !== rank - 1)) return undefined;
  const scores = scoresOf(matcher, x);
  const weights = weightsOf(matcher, softmax);
  if (!scores || !weights) return undefined;
  const product = weights.at(-1)!;
  const [queries = '', keys = ''] = scores.product.inputs;
  const operands = [
    operandOf(matcher, queries),
    operandOf(matcher, keys),
    operandOf(matcher, product.inputs[1]!, false),
  ];
  const core = [...scores.nodes, ...weights];
  const tail = tailOf(matcher, product.outputs[0]!);
  const closed = closedParts(matcher, core, operands, tail);
  return closed && { scores, softmax, weights, tail, ...closed };
}

/** From the Softmax on to the product with v, all of them needed by the next one alone. */
function weightsOf(matcher: Matcher, softmax: GraphNode): GraphNode[] | undefined {
  const nodes = [softmax];
  for (let name = softmax.outputs[0]!; nodes.length < 8; name = nodes.at(-1)!.outputs[0]!) {
    const consumers = matcher.graph.consumers.get(name) ?? [];
    const test = consumers.find(({ opType }) => opType === 'IsNaN');
    const next = consumers.find((node) => node !== test);
    if (!next || consumers.length !== (test ? 2 : 1) || next.domain !== '') return undefined;
    if (next.opType === 'MatMul') return !test && next.inputs[0] === name ? [...nodes, next] : undefined;
    if (next.opType === 'Where') {
      // What an empty row gives is 0 here anyway.
      const [condition = '', other = '', weights = ''] = next.inputs;
      const isNaNs = test !== undefined && test.outputs[0] === condition && matcher.soleConsumer(condition) === next;
      if (!isNaNs || weights !== name || numberOf(matcher, other) !== 0) return undefined;
      nodes.push(test, next);
      continue;
    }
    const isSame =
      next.opType === 'Identity' ||
      (next.opType === 'Dropout' && next.outputs.slice(1).every((mask) => mask === '') && !isTraining(matcher, next)) ||
      (next.opType === 'Cast' && matcher.notFloat('x', next.outputs[0]!) === undefined) ||
      (next.opType === 'Reshape' && next.inputs[0] === name && keepsRows(matcher, name, next.outputs[0]!));
    if (test || !isSame) return undefined;
    nodes.push(next);
  }
  return undefined;
}

/** Dropout that does anything. */
function isTraining(matcher: Matcher, { inputs: [, , training = ''] }: GraphNode): boolean {
  return training !== '' && numberOf(matcher, training) !== 0;
}

/** Follows views and numbers that scale back to what they are views of. */
function operandOf(matcher: Matcher, name: string, mayScale = true): Operand {
  const nodes: Operand['nodes'][number][] = [];
  let base = name;
  for (let node = matcher.producer(base); node && nodes.length < 12; node = matcher.producer(base)) {
    const scale = mayScale ? factorOf(matcher, node) : undefined;
    const isView = isViewNode(node) && node.inputs.slice(1).every((each) => each === '' || matcher.isHostOperand(each));
    if (scale === undefined && !isView) break;
    const isGather = node.opType === 'Gather';
    const indices = isGather ? matcher.info(node.inputs[1]!)?.data : undefined;
    if (isGather && (indices?.length !== 1 || matcher.isConstant(node.inputs[0]!))) break;
    const output = node.outputs.indexOf(base);
    nodes.unshift({ view: matcher.view(node), node, output, scale: scale?.factor });
    base = scale ? scale.x : node.inputs[0]!;
  }
  return { base, nodes };
}

function factorOf(
  matcher: Matcher,
  { domain, opType, inputs: [a = '', b = ''] }: GraphNode,
): { readonly x: string; readonly factor: number } | undefined {
  if (domain !== '' || (opType !== 'Mul' && opType !== 'Div')) return undefined;
  const right = numberOf(matcher, b);
  if (right !== undefined) return { x: a, factor: opType === 'Div' ? 1 / right : right };
  const left = opType === 'Mul' ? numberOf(matcher, a) : undefined;
  return left === undefined ? undefined : { x: b, factor: left };
}

/** Joins heads: movements that follow, each the only one. */
function tailOf(matcher: Matcher, name: string): ViewNode[] {
  const tail: ViewNode[] = [];
  for (let at = name; tail.length < 4; ) {
    const node = matcher.soleConsumer(at);
    const moves = node && ['Transpose', 'Reshape', 'Squeeze', 'Identity'].includes(node.opType) && node.domain === '';
    if (!moves || node.inputs[0] !== at || !node.inputs.slice(1).every((each) => matcher.isHostOperand(each))) break;
    tail.push({ view: matcher.view(node), output: 0 });
    at = node.outputs[0]!;
  }
  return tail;
}

/** Cuts operands where somebody outside needs what a node makes. `undefined` if that is in the middle of the chain. */
function closedParts(
  matcher: Matcher,
  core: readonly GraphNode[],
  [q, k, v]: readonly Operand[],
  tail: readonly ViewNode[],
): { readonly q: Operand; readonly k: Operand; readonly v: Operand } | undefined {
  const outputs = new Set(matcher.graph.outputs.map(({ name }) => name));
  const last = tail.at(-1)?.view.node ?? core.at(-1)!;
  const parts: Operand[] = [q!, k!, v!];
  for (;;) {
    const inside = new Set<GraphNode>([...core, ...tail.map(({ view }) => view.node)]);
    for (const { nodes } of parts) for (const { node } of nodes) inside.add(node);
    const isOpen = (name: string): boolean =>
      outputs.has(name) || (matcher.graph.consumers.get(name) ?? []).some((node) => !inside.has(node));
    const open = [...inside].find((node) => node !== last && node.outputs.some(isOpen));
    if (!open) return { q: parts[0]!, k: parts[1]!, v: parts[2]! };
    if (!parts.some(({ nodes }) => nodes.some(({ node }) => node === open))) return undefined;
    for (const [i, { base, nodes }] of parts.entries()) {
      const at = nodes.findIndex(({ node }) => node === open);
      if (at >= 0) parts[i] = { base: open.outputs[nodes[at]!.output] ?? base, nodes: nodes.slice(at + 1) };
    }
  }
}

function lower(to: Lowering, { scores, q, k, v, tail }: Found, name: string): void {
  let scale = scores.scale;
  const operand = ({ base, nodes }: Operand): View => {
    let view = viewOf(to.slot(base));
    for (const each of nodes)
      if (each.scale === undefined) view = through(to, view, each);
      else scale *= each.scale;
    return view;
  };
  const [queries, keys, values] = [operand(q), transposed(operand(k)), operand(v)];
  const added = scores.added.map((each) => addedSlot(to, each));
  const isFlat = queries.axes.length === 3;
  const [batch, heads] = batchAndHeads([queries, keys, values], added);
  const four = (view: View): View => fourAxes(to, view, batch);
  const [qs, ks, vs] = [
    repeated(four(queries), [batch, heads, ...sizesOf(queries).slice(-2)]),
    four(keys),
    four(values),
  ];
  const [rows, headSize] = sizesOf(qs).slice(2) as [number, number];
  const [count, valueSize] = sizesOf(vs).slice(2) as [number, number];
  const shape = [batch, heads, rows, count] as const;
  const kv = keyHeads(to, [ks, vs], batch, heads);
  const masks = added.filter(({ dtype }) => dtype === 'bool').map((slot) => overHeads(slot, shape));
  const y = emitAttention(
    to,
    {
      batch,
      rows,
      keys: count,
      heads,
      kvHeads: kv.heads,
      headSize,
      valueSize,
      scale,
      softcap: scores.softcap,
      q: headsOf(to, qs),
      k: kv.k,
      v: kv.v,
      biases: added.filter(({ dtype }) => dtype === 'f32').map((slot) => overHeads(slot, shape)),
      mask: masks.length > 1 ? masks.reduce((a, b) => emitFunction(to, 'And', [a, b])) : masks[0],
    },
    '',
    joinsRows(to, tail, isFlat, [batch, heads, rows, valueSize]) ? 'rows' : 'heads',
  );
  const own = y.dims.length === 3 ? rowsView(y, [batch, heads, rows, valueSize]) : viewOf(y);
  let view = isFlat ? { ...own, axes: [[...own.axes[0]!, ...own.axes[1]!], own.axes[2]!, own.axes[3]!] } : own;
  for (const each of tail) view = through(to, view, each);
  if (!isDense(view)) view = dense(to, view);
  to.alias(name, view.slot, sizesOf(view));
}

/** [batch, heads, rows, size] as it lies in [batch, rows, heads · size]. */
function rowsView(slot: Slot, [batch, heads, rows, size]: readonly [number, number, number, number]): View {
  const strides = [rows * heads * size, size, heads * size, 1];
  return { slot, offset: 0, axes: [batch, heads, rows, size].map((each, i) => [{ size: each, stride: strides[i]! }]) };
}

/** Is the result dense if heads lie side by side in rows? */
function joinsRows(
  to: Lowering,
  tail: readonly ViewNode[],
  isFlat: boolean,
  dims: readonly [number, number, number, number],
): boolean {
  const own = rowsView({ dtype: 'f32', dims: [] } as unknown as Slot, dims);
  let view: View | undefined = isFlat
    ? { ...own, axes: [[...own.axes[0]!, ...own.axes[1]!], own.axes[2]!, own.axes[3]!] }
    : own;
  for (const each of tail) view = view && strided(to, view, each);
  return view !== undefined && isDense(view);
}

const transposed = (view: View): View => ({
  ...view,
  axes: [...view.axes.slice(0, -2), view.axes.at(-1)!, view.axes.at(-2)!],
});

/** Sizes that all operands repeat to. Of three dimensions the first is batch and heads: what is added says how many of them. */
function batchAndHeads(views: readonly View[], added: readonly Slot[]): readonly [batch: number, heads: number] {
  const leading = (dims: readonly number[], from: number): number => (dims.length >= from ? dims.at(-from)! : 1);
  const sizes = views.map(sizesOf);
  const all = [...sizes, ...added.map(({ dims }) => dims)].filter(({ length }) => length === 4);
  const batch = Math.max(1, ...all.map((dims) => leading(dims, 4)));
  const flat = sizes.filter(({ length }) => length === 3).map((dims) => leading(dims, 3) / batch);
  const heads = Math.max(1, ...all.map((dims) => leading(dims, 3)), ...flat);
  return [batch, heads];
}

/** [batch, heads, rows, size]; a size of 1 is repeated. */
function fourAxes(to: Lowering, view: View, batch: number): View {
  const sizes = sizesOf(view);
  if (sizes.length === 3) {
    const [flat, rows, size] = view.axes as readonly [View['axes'][number], View['axes'][number], View['axes'][number]];
    if (sizes[0] === 1) return { ...view, axes: [[{ size: batch, stride: 0 }], flat, rows, size] };
    const split = regrouped([flat], [batch, sizes[0]! / batch]);
    if (!split) return fourAxes(to, dense(to, view), batch);
    return { ...view, axes: [split[0]!, split[1]!, rows, size] };
  }
  return sizes[0] === batch ? view : repeated(view, [batch, ...sizes.slice(1)]);
}

/** Keys and values, with as few heads as both have. */
function keyHeads(
  to: Lowering,
  views: readonly [View, View],
  batch: number,
  heads: number,
): { readonly heads: number; readonly k: Heads; readonly v: Heads } {
  const [a, b] = views.map(({ axes }) => sharedHeads(axes[1]!));
  const count = a && b && a.size === b.size ? a.size : undefined;
  if (count !== undefined && heads % count === 0) {
    const [k, v] = views.map((view, i) => headsOf(to, { ...view, axes: view.axes.with(1, [[a!, b!][i]!]) })) as [
      Heads,
      Heads,
    ];
    return { heads: count, k, v };
  }
  const [k, v] = views.map((view) =>
    headsOf(to, dense(to, repeated(view, [batch, heads, ...sizesOf(view).slice(2)]))),
  ) as [Heads, Heads];
  return { heads, k, v };
}

/** Heads that differ; queries share each of them. */
function sharedHeads(axis: readonly Factor[]): Factor | undefined {
  const factors = axis.filter(({ size }) => size > 1);
  const own = factors.at(-1)?.stride === 0 ? factors.slice(0, -1) : factors;
  return own.length === 0 ? { size: 1, stride: 0 } : single(own);
}

/** Where heads lie. What has no such strides is copied. */
function headsOf(to: Lowering, view: View): Heads {
  const [batch, head, row, channel] = view.axes.map(single);
  const isFine = batch && head && row && channel && (channel.stride === 1 || channel.size === 1);
  if (!isFine) return headsOf(to, dense(to, view));
  return { slot: view.slot, begin: view.offset, strides: { batch: batch.stride, head: head.stride, row: row.stride } };
}

/** A bias or mask as it is added to all scores. */
function addedSlot(to: Lowering, added: Added): Slot {
  const slot = to.slot(added.name);
  const expression = new Expression(1);
  if (added.kind === 'bias') {
    if (added.factor === 1) return slot;
    expression.add('Mul', [0, expression.add('ConstantF32', [], [added.factor])]);
  } else if (added.isNever) {
    if (added.isSeen) return slot;
    expression.add('Not', [0]);
  } else {
    const [seen, filtered] = [0, FILTERED].map((value) => expression.add('ConstantF32', [], [value])) as [
      number,
      number,
    ];
    expression.add('Where', added.isSeen ? [0, seen, filtered] : [0, filtered, seen]);
  }
  return emitOp(to, elementwise, expression.op, [slot], [])[0]!;
}

/** One that is added to scores of three dimensions has batch and heads in one. */
function overHeads(slot: Slot, [batch, heads]: readonly [number, number, number, number]): Slot {
  const { dims } = slot;
  const isBoth = dims.length === 3 && batch > 1 && dims[0] === batch * heads;
  return isBoth ? { ...slot, dims: [batch, heads, dims[1]!, dims[2]!] } : slot;
}

export const attentionPatterns: Readonly<Record<string, Pattern>> = { Softmax: softmaxChain };
