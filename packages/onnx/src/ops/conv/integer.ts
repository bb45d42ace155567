/** Convolutions of activations that are quantized while a model runs: DynamicQuantizeLinear -> ConvInteger -> Cast -> Mul (-> Mul). */

import { countOf } from '../../dims.ts';
import { type TensorRef, tensorFloats } from '../../read/tensor.ts';
import { columnsMatrix, refusedColumns } from '../../weights/columns.ts';
import { reordered } from '../../weights/reordered.ts';
import { integersOf, quantizedFrom, refusedScales, rescaled } from '../dynamic.ts';
import type { Pattern } from '../operator.ts';
import { convolution, shapeOf } from './conv.ts';
import { depthwise, isDepthwise } from './slide.ts';

/** One element, or one of each of N channels of a result [batch, N, …]. */
const isScaleOf = (N: number | undefined) => (dims: readonly number[], rank: number | undefined) => {
  const channel = dims.length - (rank ?? 0) + 1;
  return dims.length <= Math.max(1, rank ?? 0) && dims.every((dim, i) => dim === 1 || (i === channel && dim === N));
};

export const convIntegerChain: Pattern = (matcher, node) => {
  const [a = '', w = '', zeroPoint = '', z = ''] = node.inputs;
  const quantized = quantizedFrom(matcher, a);
  if (!quantized) return 'X is not made by DynamicQuantizeLinear';
  if (matcher.exactly !== undefined) return matcher.exactly;
  if (zeroPoint !== quantized.zeroPoint) return 'the zero point of X is another one';
  const integers = integersOf(matcher, 'W', w, z);
  if (typeof integers === 'string') return integers;
  const { data, zeroPoints } = integers;
  const view = matcher.view(node);
  const [N = 0] = data.dims;
  const chain = rescaled(matcher, node, quantized.scale, isScaleOf(N));
  if (typeof chain === 'string') return chain;
  const { nodes, scales, y } = chain;
  const columns = { N, K: countOf(data.dims.slice(1)), data, byRows: true, scales, zeroPoints };
  const refused = refusedScales(matcher, 'W', scales) ?? refusedColumns(columns);
  if (refused !== undefined) return refused;
  const { x } = quantized;
  if (isDepthwise(view, data))
    return depthwise(view, matcher, { nodes, x, w, bias: '', y, real: realOf(N, scales, zeroPoints) });
  const shape = shapeOf(view, data);
  if (typeof shape === 'string') return shape;
  const { windows, order } = shape;
  const matrix = reordered(columnsMatrix(columns), order);
  return convolution(view, matcher, { nodes, x, windows, weights: { matrix }, y, inOrt: 'integers' });
};

/** Codes [N, …] as what they stand for, scale · (code − zero point). */
function realOf(N: number, scales: readonly (TensorRef | number)[], zeroPoints: TensorRef | undefined) {
  return (codes: Float32Array): Float32Array => {
    const factors = scales.map((scale) => (typeof scale === 'number' ? Float32Array.of(scale) : tensorFloats(scale)));
    const zeros = zeroPoints ? tensorFloats(zeroPoints) : new Float32Array(1);
    const of = (values: Float32Array, n: number): number => values[values.length === 1 ? 0 : n]!;
    return codes.map((code, i) => {
      const n = Math.floor((i * N) / codes.length);
      return factors.reduce((value, factor) => Math.fround(value * of(factor, n)), code - of(zeros, n));
    });
  };
}
