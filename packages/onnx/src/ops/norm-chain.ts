/** Norms that exporters spell out: ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, and perhaps Mul and Add. */
import { normOnWasm as normSpec } from '@msd/core/nn';
import type { GraphNode } from '../ir/graph.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { emitOp } from './lowering.ts';
import { elements, type Pattern } from './operator.ts';

const is = (node: GraphNode | undefined, ...opTypes: string[]): node is GraphNode =>
  node?.domain === '' && opTypes.includes(node.opType);

/** The mean over the last axis, kept as 1. */
function isRowMean(matcher: Matcher, node: GraphNode | undefined): node is GraphNode {
  if (!is(node, 'ReduceMean')) return false;
  const view = matcher.view(node);
  const axes = view.version < 18 ? view.ints('axes') : elements(matcher.info(node.inputs[1] ?? ''));
  const rank = matcher.info(node.inputs[0]!)?.dims?.length;
  return axes?.length === 1 && (axes[0] === -1 || axes[0] === (rank ?? 0) - 1) && view.int('keepdims', 1) === 1;
}

/** The value whose square a node makes. */
function squareOf(matcher: Matcher, node: GraphNode | undefined): string | undefined {
  if (is(node, 'Pow') && matcher.scalar(node.inputs[1]!) === 2) return node.inputs[0];
  if (is(node, 'Mul') && node.inputs[0] === node.inputs[1]) return node.inputs[0];
  return undefined;
}

/** x and its mean, if a value is their difference. */
function centred(matcher: Matcher, name: string): { readonly x: string; readonly nodes: GraphNode[] } | undefined {
  const sub = matcher.producer(name);
  if (!is(sub, 'Sub')) return undefined;
  const [x = '', mean = ''] = sub.inputs;
  const reduce = matcher.producer(mean);
  return isRowMean(matcher, reduce) && reduce.inputs[0] === x ? { x, nodes: [reduce, sub] } : undefined;
}

/** The other operand of a node that has two. */
function beside(node: GraphNode | undefined, name: string): string | undefined {
  if (node?.inputs.length !== 2) return undefined;
  return node.inputs[0] === name ? node.inputs[1] : node.inputs[1] === name ? node.inputs[0] : undefined;
}

/** The node that divides by √…, and what it divides: numerator / s, numerator · (1 / s). */
function quotient(
  matcher: Matcher,
  s: string,
): { readonly numerator: string; readonly nodes: GraphNode[] } | undefined {
  const next = matcher.soleConsumer(s);
  if (!is(next, 'Div', 'Reciprocal')) return undefined;
  const [dividend = ''] = next.inputs;
  const isInverse = next.opType === 'Reciprocal' || matcher.scalar(dividend) === 1;
  if (!isInverse) return next.inputs[1] === s ? { numerator: dividend, nodes: [next] } : undefined;
  const inverse = next.outputs[0]!;
  const product = matcher.soleConsumer(inverse);
  const numerator = is(product, 'Mul') ? beside(product, inverse) : undefined;
  return numerator === undefined ? undefined : { numerator, nodes: [next, product!] };
}

/** A constant that the next node multiplies or adds, one number for each element of a row. */
function rowConstant(
  matcher: Matcher,
  name: string,
  opType: string,
): { readonly node: GraphNode; readonly row: string } | undefined {
  const node = matcher.soleConsumer(name);
  const row = is(node, opType) ? beside(node, name) : undefined;
  if (row === undefined || !matcher.isConstant(row) || matcher.notFloat('row', row) !== undefined) return undefined;
  const dims = matcher.info(row)!.dims!;
  const rows = matcher.info(name)?.dims;
  // One of more dimensions than the rows would give them to the result.
  const isRow = dims.length > 0 && dims.length <= (rows?.length ?? 0) && dims.at(-1) === rows?.at(-1);
  return isRow && dims.slice(0, -1).every((dim) => dim === 1) ? { node: node!, row } : undefined;
}

const normChain: Pattern = (matcher, sqrt) => {
  const add = matcher.producer(sqrt.inputs[0]!);
  if (!is(add, 'Add')) return undefined;
  const [a = '', b = ''] = add.inputs;
  const [variance, epsilon] = matcher.scalar(b) !== undefined ? [a, matcher.scalar(b)!] : [b, matcher.scalar(a)];
  const mean = matcher.producer(variance);
  if (epsilon === undefined || epsilon < 0 || !isRowMean(matcher, mean)) return undefined;
  const square = matcher.producer(mean.inputs[0]!);
  const squared = squareOf(matcher, square);
  const tail = quotient(matcher, sqrt.outputs[0]!);
  if (squared === undefined || !tail) return undefined;

  const difference = centred(matcher, squared);
  const x = difference?.x ?? squared;
  // Some exporters subtract twice.
  const again = tail.numerator === squared ? undefined : centred(matcher, tail.numerator);
  if (tail.numerator !== squared && !(difference && again?.x === x)) return undefined;
  if (matcher.notFloat('x', x) !== undefined) return undefined;

  const nodes = new Set([
    ...(difference?.nodes ?? []),
    ...(again?.nodes ?? []),
    square!,
    mean,
    add,
    sqrt,
    ...tail.nodes,
  ]);
  let y = tail.nodes.at(-1)!.outputs[0]!;
  const scale = rowConstant(matcher, y, 'Mul');
  if (scale) y = scale.node.outputs[0]!;
  const bias = scale && rowConstant(matcher, y, 'Add');
  for (const part of [scale, bias]) if (part) nodes.add(part.node);
  return normMatch(matcher, difference ? 'layer' : 'rms', epsilon, [...nodes], [x, scale?.row ?? '', bias?.row ?? '']);
};

function normMatch(
  matcher: Matcher,
  kind: 'layer' | 'rms',
  epsilon: number,
  chain: readonly GraphNode[],
  inputs: readonly string[],
): Match | undefined {
  const nodes = [...chain].sort((a, b) => a.index - b.index);
  const outputs = [nodes.at(-1)!.outputs[0]!];
  if (!matcher.isClosed(nodes) || !matcher.keepsRank(inputs[0]!, outputs[0]!)) return undefined;
  return {
    op: 'norm',
    place: 'device',
    nodes,
    inputs,
    outputs,
    resources: matcher.constants(inputs),
    lower(to) {
      const slots = inputs.map((name) => (name === '' ? undefined : to.slot(name)));
      emitOp(to, normSpec, { kind, epsilon }, slots, outputs);
    },
  };
}

export const normPatterns: Readonly<Record<string, Pattern>> = { Sqrt: normChain };
