/** Attention that is spelt out, as nodes: from the Softmax back to queries and keys, and on to values. */
import { isFloat } from '../../data-types.ts';
import { type GraphNode, usesOf } from '../../ir/graph.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import { joined, keepsRows, type Leading, leadingOf, namesOfAdded, numberOf, type Scores, scoresOf } from './scores.ts';
import { isViewNode, type ViewNode } from './view.ts';

/** What an operand of attention is made of, from `base` on. */
export interface Operand {
  readonly base: string;
  /** In the order in which they work. Numbers scale. */
  readonly nodes: readonly (ViewNode & { readonly node: GraphNode; readonly scale?: number | undefined })[];
}

export interface Found {
  readonly scores: Scores;
  readonly softmax: GraphNode;
  /** From the Softmax on, the last one the product with v. */
  readonly weights: readonly GraphNode[];
  /** From the product of queries and keys to that with values, with sizes of scores that masks are made from. */
  readonly core: readonly GraphNode[];
  readonly tail: readonly ViewNode[];
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
}

/** @returns a reason if it is attention, but somebody else needs what lies inside */
export function findChain(matcher: Matcher, softmax: GraphNode): Found | string | undefined {
  const view = matcher.view(softmax);
  const [x = ''] = softmax.inputs;
  const rank = matcher.info(x)?.dims?.length;
  const axis = view.int('axis', view.version < 13 ? 1 : -1);
  if (rank === undefined || (axis !== -1 && axis !== rank - 1)) return undefined;
  const scores = scoresOf(matcher, x);
  const after = scores && weightsOf(matcher, softmax, scores.leading);
  if (!after) return undefined;
  const { nodes: weights, emptyBy } = after;
  const [only] = scores.added;
  const isEmpty = scores.added.length === 1 && only?.kind === 'bias' && only.name === emptyBy && only.factor === 1;
  if (emptyBy !== undefined && !isEmpty) return undefined;
  const product = weights.at(-1)!;
  const [queries = '', keys = ''] = scores.product.inputs;
  const operands = [
    operandOf(matcher, queries),
    operandOf(matcher, keys),
    operandOf(matcher, product.inputs[1]!, false),
  ];
  const core = withPaths(matcher, [...scores.nodes, ...weights]);
  const tail = tailOf(matcher, product.outputs[0]!);
  const closed = closedParts(matcher, core, operands, product, tail);
  if (!closed) return NEEDED;
  if (hasInside(matcher, core, namesOfAdded(scores.added))) return undefined;
  return { scores, softmax, weights, core, tail, ...closed };
}

export const byIndex = (a: GraphNode, b: GraphNode): number => a.index - b.index;
/** Operands that say how a movement goes. */
export const shapesOf = (nodes: readonly GraphNode[]): string[] =>
  nodes.flatMap((node) => node.inputs.slice(1)).filter((name) => name !== '');

/** Is one of the values made by one of the nodes? */
export function hasInside(matcher: Matcher, nodes: readonly GraphNode[], names: readonly string[]): boolean {
  return names.some((name) => nodes.includes(matcher.producer(name)!));
}

/** The nodes, with those that lie on paths between them. */
export function withPaths({ graph }: Matcher, nodes: readonly GraphNode[]): GraphNode[] {
  const inside = new Set(nodes);
  const first = Math.min(...nodes.map(({ index }) => index));
  const known = new Map<GraphNode, boolean>();
  const isAfter = (node: GraphNode): boolean => {
    if (inside.has(node)) return true;
    if (node.index < first) return false;
    let after = known.get(node);
    if (after === undefined) {
      after = [...usesOf(node)].some((name) => {
        const from = graph.producers.get(name);
        return from !== undefined && isAfter(from);
      });
      known.set(node, after);
    }
    return after;
  };
  const stack = [...nodes];
  while (stack.length > 0)
    for (const name of usesOf(stack.pop()!)) {
      const from = graph.producers.get(name);
      if (!from || inside.has(from) || !isAfter(from)) continue;
      inside.add(from);
      stack.push(from);
    }
  return [...inside].sort(byIndex);
}

const NEEDED = 'scores or weights of this attention are needed outside';

/** From the Softmax to the product with v. */
interface Weights {
  readonly nodes: readonly GraphNode[];
  /** Whose rows of nothing but −Infinity have no weights: they are 0 anyway, if this is all that is added to scores. */
  readonly emptyBy: string | undefined;
}

function weightsOf(matcher: Matcher, softmax: GraphNode, leading: Leading): Weights | undefined {
  const nodes = [softmax];
  let emptyBy: string | undefined;
  for (let name = softmax.outputs[0]!; nodes.length < 12; name = nodes.at(-1)!.outputs[0]!) {
    const consumers = matcher.graph.consumers.get(name) ?? [];
    // Who asks for NaN, or for the type, is no other consumer if its answer goes to the next node.
    const asides = consumers.filter(
      ({ opType, inputs }) => opType === 'IsNaN' || (opType === 'CastLike' && inputs[0] !== name),
    );
    const next = consumers.find((node) => !asides.includes(node));
    if (!next || consumers.length !== asides.length + 1 || next.domain !== '') return undefined;
    if (asides.some((node) => matcher.soleConsumer(node.outputs[0]!) !== next)) return undefined;
    if (next.opType === 'MatMul')
      return next.inputs[0] === name && asides.length === 0 ? { nodes: [...nodes, next], emptyBy } : undefined;
    if (next.opType === 'Where') {
      const [condition = '', other = '', weights = ''] = next.inputs;
      const test = asides.find(({ opType }) => opType === 'IsNaN');
      const empty = test ? undefined : emptyRowsOf(matcher, condition);
      if (weights !== name || numberOf(matcher, other) !== 0) return undefined;
      if (test ? test.outputs[0] !== condition : empty === undefined) return undefined;
      emptyBy ??= empty;
      nodes.push(...asides, next);
      continue;
    }
    if (asides.length > 0 || !isSame(matcher, next, name, leading)) return undefined;
    nodes.push(next);
  }
  return undefined;
}

