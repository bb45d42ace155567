/** The product in front of attention that makes queries, keys and values, side by side. */
import { matMulOnWasm as matMul } from '@msd/core/nn';
import type { Match, Matcher } from '../../passes/matcher.ts';
import { emitOp, type Lowering, type Slot } from '../lowering.ts';
import type { NodeView } from '../operator.ts';
import { emitProduct, type QuantizedProduct, quantizedProduct } from '../product.ts';
import { emitFunction } from './facts.ts';

export interface Projection extends Pick<Match, 'product' | 'resources'> {
  /** '' = an operand that is not there. */
  readonly inputs: readonly string[];
  emit(to: Lowering): Slot;
}

/** Weights that are floats, constant or not. */
export function floatProjection(matcher: Matcher, x: string, weights: string, bias: string): Projection {
  const shape = matcher.info(weights)?.dims;
  const [K, N] = shape ?? [];
  const isWeights = matcher.isConstant(weights) && shape?.length === 2;
  return {
    inputs: [x, weights, bias],
    ...(isWeights && { product: { N: N as number, K: K as number, quantized: false } }),
    emit(to) {
      const [product] = emitOp(to, matMul, {}, [to.slot(x), to.slot(weights)], []) as [Slot];
      return bias === '' ? product : emitFunction(to, 'Add', [product, to.slot(bias)]);
    },
  };
}

/** Weights that are integers of the file. */
export function matrixProjection(view: NodeView, matcher: Matcher, product: QuantizedProduct): Projection {
  const { inputs, resources, product: price } = quantizedProduct(view, matcher, product);
  return { inputs, resources, product: price, emit: (to) => emitProduct(to, view, product) };
}
