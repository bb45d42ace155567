/**
 * Attention that is spelt out, with a past: keys and values are a Concat of what is fed and what this run adds, and that Concat is
 * `present`. They lie in a cache then, and what every run makes anew, masks above all, is looked at in JavaScript.
 */
import type { ScoreArray } from '@msd/core';
import type { Graph, GraphNode } from '../../ir/graph.ts';
import type { Size } from '../../ir/info.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import type { AttentionNow, CacheRef, Elements, LateAttention } from '../lowering.ts';
import { axisOf } from '../operator.ts';
import { addBiases, biasArray } from './biases.ts';
import { FILTERED, lowerChain } from './chain-lower.ts';
import {
  byIndex,
  chainScores,
  closedParts,
  type Found,
  hasInside,
  type Operand,
  operandOf,
  shapesOf,
  withPaths,
} from './found.ts';
import { type Added, mostKeysOf, namesOfAdded } from './scores.ts';
import { isViewNode } from './view.ts';

/** Where keys or values of a cache come from, [batch, heads, positions, size] each. */
interface Joined {
  /** What makes `present`; `undefined`: nobody, for there is none. */
  readonly node: GraphNode | undefined;
  /** '' = none: this run begins. */
  readonly past: string;
  /** '' = none: keys that are fed, and stay as they are. */
  readonly added: string;
  /** '' = none. */
  readonly present: string;
  readonly heads: number;
  readonly size: number;
}

export function cachedChain(matcher: Matcher, found: Found): Match | undefined {
  const { scores } = found;
  const [keys, values] = [joinedOf(matcher, found.k, true), joinedOf(matcher, found.v, false)];
  if (!keys || !values || keys.heads !== values.heads) return undefined;
  const isAlike = (['past', 'added', 'present'] as const).every(
    (part) => (keys[part] === '') === (values[part] === ''),
  );
  if (!isAlike || (keys.node && keys.node === values.node)) return undefined;
  // What a query sees of keys that were there before is for masks to say.
  if (keys.added === '' && scores.added.some(({ kind }) => kind === 'causal')) return undefined;
  const tail = found.tail.map(({ view }) => view.node);
  const after = [...found.k.nodes, ...found.v.nodes].map(({ node }) => node);
  // Without a past, what makes `present` is the last movement of what is added.
  const joints = keys.past === '' ? [] : [keys.node, values.node].flatMap((node) => node ?? []);
  const core = withPaths(matcher, [...found.core, ...after, ...joints]);
  const product = found.weights.at(-1)!;
  const shown = new Set([keys.present, values.present]);
  // Queries anew: movements that they share with keys and values are inside now.
  const added = [
    operandOf(matcher, scores.product.inputs[0]!),
    operandOf(matcher, keys.added, false),
    operandOf(matcher, values.added, false),
  ];
  const closed = closedParts(matcher, core, added, product, found.tail, shown);
  if (!closed) return undefined;
  const own = [closed.q, closed.k, closed.v].flatMap(({ nodes }) => nodes.map(({ node }) => node));
  const nodes = [...new Set([...own, ...core, ...tail])].sort(byIndex);
  if ([keys.node, values.node].some((node) => node && !nodes.includes(node))) return undefined;
  const masks = namesOfAdded(scores.added);
  const isGiven = (name: string): boolean => name !== '';
  const news = [closed.q.base, closed.k.base, closed.v.base].filter(isGiven);
  // What is read as something else, too, is no past: a plan would have to know its sizes.
  const pasts = [keys.past, values.past].filter(isGiven);
  const others = new Set([...news, ...masks]);
  if (new Set(pasts).size < pasts.length || pasts.some((name) => others.has(name))) return undefined;
  const bases = [...news, ...pasts];
  if (bases.some((name) => matcher.notFloat('x', name) !== undefined)) return undefined;
  if (hasInside(matcher, nodes, [...bases, ...masks])) return undefined;
  const shapes = shapesOf([...own, ...tail]);
  const [y = ''] = (tail.at(-1) ?? product).outputs;
  const cache: CacheRef = {
    past: { key: keys.past, value: values.past },
    present: { key: keys.present, value: values.present },
    mostKeys: mostKeysOf(scores.added),
  };
  // Of a run that begins, masks have sizes that its plan knows.
  const isLate = keys.past !== '';
  if (!isLate && scores.added.some((each) => each.kind === 'bias' && matcher.notFloat('bias', each.name) !== undefined))
    return undefined;
  const heads = scores.leading?.[1];
  const late = isLate
    ? lateMasks(matcher.graph, scores.added, typeof heads === 'number' ? heads : undefined)
    : undefined;
  const past = {
    news: keys.added === '' ? undefined : { k: closed.k, v: closed.v },
    heads: keys.heads,
    headSize: keys.size,
    valueSize: values.size,
    cache,
    isLate,
    late,
  };
  return {
    op: 'attention',
    place: 'device',
    nodes,
    scores: chainScores(matcher, found),
    inputs: [...new Set([...bases, ...masks, ...shapes])],
    outputs: [y, keys.present, values.present],
    shapedBy: shapes,
    ...(isLate && { late: masks }),
    caches: [keys.past, values.past, keys.present, values.present].filter(isGiven),
    resources: matcher.constants(bases),
    lower: (to) => lowerChain(to, { ...found, q: closed.q }, y, past),
  };
}

