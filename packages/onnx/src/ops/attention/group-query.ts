/** Attention stays ONNX Runtime's; its results' types are known, so that what follows it can be planned. */
import type { Info, Size, Symbols } from '../../ir/info.ts';
import type { NodeView, Operator } from '../operator.ts';

type Inputs = readonly (Info | undefined)[];

/** Sizes of `present`: those of `past`, more or fewer positions. */
export function presentOf(past: Info | undefined, symbols: Symbols): Info | undefined {
  return past && { elemType: past.elemType, dims: past.dims?.toSpliced(2, 1, symbols.fresh(past.dims)) };
}

function groupQueryAttention(
  node: NodeView,
  [query, key, , pastKey, pastValue]: Inputs,
  symbols: Symbols,
): (Info | undefined)[] {
  const heads = node.int('num_heads', 0);
  const kvHeads = node.int('kv_num_heads', 0);
  let dims = query?.dims;
  // Without a key, queries, keys and values lie side by side.
  if (dims && !key) dims = dims.toSpliced(2, 1, share(dims[2]!, heads, heads + 2 * kvHeads, symbols));
  const result = query && { elemType: query.elemType, dims };
  return node.node.outputs.map((_, i) =>
    i === 0 ? result : i === 1 ? presentOf(pastKey, symbols) : i === 2 ? presentOf(pastValue, symbols) : undefined,
  );
}

function share(size: Size, part: number, whole: number, symbols: Symbols): Size {
  return typeof size === 'number' && whole > 0 ? (size * part) / whole : symbols.fresh();
}

export const groupQueryOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.GroupQueryAttention',
    limits: "ONNX Runtime's; its types are known",
    infer: groupQueryAttention,
  },
];
