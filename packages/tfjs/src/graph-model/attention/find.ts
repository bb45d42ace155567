/**
 * Attention in a graph, found by structure around each Softmax: product, scale, mask, softmax, product; or why what looks like
 * one is left alone.
 */
import { rootOf } from '../recognise.ts';
import { type NodeDef, parseInput } from '../topology.ts';
import { unflattens } from './flatten.ts';
import { consumersOf, type Graph, inputsOf, integersOf, otherReader } from './graph.ts';
import { isProduct, type Operand, outputOf, scoresOf, throughTranspose } from './product.ts';
import { pathTo } from './scores.ts';
import { type AttentionAttrs, isOrdered, type ScoreStep } from './steps.ts';

export interface FoundAttention {
  /** In the graph's order: from the product of the scores to the node whose value is the attention's. */
  readonly nodes: readonly NodeDef[];
  /** Inputs of the node that stands for them: q, k, v, and those of the steps. */
  readonly inputs: readonly string[];
  readonly attrs: Omit<AttentionAttrs, 'type'>;
}

export interface RefusedAttention {
  /** The product of the scores. */
  readonly node: NodeDef;
  readonly reason: string;
}

export function findAttention(graph: Graph): { found: FoundAttention[]; refused: RefusedAttention[] } {
  const [found, refused]: [FoundAttention[], RefusedAttention[]] = [[], []];
  for (const node of graph.scope.nodes.values()) {
    if (node.op !== 'Softmax') continue;
    const result = attentionAround(graph, node);
    if (result && 'reason' in result) refused.push(result);
    else if (result) found.push(result);
  }
  return { found, refused };
}

function attentionAround(graph: Graph, softmax: NodeDef): FoundAttention | RefusedAttention | undefined {
  const path = pathTo(graph, inputsOf(softmax)[0], softmax);
  if (!path) return undefined;
  if ('reason' in path) return { node: path.product, reason: path.reason };
  const node = path.nodes[0]!;
  // With a constant operand it is a layer before a softmax.
  if (inputsOf(node).some((input) => rootOf(graph.scope, input) !== undefined)) return undefined;
  const scores = scoresOf(node);
  if ('reason' in scores) return { node, reason: scores.reason };
  if (!isOrdered(path.steps)) return { node, reason: 'the scores are scaled after something was added to them' };
  const end = endOf(graph, softmax);
  if ('reason' in end) return { node, reason: end.reason };
  const output = outputOf(end.product, end.nodes.at(-1)!.name);
  if ('reason' in output) return { node, reason: output.reason };

  const [q, k, v] = [scores.q, scores.k, output.v].map((operand) => throughTranspose(graph, operand)) as OperandsOf3;
  const transposed = transposeAfter(graph, end.product, output.out);
  const out = transposed?.out ?? output.out;
  return {
    nodes: [...path.nodes, ...end.nodes, end.product, ...(transposed ? [transposed.node] : [])],
    inputs: [q.input, k.input, v.input, ...path.inputs, ...end.inputs],
    attrs: { q: q.layout, k: k.layout, v: v.layout, out, before: path.steps, after: end.steps },
  };
}

type OperandsOf3 = [q: Operand, k: Operand, v: Operand];

interface End {
  /** From the softmax on. */
  readonly nodes: readonly NodeDef[];
  readonly steps: readonly ScoreStep[];
  readonly inputs: readonly string[];
  /** Probabilities times values. */
  readonly product: NodeDef;
}

function endOf(graph: Graph, softmax: NodeDef): End | { readonly reason: string } {
  const nodes: NodeDef[] = [];
  const steps: ScoreStep[] = [];
  const inputs: string[] = [];
  for (let last = softmax; ; ) {
    nodes.push(last);
    const next = consumersOf(graph, last)[0];
    if (!next) return { reason: 'the probabilities are not multiplied by anything' };
    const stranger = otherReader(graph, last, next);
    if (stranger) return { reason: `the probabilities are also read by ${stranger}` };
    if (isProduct(next)) return { nodes, steps, inputs, product: next };
    const [input, shape] = inputsOf(next);
    const isMoved = next.op === 'Reshape' && parseInput(input!).node === last.name;
    if (isMoved && unflattens(graph, next)) steps.push({ kind: 'unflatten' });
    else if (isMoved) {
      steps.push({ kind: 'reshape' });
      inputs.push(shape!);
    } else if (next.op !== 'Identity') return { reason: `the probabilities go through ${next.name} (${next.op})` };
    last = next;
  }
}

/** A Transpose that is the only reader of the result, and how the result lies then. */
function transposeAfter(graph: Graph, product: NodeDef, out: readonly number[] | undefined) {
  const node = consumersOf(graph, product)[0];
  if (node?.op !== 'Transpose' || otherReader(graph, product, node)) return undefined;
  const perm = integersOf(graph, inputsOf(node)[1]);
  if (!perm || perm.length < 2 || (out && out.length !== perm.length)) return undefined;
  return { node, out: out ? perm.map((axis) => out[axis]!) : perm };
}