/**
 * What lies behind keys or values [batch, heads, positions, size], if what follows it only repeats heads: a Concat of what is fed and
 * what this run makes, what is fed alone (the keys of an encoder, in later runs), or what this run makes and hands out (in the first).
 */
function joinedOf(matcher: Matcher, { base, nodes }: Operand, isTransposed: boolean): Joined | undefined {
  const { graph } = matcher;
  const views = nodes.filter(({ scale }) => scale === undefined).map((each) => each.node);
  const turn = isTransposed ? views.pop() : undefined;
  if (isTransposed && !(turn?.opType === 'Transpose' && isTurn(matcher.view(turn).ints('perm')))) return undefined;
  // Batch and heads in one, for products of three dimensions.
  const flat = rankOf(matcher, views.at(-1)) === 3 ? views.pop() : undefined;
  const isFed = (name: string): boolean => graph.inputs.some((input) => input.name === name);
  const node = matcher.producer(base);
  const isJoint = node?.opType === 'Concat' && node.domain === '' && node.inputs.length === 2;
  const [first = '', added = ''] = isJoint && isFed(node.inputs[0] ?? '') ? node.inputs : [];
  const dims = matcher.info(first === '' ? base : first)?.dims;
  const [, heads, , size] = dims ?? [];
  if (dims?.length !== 4 || typeof heads !== 'number' || typeof size !== 'number') return undefined;
  if (!repeatsHeads(matcher, views, heads) || (flat && !(views.length === 0 && isFlatting(matcher, flat, heads))))
    return undefined;
  if (first !== '') {
    const view = matcher.view(node!);
    if (axisOf(view, view.int('axis', 0), 4) !== 2) return undefined;
    return { node, past: first, added, present: base, heads, size };
  }
  if (isFed(base)) return { node: undefined, past: base, added: '', present: '', heads, size };
  const isShown = graph.outputs.some(({ name }) => name === base);
  const isMoved = node !== undefined && isViewNode(node) && node.outputs.length === 1;
  return isShown && isMoved ? { node, past: '', added: base, present: base, heads, size } : undefined;
}

/** Exchanges the last two dimensions. */
const isTurn = (perm: readonly number[] | undefined): boolean => perm?.join() === '0,1,3,2' || perm?.join() === '0,2,1';

const rankOf = (matcher: Matcher, node: GraphNode | undefined): number | undefined =>
  node && matcher.info(node.outputs[0]!)?.dims?.length;

/** [B, H, T, d] → [B · H, T, d]: its first size is said to be so many times something, or all sizes are known. */
function isFlatting(matcher: Matcher, node: GraphNode, heads: number): boolean {
  if (node.opType !== 'Reshape') return false;
  const [from, to] = [node.inputs[0]!, node.outputs[0]!].map((name) => matcher.info(name)?.dims) as [Sizes, Sizes];
  if (from?.[3] !== to?.[2]) return false;
  const [batch] = from ?? [];
  if (typeof batch === 'number' && to?.[0] === batch * heads) return true;
  let name = matcher.producer(node.inputs[1] ?? '')?.inputs[0] ?? '';
  for (let maker = matcher.producer(name); maker; maker = matcher.producer(name)) {
    if (maker.opType === 'Mul') return maker.inputs.some((input) => matcher.scalar(input) === heads);
    if (maker.opType !== 'Unsqueeze' && maker.opType !== 'Reshape' && maker.opType !== 'Cast') return false;
    name = maker.inputs[0]!;
  }
  return false;
}

