/**
 * com.microsoft.MultiHeadAttention.
 *
 *   query [B, M, D]          key, value [B, L, D]; with heads first [B, N, L, H] in cross-attention
 *   query [B, M, N, 3, H]    all three
 *   key [B, L, N, 2, H]      both
 */

import { INT32 } from '../../data-types.ts';
import { stridesOf } from '../../dims.ts';
import type { Info, Size } from '../../ir/info.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import { type Heads, headsFirst, headsOfRows, type Lowering, type Slot } from '../lowering.ts';
import type { NodeView, Operator } from '../operator.ts';
import { notFloats, presentOf, scoresOfSizes } from './common.ts';
import { copyOf, emitAttention, emitFunction, emitHeadsFirst } from './facts.ts';
import { attentionMatch, cacheOf, namesOf } from './one-node.ts';
import { paddedLate } from './padding.ts';

const infer: Operator['infer'] = (view, [query, key, value, , , , pastKey, pastValue], symbols) => {
  const heads = view.int('num_heads', 0);
  const q = query?.dims;
  const v = value?.dims;
  const k = key?.dims;
  const times = (size: Size): Size => (typeof size === 'number' ? size * heads : symbols.fresh());
  const last =
    q?.length === 5 ? times(q[4]!) : k?.length === 5 ? times(k[4]!) : v?.length === 4 ? times(v[3]!) : v?.[2];
  const dims = q && last !== undefined ? [q[0]!, q[1]!, last] : undefined;
  const present = (past: Info | undefined, own: Info | undefined): Info | undefined => {
    const width = own?.dims?.length === 3 ? own.dims[2]! : undefined;
    const size = typeof width === 'number' && heads > 0 ? width / heads : undefined;
    if (past) return presentOf(past, symbols, size);
    if (size === undefined) return query && { elemType: query.elemType, dims: undefined };
    return { elemType: query?.elemType ?? 0, dims: [own!.dims![0]!, heads, own!.dims![1]!, size] };
  };
  return view.node.outputs.map((_, i) => {
    if (i === 0) return query && { elemType: query.elemType, dims };
    return i === 1 ? present(pastKey, key) : i === 2 ? present(pastValue, value) : undefined;
  });
};

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [query = '', key = '', value = '', bias = '', padding = '', added = ''] = node.inputs;
  const [pastKey = '', pastValue = '', pastLength = '', indirection = ''] = node.inputs.slice(6);
  const [y = '', presentKey = '', presentValue = '', scores = ''] = node.outputs;
  const refused = notFloats(matcher, {
    query,
    key,
    value,
    bias,
    attention_bias: added,
    past_key: pastKey,
    past_value: pastValue,
  });
  if (refused !== undefined) return refused;
  const heads = view.int('num_heads', 0);
  if (heads <= 0) return 'num_heads is not given';
  if (scores !== '') return 'the scores are an output';
  if (pastLength !== '' || indirection !== '') return 'past and present share a buffer';
  if (padding !== '' && matcher.info(padding)?.elemType !== INT32) return 'the mask is not int32';
  const isPacked = [query, key].some((name) => name !== '' && matcher.info(name)?.dims?.length === 5);
  if (bias !== '' && isPacked) return 'a bias beside packed operands';
  // ONNX Runtime takes no notice of a past if nobody asks for the present.
  const isKept = presentKey !== '' || presentValue !== '';
  // Its mask and bias are of both, and are read as if they were not: alike only where there is one row.
  const biasRows = matcher.info(added)?.dims?.slice(0, -1);
  const isAlike = padding === '' && (added === '' || biasRows?.every((dim) => dim === 1));
  if (!isKept && pastKey !== '' && !isAlike) return 'a mask or bias beside a past, and no present';
  const past = isKept ? { key: pastKey, value: pastValue } : { key: '', value: '' };
  const cache = cacheOf(past, { key: presentKey, value: presentValue });
  const filter = view.float('mask_filter_value', -10_000);
  const scale = view.float('scale', 0) || undefined;
  const isCausal = view.int('unidirectional', 0) === 1;
  const keyRows = matcher.info(key)?.dims?.at(isFirst(matcher, key) ? 2 : 1);
  if (isCausal && key !== '' && mayBeMore(keyRows, matcher.info(query)?.dims?.[1])) return MORE_KEYS;
  // A bias is an operand, or comes with every run.
  const isLate = cache !== undefined || padding !== '';
  const late = [padding, isLate ? added : ''].filter((name) => name !== '');
  return attentionMatch(view, matcher, {
    inputs: [query, key, value, bias, padding, added, past.key, past.value],
    outputs: [y, presentKey, presentValue],
    late,
    caches: cache ? namesOf(cache) : [],
    scores: scoresOfSizes(
      matcher.info(query)?.dims,
      past.key === '' ? keyRows : matcher.info(presentKey)?.dims?.[2],
      heads,
    ),
    lower(to) {
      const { batch, rows, keys, q, k, v, headSize, valueSize } = operandsOf(to, heads, { query, key, value, bias });
      if (isCausal && keys > rows)
        view.fail('key', `at most ${rows} rows: unidirectional, and as many queries`, `${keys}`);
      emitAttention(
        to,
        {
          batch,
          rows,
          keys,
          heads,
          kvHeads: heads,
          headSize,
          valueSize,
          scale,
          isCausal,
          q,
          k,
          v,
          biases: added !== '' && !isLate ? [firstKeys(to, to.slot(added), keys)] : [],
          cache,
          late: paddedLate(padding, isLate ? added : '', filter, (pastRows) => ({
            batch,
            rows,
            keys: pastRows + keys,
          })),
        },
        y,
        'rows',
      );
      if (cache) return;
      if (presentKey !== '') emitHeadsFirst(to, k, [batch, heads, keys, headSize], presentKey);
      if (presentValue !== '') emitHeadsFirst(to, v, [batch, heads, keys, valueSize], presentValue);
    },
  });
}

