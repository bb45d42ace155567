/** MatMul and Gemm with integers of the file that a DequantizeLinear makes floats: they are multiplied as they are. */
import type { Elementwise } from '@msd/core/nn';
import type { Match, Matcher } from '../passes/match.ts';
import { weightsOf } from '../weights/constant.ts';
import type { NodeView } from './operator.ts';
import { quantizedProduct } from './product.ts';

/** The product, `undefined` if its weights are no such integers, or why kernels do not have them: then their floats are multiplied. */
export function matMulOfIntegers(view: NodeView, matcher: Matcher): Match | string | undefined {
  const { node } = view;
  const [x = '', b = ''] = node.inputs;
  const weights = weightsOf(matcher, b, false, matrixDims(matcher, x, b));
  if (weights?.kind !== 'matrix') return weights?.reason;
  const [y = ''] = node.outputs;
  return matcher.notFloat('A', x) ?? quantizedProduct(view, matcher, { nodes: [node], x, matrix: weights.matrix, y });
}

/** The last two sizes of [1, …, K, N]. More dimensions than x has would become those of the result. */
function matrixDims(matcher: Matcher, x: string, b: string): readonly [number, number] | undefined {
  const rank = matcher.info(x)?.dims?.length ?? 0;
  const dims = matcher.tensor(b)?.dims ?? [];
  const isOne = dims.length > 2 && dims.length <= rank && dims.slice(0, -2).every((dim) => dim === 1);
  return isOne ? [dims.at(-2)!, dims.at(-1)!] : undefined;
}

/** alpha · A · B + beta · C, B as it is or transposed. */
export function gemmOfIntegers(view: NodeView, matcher: Matcher): Match | string | undefined {
  const { node } = view;
  const [x = '', b = '', c = ''] = node.inputs;
  const weights = weightsOf(matcher, b, view.int('transB', 0) !== 0);
  if (weights?.kind !== 'matrix') return weights?.reason;
  const alpha = view.float('alpha', 1);
  if (!Number.isFinite(alpha)) return `alpha is ${alpha}`;
  const { matrix } = weights;
  const [y = ''] = node.outputs;
  const beta = view.float('beta', 1);
  const isBias = beta === 1 && matcher.info(c)?.dims?.join() === `${matrix.N}`;
  const addend = c === '' || isBias ? undefined : { name: c, times: beta };
  const before = alpha === 1 ? undefined : times(alpha);
  return quantizedProduct(view, matcher, { nodes: [node], x, before, matrix, ...(isBias && { bias: c }), addend, y });
}

function times(factor: number): Elementwise {
  const nodes: Elementwise['nodes'] = [
    { fn: 'ConstantF32', args: [], values: [factor] },
    { fn: 'Mul', args: [0, 1] },
  ];
  return { nodes, outputs: [2] };
}
