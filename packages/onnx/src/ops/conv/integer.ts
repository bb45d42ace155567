/** Convolutions of integers that become floats: DynamicQuantizeLinear -> ConvInteger -> Cast -> Mul (-> Mul), or a constant zero point. */

import { countOf } from '../../dims.ts';
import { type TensorRef, tensorFloats } from '../../read/tensor.ts';
import { columnsMatrix, refusedColumns } from '../../weights/columns.ts';
import { reordered } from '../../weights/reordered.ts';
import { floatProduct } from '../dynamic.ts';
import { integersOf, isScaleOf, refusedScales } from '../integers.ts';
import type { Pattern } from '../operator.ts';
import { convolution, shapeOf } from './conv.ts';
import { type Depthwise, depthwise, isDepthwise } from './slide.ts';

export const convIntegerChain: Pattern = (matcher, node) => {
  const [, w = '', , z = ''] = node.inputs;
  const integers = integersOf(matcher, 'W', w, z);
  if (typeof integers === 'string') return integers;
  const { data, zeroPoints } = integers;
  const view = matcher.view(node);
  const [N = 0] = data.dims;
  const product = floatProduct(
    matcher,
    node,
    'X',
    isScaleOf(N, () => 1),
  );
  if (typeof product === 'string') return product;
  const { nodes, x, before, scales, y } = product;
  const columns = { N, K: countOf(data.dims.slice(1)), data, byRows: true, scales, zeroPoints };
  const refused = refusedScales(matcher, 'W', scales) ?? refusedColumns(columns);
  if (refused !== undefined) return refused;
  if (isDepthwise(view, data))
    return depthwise(view, matcher, { nodes, x, before, w, bias: '', y, real: realOf(N, scales, zeroPoints) });
  const shape = shapeOf(view, data);
  if (typeof shape === 'string') return shape;
  const { windows, groups, order } = shape;
  const matrix = reordered(columnsMatrix(columns), order);
  return convolution(view, matcher, { nodes, x, before, windows, groups, weights: { matrix }, y, inOrt: 'integers' });
};

/** Codes [N, …] as what they stand for, scale · (code − zero point). */
export function realOf(
  N: number,
  scales: readonly (TensorRef | number)[],
  zeroPoints: TensorRef | undefined,
): Depthwise['real'] {
  const names = [...scales.map((scale) => (typeof scale === 'number' ? scale : scale.name)), zeroPoints?.name];
  const floatsOf = (scale: TensorRef | number): Float32Array =>
    typeof scale === 'number' ? Float32Array.of(scale) : tensorFloats(scale);
  const at = (values: Float32Array, n: number): number => values[values.length === 1 ? 0 : n]!;
  return {
    key: `times ${JSON.stringify(names)}`,
    of(codes) {
      const factors = scales.map(floatsOf);
      const zeros = zeroPoints ? tensorFloats(zeroPoints) : new Float32Array(1);
      return codes.map((code, i) => {
        const n = Math.floor((i * N) / codes.length);
        return factors.reduce((value, factor) => Math.fround(value * at(factor, n)), code - at(zeros, n));
      });
    },
  };
}
