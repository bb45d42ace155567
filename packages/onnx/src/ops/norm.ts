/** Normalizations of rows. */
import { FLOAT32 } from '../data-types.ts';
import type { Info } from '../ir/info.ts';
import { axisOf, type NodeView, type Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

/** The result, then mean and inverse standard deviation with the normalized dimensions as 1. */
function norm(node: NodeView, [x]: Inputs): (Info | undefined)[] {
  const result = x && { elemType: x.elemType, dims: x.dims };
  if (node.node.outputs.length === 1) return [result];
  const axis = x?.dims && axisOf(node, node.int('axis', -1), x.dims.length);
  const dims = x?.dims?.map((dim, i) => (i >= axis! ? 1 : dim));
  return node.node.outputs.map((_, i) => (i === 0 ? result : { elemType: FLOAT32, dims }));
}

/** The result; mean and inverse standard deviation; the sum of the operands. */
function skip(node: NodeView, [x]: Inputs): (Info | undefined)[] {
  const whole = x && { elemType: x.elemType, dims: x.dims };
  const dims = x?.dims?.toSpliced(-1, 1, 1);
  return node.node.outputs.map((_, i) => (i === 0 || i === 3 ? whole : { elemType: FLOAT32, dims }));
}

export const normOperators: readonly Operator[] = [
  { name: 'LayerNormalization', infer: norm },
  { name: 'RMSNormalization', infer: norm },
  { name: 'SimplifiedLayerNormalization', infer: norm },
  { name: 'com.microsoft.SkipLayerNormalization', infer: skip },
  { name: 'com.microsoft.SkipSimplifiedLayerNormalization', infer: skip },
];
