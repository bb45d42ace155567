/** The two products of an attention, as a graph spells them: BatchMatMul, MatMul or Einsum; with the Transposes around them. */
import type { Layout } from '../../attention/view.ts';
import { boolAttr, type NodeDef, numberAttr, parseInput, stringAttr } from '../topology.ts';
import { type Graph, inputsOf, integersOf, producerOf } from './graph.ts';

export interface Operand {
  readonly input: string;
  readonly layout: Layout;
}

const MAT_MULS = ['BatchMatMul', 'BatchMatMulV2', 'BatchMatMulV3', 'MatMul'];

export const isProduct = ({ op }: NodeDef): boolean => MAT_MULS.includes(op) || op === 'Einsum';

/** Q·Kᵀ: queries and keys, each seen as [lead…, rows, channels]; for an Einsum also its rank. */
export function scoresOf(node: NodeDef): { q: Operand; k: Operand; rank?: number } | { reason: string } {
  const [a, b] = inputsOf(node);
  if (a === undefined || b === undefined) return { reason: 'a product of one operand' };
  if (node.op !== 'Einsum') {
    const [adjX, adjY] = adjoint(node);
    return {
      q: { input: a, layout: adjX ? 'swapped' : undefined },
      k: { input: b, layout: adjY ? undefined : 'swapped' },
    };
  }
  const equation = equationOf(node);
  if (!equation) return { reason: `equation ${stringAttr(node, 'equation')}` };
  const { terms, out } = equation;
  const keys = out.at(-1)!;
  const at = terms.findIndex((term) => term.includes(keys));
  const [kTerm, qTerm] = [terms[at]!, terms[1 - at]!];
  const rows = out.at(-2);
  const channels = [...kTerm].filter((index) => !out.includes(index));
  const isAttention =
    rows !== undefined &&
    qTerm.includes(rows) &&
    !kTerm.includes(rows) &&
    !qTerm.includes(keys) &&
    channels.length === 1 &&
    qTerm.includes(channels[0]!) &&
    [...qTerm].every((index) => out.includes(index) || index === channels[0]);
  if (!isAttention) return { reason: `equation ${equation.text} is no product of queries and keys` };
  const lead = [...out.slice(0, -2)];
  return {
    q: { input: [a, b][1 - at]!, layout: [...lead, rows, channels[0]!].map((index) => qTerm.indexOf(index)) },
    k: { input: [a, b][at]!, layout: [...lead, keys, channels[0]!].map((index) => kTerm.indexOf(index)) },
    rank: out.length,
  };
}

/** P·V: values seen as [lead…, keys, channels], and how the result lies. */
export function outputOf(
  node: NodeDef,
  probabilities: string,
): { v: Operand; out: readonly number[] | undefined; rank?: number } | { reason: string } {
  const inputs = inputsOf(node);
  const at = inputs.findIndex((input) => parseInput(input).node === probabilities);
  if (inputs.length !== 2 || parseInput(inputs[1 - at]!).node === probabilities)
    return { reason: 'the probabilities are both operands of their product' };
  if (node.op !== 'Einsum') {
    const [adjX, adjY] = adjoint(node);
    if (at !== 0 || adjX) return { reason: 'the probabilities are no left operand' };
    return { v: { input: inputs[1]!, layout: adjY ? 'swapped' : undefined }, out: undefined };
  }
  const equation = equationOf(node);
  if (!equation) return { reason: `equation ${stringAttr(node, 'equation')}` };
  const { terms, out } = equation;
  const [pTerm, vTerm] = [terms[at]!, terms[1 - at]!];
  const [rows, keys] = [pTerm.at(-2), pTerm.at(-1)!];
  const channels = [...vTerm].filter((index) => !pTerm.includes(index));
  const lead = [...pTerm.slice(0, -2)];
  const order = [...lead, rows!, channels[0]!];
  const isAttention =
    rows !== undefined &&
    channels.length === 1 &&
    vTerm.includes(keys) &&
    !vTerm.includes(rows) &&
    !out.includes(keys) &&
    out.length === order.length &&
    order.every((index) => out.includes(index));
  if (!isAttention) return { reason: `equation ${equation.text} is no product of probabilities and values` };
  const perm = [...out].map((index) => order.indexOf(index));
  return {
    v: { input: inputs[1 - at]!, layout: [...lead, keys, channels[0]!].map((index) => vTerm.indexOf(index)) },
    out: isIdentity(perm) ? undefined : perm,
    rank: pTerm.length,
  };
}

/** An operand read from before a Transpose, as it lies there. */
export function throughTranspose(graph: Graph, operand: Operand): Operand {
  const node = producerOf(graph, operand.input);
  if (node?.op !== 'Transpose') return operand;
  const [input, permInput] = inputsOf(node);
  const perm = integersOf(graph, permInput);
  if (input === undefined || !perm || perm.length < 2) return operand;
  const { layout } = operand;
  const seen = layout === undefined || layout === 'swapped' ? perm.map((_, i) => i) : layout;
  const order = layout === 'swapped' ? [...seen.slice(0, -2), seen.at(-1)!, seen.at(-2)!] : seen;
  return { input, layout: order.map((axis) => (axis < 0 ? axis : perm[axis]!)) };
}

export const isIdentity = (perm: readonly number[]): boolean => perm.every((axis, i) => axis === i);

const adjoint = (node: NodeDef): [boolean, boolean] => [
  boolAttr(node, 'adj_x', 'transpose_a'),
  boolAttr(node, 'adj_y', 'transpose_b'),
];

/** Two terms of different indices each, and a result of theirs. */
function equationOf(node: NodeDef): { terms: [string, string]; out: string; text: string } | undefined {
  const text = (stringAttr(node, 'equation') ?? '').replaceAll(' ', '');
  const match = /^([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)$/.exec(text);
  if (!match || (numberAttr(node, 'N') ?? 2) !== 2) return undefined;
  const [, left, right, out] = match as unknown as [string, string, string, string];
  const isPlain = [left, right, out].every((term) => new Set(term).size === term.length);
  return isPlain ? { terms: [left, right], out, text } : undefined;
}
