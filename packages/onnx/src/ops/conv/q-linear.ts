/** Convolutions of codes: QLinearConv. As products of codes are (q-linear-product.ts): codes less their zero point are multiplied. */

import { INT8 } from '../../data-types.ts';
import { countOf } from '../../dims.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import { columnsMatrix } from '../../weights/columns.ts';
import { reordered } from '../../weights/reordered.ts';
import { withoutZero } from '../expression.ts';
import type { NodeView } from '../operator.ts';
import { codedBias, codedTensor, codesOfSums } from '../q-linear-product.ts';
import { codingOf, notCodes } from '../quantize.ts';
import { convolution, shapeOf } from './conv.ts';
import { realOf } from './integer.ts';
import { depthwise, isDepthwise } from './slide.ts';

export function matchQLinearConv(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', xScale = '', xZero = '', w = '', wScale = '', wZero = '', yScale = '', yZero = '', b = ''] =
    node.inputs;
  const [y = ''] = node.outputs;
  const [from, to] = [codingOf(matcher, 'X', xScale, xZero), codingOf(matcher, 'Y', yScale, yZero)];
  if (typeof from === 'string') return from;
  if (typeof to === 'string') return to;
  const columns = codedTensor(matcher, 'W', [w, wScale, wZero], ({ dims }) => ({
    N: dims[0] ?? 0,
    K: countOf(dims.slice(1)),
    byRows: true,
  }));
  if (typeof columns === 'string') return columns;
  const refused = notCodes(matcher, 'X', x) ?? notCodes(matcher, 'Y', y);
  if (refused !== undefined) return refused;
  const bias = b === '' ? '' : codedBias('B', matcher.tensor(b), columns);
  if (typeof bias === 'string' && bias !== '') return bias;
  const ends = {
    before: withoutZero(from.zeroPoint),
    behind: codesOfSums(from, to, matcher.info(y)!.elemType),
  };
  const { N, data, scales, zeroPoints } = columns;
  if (isDepthwise(view, data))
    return depthwise(view, matcher, { nodes: [node], x, w, bias, y, ...ends, real: realOf(N, scales, zeroPoints) });
  const shape = shapeOf(view, data);
  if (typeof shape === 'string') return shape;
  const { windows, groups, order } = shape;
  const matrix = reordered(columnsMatrix(columns), order);
  return convolution(view, matcher, {
    nodes: [node],
    x,
    windows,
    groups,
    weights: { matrix },
    bias,
    y,
    ...ends,
    // ONNX Runtime has a quick kernel for uint8 alone: int8 costs it more than floats do.
    inOrt: matcher.info(x)?.elemType === INT8 ? 'floats' : 'codes',
  });
}
