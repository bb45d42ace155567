/** Attention stays ONNX Runtime's; its results' types are known, so that what follows it can be planned. */
import type { Info } from '../ir/info.ts';
import { groupQueryAttention } from './attention/group-query.ts';
import type { NodeView, Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

function multiHeadAttention(node: NodeView, [query, , value]: Inputs): (Info | undefined)[] {
  const dims =
    query?.dims?.length === 3 && value?.dims?.length === 3
      ? [query.dims[0]!, query.dims[1]!, value.dims[2]!]
      : undefined;
  return node.node.outputs.map((_, i) => (i === 0 && query ? { elemType: query.elemType, dims } : undefined));
}

export const attentionOperators: readonly Operator[] = [
  groupQueryAttention,
  { name: 'com.microsoft.MultiHeadAttention', infer: multiHeadAttention },
];
