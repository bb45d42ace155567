/**
 * com.microsoft.QAttention: codes of x [B, M, D] times weights of 8 bits, then attention on floats. Codes of a DynamicQuantizeLinear
 * are left out: the floats that they are made of are multiplied.
 */

import { FLOAT32 } from '../../data-types.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import { columnsMatrix } from '../../weights/columns.ts';
import { quantizedFrom } from '../dynamic.ts';
import { withoutZero } from '../expression.ts';
import type { NodeView, Operator } from '../operator.ts';
import type { QuantizedProduct } from '../product.ts';
import { codedWeights } from '../q-linear-product.ts';
import { codingOf, notCodes } from '../quantize.ts';
import { inferPacked, matchPacked, PACKED_ATTRIBUTES } from './packed.ts';
import { matrixProjection } from './projection.ts';

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [a = '', weights = '', bias = '', s = '', ws = '', padding = '', z = '', wz = '', past = ''] = node.inputs;
  const refused =
    (bias === '' ? undefined : matcher.notFloat('bias', bias)) ??
    (past === '' ? undefined : matcher.notFloat('past', past));
  if (refused !== undefined) return refused;
  const x = inputOf(matcher, a, s, z);
  if (typeof x === 'string') return x;
  const columns = codedWeights(matcher, [weights, ws, wz], false);
  if (typeof columns === 'string') return columns;
  const { scale, ...rest } = x;
  const matrix = columnsMatrix({ ...columns, scales: [...columns.scales, scale] });
  const projection = matrixProjection(view, matcher, {
    nodes: [node],
    matrix,
    bias,
    y: '',
    inOrt: 'integers',
    ...rest,
  });
  const shape = columns.data.dims;
  return matchPacked(view, matcher, { projection, x: matcher.info(a), shape, padding, past, added: '' });
}

/** What is multiplied, and the scale of its units. */
function inputOf(
  matcher: Matcher,
  a: string,
  s: string,
  z: string,
): (Pick<QuantizedProduct, 'x' | 'before'> & { readonly scale: number }) | string {
  const made = quantizedFrom(matcher, a);
  if (made)
    return made.scale === s && made.zeroPoint === z
      ? { x: made.x, scale: 1 }
      : 'scale or zero point of input is another one';
  const coding = codingOf(matcher, 'input', s, z);
  if (typeof coding === 'string') return coding;
  const { scale, zeroPoint } = coding;
  return notCodes(matcher, 'input', a) ?? { x: a, before: withoutZero(zeroPoint), scale };
}

export const quantizedAttentionOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.QAttention',
    attributes: PACKED_ATTRIBUTES,
    othersSizedBy: 8,
    infer(view, [a, weights, , , , , , , past], symbols) {
      const x = a && { elemType: FLOAT32, dims: a.dims };
      return inferPacked(view, [x, weights, undefined, undefined, past], symbols);
    },
    isFirst: true,
    match,
  },
];
