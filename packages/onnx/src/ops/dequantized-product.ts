/** MatMul and Gemm with integers of the file that a DequantizeLinear makes floats: they are multiplied as they are. */
import type { Match, Matcher } from '../passes/matcher.ts';
import { weightsOf } from '../weights/constant.ts';
import { expressionOf } from './expression.ts';
import type { NodeView } from './operator.ts';
import { quantizedGemm, quantizedProduct } from './product.ts';
import { productInOrt } from './quantize.ts';

/** The product, `undefined` if its weights are no such integers, or why kernels do not have them: then their floats are multiplied. */
export function matMulOfIntegers(view: NodeView, matcher: Matcher): Match | string | undefined {
  const { node } = view;
  const [x = '', b = ''] = node.inputs;
  const weights = weightsOf(matcher, b, false, matrixDims(matcher, x, b));
  if (weights?.kind !== 'matrix') return weights?.reason;
  const [y = ''] = node.outputs;
  const inOrt = productInOrt(matcher, x, y);
  return (
    matcher.notFloat('A', x) ?? quantizedProduct(view, matcher, { nodes: [node], x, matrix: weights.matrix, y, inOrt })
  );
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
  const [x = '', b = ''] = view.node.inputs;
  const [y = ''] = view.node.outputs;
  const weights = weightsOf(matcher, b, view.int('transB', 0) !== 0);
  if (weights?.kind !== 'matrix') return weights?.reason;
  const alpha = view.float('alpha', 1);
  const before = alpha === 1 ? undefined : expressionOf((to, x) => to.add('Mul', [x, to.number(alpha)]));
  return quantizedGemm(view, matcher, weights.matrix, { before, inOrt: productInOrt(matcher, x, y) });
}
