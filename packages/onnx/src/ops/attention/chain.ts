/**
 * Attention that is spelt out, found from its Softmax by structure:
 *
 *   q · kᵀ → scale, cap, biases, masks (scores.ts) → Softmax → (NaN of empty rows away) → · v
 *
 * with whatever splits heads, repeats or joins them around it (view.ts). Such nodes belong to the match if nobody else needs
 * what they make.
 */
import type { GraphNode } from '../../ir/graph.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import type { Pattern } from '../operator.ts';
import { lowerChain } from './chain-lower.ts';
import { cachedChain } from './chain-past.ts';
import { byIndex, chainScores, type Found, findChain, type Operand, shapesOf } from './found.ts';
import { namesOfAdded } from './scores.ts';

const softmaxChain: Pattern = (matcher, softmax) => {
  const found = findChain(matcher, softmax);
  if (found === undefined || typeof found === 'string') return found;
  return cachedChain(matcher, found) ?? plainChain(matcher, found);
};

function plainChain(matcher: Matcher, found: Found): Match | undefined {
  const operands = operandsOf(matcher, found);
  if (!operands) return undefined;
  const { q, k, v } = found;
  const views = [q, k, v].flatMap(nodesOf);
  const tail = found.tail.map(({ view }) => view.node);
  const nodes = [...new Set([...views, ...found.core, ...tail])].sort(byIndex);
  const shapes = shapesOf([...views, ...tail]);
  const outputs = [(tail.at(-1) ?? found.weights.at(-1)!).outputs[0]!];
  return {
    op: 'attention',
    place: 'device',
    nodes,
    scores: chainScores(matcher, found),
    inputs: [...operands, ...shapes],
    outputs,
    shapedBy: shapes,
    resources: matcher.constants(operands),
    lower: (to) => lowerChain(to, found, outputs[0]!),
  };
}

/** Names of q, k, v and of what is added. `undefined` if one of them is of the wrong type. */
function operandsOf(matcher: Matcher, { scores: { added }, q, k, v }: Found): string[] | undefined {
  const bases = [q.base, k.base, v.base];
  const isFine =
    bases.every((name) => matcher.notFloat('x', name) === undefined) &&
    added.every((each) => each.kind !== 'bias' || matcher.notFloat('bias', each.name) === undefined);
  return isFine ? [...bases, ...namesOfAdded(added)] : undefined;
}

const nodesOf = ({ nodes }: Operand): GraphNode[] => nodes.map(({ node }) => node);

export const attentionPatterns: Readonly<Record<string, Pattern>> = { Softmax: softmaxChain };