/** Does a node hand weights on as they are? */
function isSame(matcher: Matcher, node: GraphNode, name: string, leading: Leading): boolean {
  const [y = '', ...others] = node.outputs;
  switch (node.opType) {
    case 'Identity':
      return true;
    case 'Dropout':
      return others.every((mask) => mask === '') && !isTraining(matcher, node);
    case 'Cast':
      return matcher.notFloat('x', y) === undefined;
    case 'Reshape':
      return (
        node.inputs[0] === name && keepsRows(matcher, name, y) && joined(leading, leadingOf(matcher, y)) !== 'others'
      );
    default:
      return false;
  }
}

/** The bias of which a condition says that the largest element of a row is −Infinity. */
function emptyRowsOf(matcher: Matcher, condition: string): string | undefined {
  const equal = matcher.producer(condition);
  if (equal?.opType !== 'Equal' || numberOf(matcher, equal.inputs[1]!) !== Number.NEGATIVE_INFINITY) return undefined;
  const most = matcher.producer(equal.inputs[0]!);
  if (most?.opType !== 'ReduceMax') return undefined;
  const axes = matcher.view(most).ints('axes') ?? matcher.info(most.inputs[1] ?? '')?.data;
  return axes?.length === 1 && axes[0] === -1 && matcher.view(most).int('keepdims', 1) === 1
    ? most.inputs[0]
    : undefined;
}

/** Dropout that does anything. */
function isTraining(matcher: Matcher, { inputs: [, , training = ''] }: GraphNode): boolean {
  return training !== '' && numberOf(matcher, training) !== 0;
}

/** Follows views and numbers that scale back to what they are views of. */
export function operandOf(matcher: Matcher, name: string, mayScale = true): Operand {
  const nodes: Operand['nodes'][number][] = [];
  let base = name;
  for (let node = matcher.producer(base); node && nodes.length < 12; node = matcher.producer(base)) {
    const scale = castOf(matcher, node) ?? (mayScale ? factorOf(matcher, node) : undefined);
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

/** From floats to floats: the device has one type for all of them. */
function castOf(matcher: Matcher, { domain, opType, inputs: [x = ''], outputs: [y = ''] }: GraphNode) {
  const isSameOfFloats =
    domain === '' && opType === 'Cast' && [x, y].every((name) => isFloat(matcher.info(name)?.elemType ?? 0));
  return isSameOfFloats ? { x, factor: 1 } : undefined;
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

/**
 * Cuts operands where somebody outside needs what a node makes. `undefined` if that is in the middle of the chain.
 *
 * @param shown values that others may need
 */
export function closedParts(
  matcher: Matcher,
  core: readonly GraphNode[],
  [q, k, v]: readonly Operand[],
  product: GraphNode,
  tail: readonly ViewNode[],
  shown: ReadonlySet<string> = new Set(),
): { readonly q: Operand; readonly k: Operand; readonly v: Operand } | undefined {
  const outputs = new Set(matcher.graph.outputs.map(({ name }) => name));
  const last = tail.at(-1)?.view.node ?? product;
  const parts: Operand[] = [q!, k!, v!];
  for (;;) {
    const inside = new Set<GraphNode>([...core, ...tail.map(({ view }) => view.node)]);
    for (const { nodes } of parts) for (const { node } of nodes) inside.add(node);
    const isOpen = (name: string): boolean =>
      !shown.has(name) &&
      (outputs.has(name) || (matcher.graph.consumers.get(name) ?? []).some((node) => !inside.has(node)));
    const open = [...inside].find((node) => node !== last && node.outputs.some(isOpen));
    if (!open) return { q: parts[0]!, k: parts[1]!, v: parts[2]! };
    if (!parts.some(({ nodes }) => nodes.some(({ node }) => node === open))) return undefined;
    for (const [i, { base, nodes }] of parts.entries()) {
      const at = nodes.findIndex(({ node }) => node === open);
      if (at >= 0) parts[i] = { base: open.outputs[nodes[at]!.output] ?? base, nodes: nodes.slice(at + 1) };
    }
  }
}

/** For the price. */
export function chainScores(matcher: Matcher, { softmax, scores }: Found): Match['scores'] {
  const dims = matcher.info(softmax.inputs[0]!)?.dims ?? [];
  const size = matcher.info(scores.product.inputs[0]!)?.dims?.at(-1);
  return {
    dims: [...new Array<number>(4 - dims.length).fill(1), ...dims],
    width: typeof size === 'number' ? 2 * size : 128,
  };
}
