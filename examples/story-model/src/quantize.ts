/**
 * The linear layers in int4: symmetric, blocks of 32 along K, by the project's own quantizer.
 *
 *   real = scale · (code − 8), code ∈ [0, 15]
 *
 * The embedding stays as it is for the lookup; the tied head gets its own quantised copy, as in exported graphs.
 */
import { dequantizeWeights, type QuantizedWeights, quantizeWeights } from '@msd/core';
import { EMBEDDING_NAME, type Weights } from './model.ts';

export const BLOCK_SIZE = 32;

/** @returns every linear layer by its weight's name, `lm_head.weight` [vocab, hidden] included. */
export function quantizedLinears(weights: Weights): ReadonlyMap<string, QuantizedWeights> {
  const linears = new Map<string, QuantizedWeights>();
  for (const [name, { shape, data }] of weights) {
    const [N = 0, K = 0] = shape;
    const target = name === EMBEDDING_NAME ? 'lm_head.weight' : name;
    if (shape.length === 2) {
      linears.set(target, quantizeWeights(data, { N, K, format: 'int4', blockSize: BLOCK_SIZE }));
    }
  }
  return linears;
}

/** @returns new weights: linear layers after int4 and back, plus `lm_head.weight`; norms and embedding are shared. */
export function quantizedWeights(weights: Weights): Weights {
  const result = new Map(weights);
  for (const [name, linear] of quantizedLinears(weights)) {
    result.set(name, { shape: [linear.N, linear.K], data: dequantizeWeights(linear) as Float32Array<ArrayBuffer> });
  }
  return result;
}