type Sizes = readonly Size[] | undefined;

/** [B, H, T, d] → [B, H, 1, T, d] → [B, H, n, T, d] → [B, H · n, T, d], or nothing. */
function repeatsHeads(matcher: Matcher, views: readonly GraphNode[], heads: number): boolean {
  if (views.length === 0) return true;
  const [unsqueeze, expand, reshape] = views;
  if (views.map(({ opType }) => opType).join() !== 'Unsqueeze,Expand,Reshape') return false;
  const dimsOf = (node: GraphNode | undefined) => matcher.info(node!.outputs[0]!)?.dims ?? [];
  const [one, many, joined] = [dimsOf(unsqueeze), dimsOf(expand), dimsOf(reshape)];
  const count = many[2];
  return (
    one.length === 5 &&
    one[1] === heads &&
    one[2] === 1 &&
    many.length === 5 &&
    many[1] === heads &&
    typeof count === 'number' &&
    joined.length === 4 &&
    joined[1] === heads * count &&
    joined[3] === many[4]
  );
}

/** By graph: layers that share masks share what is made of them. */
const MASKS = /* @__PURE__ */ new WeakMap<Graph, Map<string, LateAttention>>();

/** @param heads of the queries, where the graph tells */
function lateMasks(graph: Graph, added: readonly Added[], heads: number | undefined): LateAttention | undefined {
  const given = added.filter((each) => each.kind !== 'causal');
  if (given.length === 0) return undefined;
  const known = MASKS.get(graph) ?? new Map<string, LateAttention>();
  MASKS.set(graph, known);
  const key = JSON.stringify([added, heads]);
  let late = known.get(key);
  if (!late) {
    late = {
      needs: given.map(({ name }) => name),
      at: (values, pastRows) =>
        toldBy(
          given.map((each, i) => addedArray(each, values[i]!, heads)).reduce((a, b) => addBiases(a, b)!),
          pastRows,
        ),
    };
    known.set(key, late);
  }
  return late;
}

function addedArray(
  added: Exclude<Added, { readonly kind: 'causal' }>,
  values: Elements,
  heads: number | undefined,
): ScoreArray<Float32Array> {
  const { dims: four, data } = biasArray(values);
  const [, flat, rows, keys] = four;
  // To scores of three dimensions it is added with batch and heads in one, as Bloom's.
  const isBoth = heads !== undefined && values.dims.length === 3 && flat !== heads && flat % heads === 0;
  const dims: typeof four = isBoth ? [flat / heads, heads, rows, keys] : four;
  if (added.kind === 'bias')
    return added.factor === 1 ? { dims, data } : { dims, data: data.map((x) => x * added.factor) };
  const number = added.number === Number.NEGATIVE_INFINITY ? added.number : FILTERED;
  return { dims, data: data.map((x) => ((x !== 0) === added.isSeen ? 0 : number)) };
}

/** Below it a key is not seen: nothing that is added to it afterwards brings it back. */
const UNSEEN = -1e29;

/**
 * A mask as what it means, where it is the usual one: every query sees all keys from a first one up to its own position. Then no score
 * behind that is computed at all.
 */
export function toldBy(bias: ScoreArray<Float32Array>, pastRows: number): AttentionNow {
  const {
    dims: [batch, heads, rows, keys],
    data,
  } = bias;
  if (heads !== 1 || keys !== pastRows + rows) return { bias };
  const starts: number[] = [];
  for (let b = 0; b < batch; b++) {
    const from = b * rows * keys;
    let start = 0;
    while (start < keys && data[from + start]! < UNSEEN) start++;
    if (start > pastRows || (start > 0 && batch === 1)) return { bias };
    for (let row = 0; row < rows; row++)
      for (let key = 0; key < keys; key++) {
        const value = data[from + row * keys + key]!;
        const isSeen = key >= start && key <= pastRows + row;
        if (isSeen ? value !== 0 : !(value < UNSEEN)) return { bias };
      }
    starts.push(start);
  }
  return { isCausal: true, ...(starts.some((start) => start > 0) && { starts }) };
}
