/**
 * Which nodes MSD runs itself, each with all nodes that one step of it replaces. Pure: reads the graph and its constants, never
 * touches ONNX Runtime or a kernel. Every node that is not taken has a written reason, which ends up in the session's report.
 */

import type { Graph, GraphNode } from '../ir/graph.ts';
import type { TypedGraph } from '../ir/infer.ts';
import { OPERATORS, PATTERNS } from '../ops/index.ts';
import { operatorName } from '../ops/operator.ts';
import { wrongCount, wrongKind } from '../ops/schema.ts';
import { type Match, Matcher, type MatchOptions, unknownAttribute } from './matcher.ts';

/** Newest operator set that this version was written against; beyond it nothing is taken. */
const NEWEST_OPSET = 27;
/** By node; a match stands for each of its nodes. */
export type Decisions = ReadonlyMap<GraphNode, Match | string>;

/**
 * Decides for every node.
 *
 * @throws {@link OnnxFormatError} naming the node when its tensors contradict its attributes.
 */
export function matchNodes(typed: TypedGraph, options: MatchOptions = {}): Decisions {
  const { graph } = typed;
  const decisions = new Map<GraphNode, Match | string>();
  const standard = graph.opsets.get('') ?? 1;
  if (standard > NEWEST_OPSET) {
    for (const node of graph.nodes)
      decisions.set(node, `opset ${standard} is newer than this version knows (${NEWEST_OPSET})`);
    return decisions;
  }
  const matcher = new Matcher(typed, decisions, options);
  const late: string[] = [];
  const notes = new Map<GraphNode, string>();
  const take = (match: Match | undefined): void => {
    if (!match || match.nodes.some((each) => decisions.has(each)) || match.outputs.some((name) => late.includes(name)))
      return;
    if (match.late?.some((name) => matcher.placeOf(name) === 'device')) return;
    for (const each of match.nodes) decisions.set(each, match);
    late.push(...(match.late ?? []));
  };
  const wrong = new Set<GraphNode>();
  for (const node of graph.nodes) {
    const name = operatorName(node);
    const reason = wrongCount(name, node, standard) ?? wrongKind(node, OPERATORS.get(name)?.attributes);
    if (reason === undefined) continue;
    decisions.set(node, `${node.opType}: ${reason}`);
    wrong.add(node);
  }
  for (const node of graph.nodes) {
    const chain = PATTERNS.get(operatorName(node))?.(matcher, node);
    if (typeof chain === 'string') notes.set(node, chain);
    else take(chain);
    const match = OPERATORS.get(operatorName(node))?.isFirst ? matchOne(matcher, node) : undefined;
    if (typeof match === 'object') take(match);
  }
  const masks = madeFor(graph, late);
  const read = new Set(late);
  for (const node of graph.nodes) {
    if (decisions.has(node)) continue;
    const found = matchHost(matcher, node, masks) ?? matchOne(matcher, node);
    const isWrong = typeof found === 'object' && found.nodes.some((each) => wrong.has(each));
    const match = isWrong ? `${node.opType}: a node that it goes with is none of its operator` : found;
    const isHidden =
      typeof match === 'object' && match.place === 'device' && node.outputs.some((name) => read.has(name));
    const note = notes.get(node);
    const decision = note === undefined ? match : withNote(node, match, note);
    const final = isHidden ? `${node.opType}: JavaScript looks at the result in every run` : decision;
    for (const each of typeof final === 'object' ? final.nodes : [node]) decisions.set(each, final);
  }
  for (const decision of new Set(decisions.values())) {
    const reason = typeof decision === 'object' ? outOfReach(matcher, decision) : undefined;
    if (reason !== undefined)
      for (const node of (decision as Match).nodes) decisions.set(node, `${node.opType}: ${reason}`);
  }
  return decisions;
}

/**
 * The reason that a pattern gave for a node that it did not take: the only reason for a node that runs only in a chain.
 */
function withNote(node: GraphNode, match: Match | string, note: string): Match | string {
  if (typeof match === 'object') return { ...match, note };
  return OPERATORS.get(operatorName(node))?.match ? match : `${node.opType}: ${note}`;
}

/** Why an operand that JavaScript would look at, or that would come out of a cache, is not there: the device makes it, or the file has it. */
function outOfReach(matcher: Matcher, { inputs, late = [], caches = [] }: Match): string | undefined {
  const pasts = caches.filter((name) => inputs.includes(name));
  const made = [...late, ...pasts].find((name) => matcher.placeOf(name) === 'device' && !matcher.isKept(name));
  if (made !== undefined) return `'${made}' is computed`;
  const fixed = pasts.find((name) => matcher.isConstant(name) && !matcher.info(name)?.dims?.includes(0));
  return fixed === undefined ? undefined : `past '${fixed}' is a constant`;
}

/** Nodes that values are made by, directly or not. */
function madeFor(graph: Graph, names: readonly string[]): ReadonlySet<GraphNode> {
  const made = new Set<GraphNode>();
  const stack = names.flatMap((name) => graph.producers.get(name) ?? []);
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (made.has(node)) continue;
    made.add(node);
    stack.push(...node.inputs.flatMap((name) => graph.producers.get(name) ?? []));
  }
  return made;
}

function matchOne(matcher: Matcher, node: GraphNode): Match | string {
  const name = operatorName(node);
  const operator = OPERATORS.get(name);
  if (!operator?.match) return 'op is not claimed by this version';
  const unknown = unknownAttribute(operator, node);
  if (unknown !== undefined) return `${node.opType}: attribute '${unknown}' is not known`;
  const match = operator.match(matcher.view(node), matcher);
  return typeof match === 'string' ? `${node.opType}: ${match}` : match;
}

/** Shape arithmetic. Masks that grow with every token are not small, but a plan on the device would be made anew with every token. */
function matchHost(matcher: Matcher, node: GraphNode, masks: ReadonlySet<GraphNode>): Match | undefined {
  const isHost = (name: string): boolean => matcher.placeOf(name) === 'host';
  const grows = masks.has(node) && node.outputs.some((output) => matcher.grows(output));
  if (!matcher.isShapeArithmetic(node, (name) => matcher.isHostOperand(name), isHost, grows)) return undefined;
  return { op: 'shape arithmetic', place: 'host', nodes: [node], inputs: node.inputs, outputs: node.outputs };
}