/** The bias of a past that nobody takes notice of is too wide. */
function firstKeys(to: Lowering, bias: Slot, keys: number): Slot {
  const { dims } = bias;
  return dims.at(-1)! > Math.max(1, keys) ? copyOf(to, bias, 0, dims.with(-1, keys), stridesOf(dims)) : bias;
}

const MORE_KEYS = 'unidirectional with more keys than queries: ONNX Runtime shows all of them to the last query';

const mayBeMore = (keys: Size | undefined, rows: Size | undefined): boolean =>
  keys !== rows && !(typeof keys === 'number' && typeof rows === 'number' && keys < rows);

/** Are heads the second dimension? */
const isFirst = (matcher: Matcher, name: string): boolean => matcher.info(name)?.dims?.length === 4;

interface Operands {
  readonly batch: number;
  readonly rows: number;
  readonly keys: number;
  readonly headSize: number;
  readonly valueSize: number;
  readonly q: Heads;
  readonly k: Heads;
  readonly v: Heads;
}

export function operandsOf(
  to: Lowering,
  heads: number,
  { query, key, value, bias }: Readonly<Record<'query' | 'key' | 'value' | 'bias', string>>,
): Operands {
  const q = to.slot(query);
  const [batch, rows] = q.dims as readonly [number, number];
  if (q.dims.length === 5) {
    const size = q.dims[4]!;
    const [, k, v] = [0, 1, 2].map((part) => packed(q, part)) as [Heads, Heads, Heads];
    return { batch, rows, keys: rows, headSize: size, valueSize: size, q: packed(q, 0), k, v };
  }
  const added = bias === '' ? undefined : to.slot(bias);
  let from = 0;
  const withBias = (x: Slot): Slot => {
    const width = x.dims.at(-1)!;
    if (!added || x.dims.length !== 3) return x;
    const sum = emitFunction(to, 'Add', [x, copyOf(to, added, from, [width])]);
    from += width;
    return sum;
  };
  const headSize = q.dims[2]! / heads;
  const rowsOf = (x: Slot, count: number, size: number): Heads =>
    x.dims.length === 4 ? headsFirst(x) : headsOfRows(withBias(x), count, size);
  const own = { batch, rows, headSize, q: rowsOf(q, rows, headSize) };
  const k = to.slot(key);
  if (k.dims.length === 5) return { ...own, keys: k.dims[1]!, valueSize: headSize, k: packed(k, 0), v: packed(k, 1) };
  const v = to.slot(value);
  const keys = k.dims.length === 4 ? k.dims[2]! : k.dims[1]!;
  const valueSize = v.dims.length === 4 ? v.dims[3]! : v.dims[2]! / heads;
  return { ...own, keys, valueSize, k: rowsOf(k, keys, headSize), v: rowsOf(v, keys, valueSize) };
}

/** One of those that lie beside each other in every head, [B, M, N, parts, H]. */
function packed(slot: Slot, part: number): Heads {
  const [, rows, heads, parts, size] = slot.dims as readonly [number, number, number, number, number];
  const width = heads * parts * size;
  return { slot, begin: part * size, strides: { batch: rows * width, row: width, head: parts * size } };
}

export const multiHeadOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.MultiHeadAttention',
    attributes: ['num_heads', 'mask_filter_value', 'scale', 'unidirectional'],
    othersSizedBy: 6,
    infer,
    isFirst: true,
    match,
  },
];
