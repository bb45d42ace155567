/**
 * Attention that is spelt out, with a past: keys and values are a Concat of what is fed and what this run adds, and that Concat is
 * `present`. They lie in a cache then, and what every run makes anew, masks above all, is looked at in JavaScript.
 */
import type { ScoreArray } from '@msd/core';
import type { Graph, GraphNode } from '../../ir/graph.ts';
import { usesOf } from '../../ir/graph.ts';
import type { Match, Matcher } from '../../passes/match.ts';
import type { CacheRef, Elements, LateAttention } from '../lowering.ts';
import { axisOf } from '../operator.ts';
import { FILTERED, lowerChain } from './chain-lower.ts';
import { addBiases, biasArray } from './common.ts';
import { chainScores, closedParts, type Found, type Operand, operandOf } from './found.ts';
import type { Added } from './scores.ts';

/** A past and what is added to it. */
interface Joined {
  readonly node: GraphNode;
  readonly past: string;
  readonly added: string;
  readonly present: string;
  readonly heads: number;
}

export function cachedChain(matcher: Matcher, found: Found): Match | undefined {
  const { scores, q } = found;
  const [keys, values] = [joinedOf(matcher, found.k, true), joinedOf(matcher, found.v, false)];
  if (!keys || !values || keys.heads !== values.heads) return undefined;
  const tail = found.tail.map(({ view }) => view.node);
  const after = [...found.k.nodes, ...found.v.nodes].map(({ node }) => node);
  const core = [...scores.nodes, ...found.weights, ...after, keys.node, values.node];
  const shown = new Set([keys.present, values.present]);
  const added = [q, operandOf(matcher, keys.added, false), operandOf(matcher, values.added, false)];
  const closed = closedParts(matcher, core, added, found.tail, shown);
  if (!closed) return undefined;
  const own = [closed.q, closed.k, closed.v].flatMap(({ nodes }) => nodes.map(({ node }) => node));
  const nodes = withPaths(matcher, [...new Set([...own, ...core, ...tail])], shown);
  if (!nodes) return undefined;
  const masks = scores.added.map(({ name }) => name);
  const bases = [closed.q.base, closed.k.base, closed.v.base, keys.past, values.past];
  if (bases.some((name) => matcher.notFloat('x', name) !== undefined)) return undefined;
  const shapes = [...own, ...tail].flatMap((node) => node.inputs.slice(1)).filter((name) => name !== '');
  const [y = ''] = (tail.at(-1) ?? found.weights.at(-1)!).outputs;
  const cache: CacheRef = {
    past: { key: keys.past, value: values.past },
    present: { key: keys.present, value: values.present },
  };
  const late = lateMasks(matcher.graph, scores.added);
  const past = { k: closed.k, v: closed.v, cache, late, isCausal: false };
  return {
    op: 'attention',
    place: 'device',
    nodes,
    scores: chainScores(matcher, found),
    inputs: [...new Set([...bases, ...masks, ...shapes])],
    outputs: [y, keys.present, values.present],
    shapedBy: shapes,
    late: masks,
    caches: [keys.past, values.past, keys.present, values.present],
    resources: matcher.constants(bases),
    lower: (to) => lowerChain(to, { ...found, q: closed.q }, y, past),
  };
}

/** The Concat behind keys or values [batch, heads, positions, size], if what follows it only repeats heads. */
function joinedOf(matcher: Matcher, { base, nodes }: Operand, isTransposed: boolean): Joined | undefined {
  const node = matcher.producer(base);
  if (node?.opType !== 'Concat' || node.domain !== '' || node.inputs.length !== 2) return undefined;
  const [past = '', added = ''] = node.inputs;
  const dims = matcher.info(past)?.dims;
  const heads = dims?.[1];
  const isFed = matcher.graph.inputs.some(({ name }) => name === past);
  if (!isFed || dims?.length !== 4 || typeof heads !== 'number' || typeof dims[3] !== 'number') return undefined;
  const view = matcher.view(node);
  if (axisOf(view, view.int('axis', 0), 4) !== 2) return undefined;
  const views = nodes.filter(({ scale }) => scale === undefined).map((each) => each.node);
  const turn = isTransposed ? views.pop() : undefined;
  if (isTransposed && !(turn?.opType === 'Transpose' && isTurn(matcher.view(turn).ints('perm')))) return undefined;
  return repeatsHeads(matcher, views, heads) ? { node, past, added, present: base, heads } : undefined;
}

/** Exchanges the last two of four dimensions. */
const isTurn = (perm: readonly number[] | undefined): boolean => perm?.join() === '0,1,3,2';

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

/**
 * The nodes, with those that lie between `shown` values and others of them: sizes that heads are repeated to. `undefined` if somebody
 * else needs such a node, for it would have to run both before and after.
 */
function withPaths(
  { graph }: Matcher,
  nodes: readonly GraphNode[],
  shown: ReadonlySet<string>,
): GraphNode[] | undefined {
  const inside = new Set(nodes);
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const first = Math.min(
    ...nodes.filter((node) => node.outputs.some((name) => shown.has(name))).map(({ index }) => index),
  );
  const depends = new Map<GraphNode, boolean>();
  const isAfter = (node: GraphNode): boolean => {
    if (node.index <= first) return false;
    let known = depends.get(node);
    if (known === undefined) {
      depends.set(node, false);
      known = [...usesOf(node)].some((name) => {
        const from = graph.producers.get(name);
        return shown.has(name) || (from !== undefined && (inside.has(from) || isAfter(from)));
      });
      depends.set(node, known);
    }
    return known;
  };
  const stack = [...nodes];
  while (stack.length > 0)
    for (const name of usesOf(stack.pop()!)) {
      const from = graph.producers.get(name);
      if (!from || inside.has(from) || !isAfter(from)) continue;
      inside.add(from);
      stack.push(from);
    }
  const given = new Set(nodes);
  for (const node of inside)
    if (!given.has(node))
      for (const name of node.outputs)
        if (outputs.has(name) || (graph.consumers.get(name) ?? []).some((each) => !inside.has(each))) return undefined;
  return [...inside].sort((a, b) => a.index - b.index);
}

/** By graph: layers that share masks share what is made of them. */
const MASKS = /* @__PURE__ */ new WeakMap<Graph, Map<string, LateAttention>>();

function lateMasks(graph: Graph, added: readonly Added[]): LateAttention | undefined {
  if (added.length === 0) return undefined;
  const known = MASKS.get(graph) ?? new Map<string, LateAttention>();
  MASKS.set(graph, known);
  const key = JSON.stringify(added);
  let late = known.get(key);
  if (!late) {
    late = {
      needs: added.map(({ name }) => name),
      at: (values) => ({
        bias: added.map((each, i) => addedArray(each, values[i]!)).reduce((a, b) => addBiases(a, b)!),
      }),
    };
    known.set(key, late);
  }
  return late;
}

function addedArray(added: Added, values: Elements): ScoreArray<Float32Array> {
  const { dims, data } = biasArray(values);
  if (added.kind === 'bias')
    return added.factor === 1 ? { dims, data } : { dims, data: data.map((x) => x * added.factor) };
  const number = added.isNever ? Number.NEGATIVE_INFINITY : FILTERED;
  return { dims, data: data.map((x) => ((x !== 0) === added.isSeen ? 0 : number)) };
}
