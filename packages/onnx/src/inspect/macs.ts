/** Multiplications of a run, by what multiplies, whoever runs it. */
import { countOf } from '../dims.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { TypedGraph } from '../ir/infer.ts';
import type { Size } from '../ir/info.ts';
import { type NodeView, operatorName } from '../ops/operator.ts';
import type { Unit } from '../plan/units.ts';

/** Dims with every size known. */
export type DimsOf = (name: string) => readonly number[] | undefined;

/** Multiplications of one of ONNX Runtime's nodes. */
type Count = (view: NodeView, dims: DimsOf) => number;

const last = (dims: readonly number[] | undefined): number => dims?.at(-1) ?? 0;
const elements = (dims: readonly number[] | undefined): number => (dims ? countOf(dims) : 0);

/** Elements of the result, each a sum of as many products as A has columns. */
const product: Count = ({ node }, dims) => elements(dims(node.outputs[0]!)) * last(dims(node.inputs[0]!));

const gemm: Count = (view, dims) => {
  const a = dims(view.node.inputs[0]!);
  const K = a?.at(view.int('transA', 0) ? 0 : -1) ?? 0;
  return elements(dims(view.node.outputs[0]!)) * K;
};

/** @param weights position of the weights [channels, channels of a group, …] among the inputs */
const conv =
  (weights: number): Count =>
  ({ node }, dims) => {
    const w = dims(node.inputs[weights] ?? '');
    return elements(dims(node.outputs[0]!)) * (elements(w) / Math.max(1, w?.[0] ?? 1));
  };

const deconv: Count = ({ node }, dims) => {
  const w = dims(node.inputs[1] ?? '');
  return elements(dims(node.inputs[0]!)) * (elements(w) / Math.max(1, w?.[0] ?? 1));
};

/** Scores and what they weigh: q [batch, rows, width] beside keys that are as many as `present` has, or rows. */
const attention: Count = ({ node }, dims) => {
  const q = dims(node.inputs[0]!);
  const out = dims(node.outputs[0]!);
  const present = dims(node.outputs[1] ?? '');
  const keys = present?.at(-2) ?? out?.at(-2) ?? 0;
  return 2 * elements(out ?? q) * keys;
};

/** Directions of gates of positions, with weights W [directions, gates, inputs] and R. */
const recurrent: Count = ({ node }, dims) => {
  const x = dims(node.inputs[0]!);
  const rows = x ? elements(x) / Math.max(1, last(x)) : 0;
  return rows * (elements(dims(node.inputs[1] ?? '')) + elements(dims(node.inputs[2] ?? '')));
};

const COUNTS: ReadonlyMap<string, Count> = /* @__PURE__ */ new Map<string, Count>([
  ['MatMul', product],
  ['MatMulInteger', product],
  ['QLinearMatMul', product],
  ['com.microsoft.MatMulNBits', product],
  ['com.microsoft.MatMulBnb4', product],
  ['com.microsoft.MatMulIntegerToFloat', product],
  ['com.microsoft.DynamicQuantizeMatMul', product],
  ['com.microsoft.FusedMatMul', product],
  ['Gemm', gemm],
  ['com.microsoft.QGemm', gemm],
  ['Conv', conv(1)],
  ['ConvInteger', conv(1)],
  ['QLinearConv', conv(3)],
  ['com.microsoft.FusedConv', conv(1)],
  ['ConvTranspose', deconv],
  ['com.microsoft.GroupQueryAttention', attention],
  ['com.microsoft.MultiHeadAttention', attention],
  ['com.microsoft.Attention', attention],
  ['com.microsoft.QAttention', attention],
  ['Attention', attention],
  ['LSTM', recurrent],
  ['GRU', recurrent],
  ['RNN', recurrent],
]);

/** What an operator, as the file calls it, multiplies. */
export interface OperatorMacs {
  readonly operator: string;
  readonly macs: number;
}

/** Multiplications of a unit: those of its match, or those of its node. */
export function macsOf(
  { match, nodes, outputs }: Unit,
  typed: TypedGraph,
  sizeOf: (size: Size) => number,
): OperatorMacs[] {
  const dims: DimsOf = (name) => typed.infos.get(name)?.dims?.map(sizeOf);
  const count = (node: GraphNode): number => COUNTS.get(operatorName(node))?.(typed.view(node), dims) ?? 0;
  const operator = (): string => (nodes.find((node) => COUNTS.has(operatorName(node))) ?? nodes.at(-1)!).opType;
  const { product: weights, scores } = match ?? {};
  const macs: OperatorMacs[] = [];
  if (weights) {
    const written = outputs.reduce((sum, name) => sum + elements(dims(name)), 0);
    macs.push({ operator: operator(), macs: written * (scores ? weights.N : weights.K) });
  }
  if (scores) macs.push({ operator: operator(), macs: countOf(scores.dims.map(sizeOf)) * scores.width });
  if (weights || scores) return macs;
  return nodes.flatMap((node) => {
    const own = count(node);
    return own > 0 ? [{ operator: node.opType, macs: own }] : [];
  });
}
