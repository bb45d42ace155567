/** Chains of nodes that spell one activation: Silu and QuickGelu. Gelu: gelu.ts. */
import type { FunctionId } from '@msd/core/nn';
import { FLOAT16 } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { expressionMatch } from './expression.ts';
import { otherOperand, type Pattern } from './operator.ts';

/**
 * Constants of spelt-out functions are rounded by their writers, and to float16 in files of that type: by half a step
 * of it at most.
 */
export function isNear(matcher: Matcher, name: string, expected: number): boolean {
  const value = matcher.scalar(name);
  const off = matcher.info(name)?.elemType === FLOAT16 ? 2 ** -11 : 1e-4;
  return value !== undefined && Math.abs(value - expected) <= off * Math.abs(expected);
}

/** The node that makes `name` as this operation of something and a constant near `value`, and that something. */
export function madeWith(
  matcher: Matcher,
  name: string,
  opType: string,
  value: number,
): { readonly node: GraphNode; readonly x: string } | undefined {
  const node = matcher.producer(name);
  if (node?.domain !== '' || node.opType !== opType || node.inputs.length !== 2) return undefined;
  const [a = '', b = ''] = node.inputs;
  if (isNear(matcher, b, value)) return { node, x: a };
  return opType !== 'Div' && isNear(matcher, a, value) ? { node, x: b } : undefined;
}

/** A chain as one function of x. */
export function chain(
  matcher: Matcher,
  fn: FunctionId,
  x: string,
  nodes: readonly GraphNode[],
  values?: readonly number[],
): Match | undefined {
  if (matcher.notFloat('x', x) !== undefined) return undefined;
  const sorted = [...nodes].sort((a, b) => a.index - b.index);
  if (!matcher.isClosed(sorted) || !matcher.keepsRank(x, sorted.at(-1)!.outputs[0]!)) return undefined;
  return expressionMatch(matcher, sorted, [x], (to, args) => to.add(fn, args, values));
}

/** x · sigmoid(x), and x · sigmoid(1.702 · x). */
const sigmoidChain: Pattern = (matcher, node) => {
  const [inner = ''] = node.inputs;
  const [sigmoid = ''] = node.outputs;
  const last = matcher.soleConsumer(sigmoid);
  const x = otherOperand(last, 'Mul', sigmoid);
  if (x === undefined) return undefined;
  if (x === inner) return chain(matcher, 'Silu', x, [node, last!]);
  const scaled = madeWith(matcher, inner, 'Mul', 1.702);
  return scaled?.x === x ? chain(matcher, 'QuickGelu', x, [scaled.node, node, last!], [1.702]) : undefined;
};

export const activationPatterns: Readonly<Record<string, Pattern>> = { Sigmoid: sigmoidChain };
