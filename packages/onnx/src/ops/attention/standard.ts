/** ONNX's own Attention: queries, keys and values [B, rows, heads · size] or [B, heads, rows, size]. */
import type { ScoreArray } from '@msd/core';
import { copyOnWasm as copy, pad } from '@msd/core/nn';
import { BOOL, INT64 } from '../../data-types.ts';
import type { Info, Size } from '../../ir/info.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import { type Elements, emitOp, type Heads, headsFirst, headsOfRows, type Lowering, type Slot } from '../lowering.ts';
import type { NodeView, Operator } from '../operator.ts';
import { type AskedMode, emitJoined, emitScores } from './asked.ts';
import { biasArray, lateOf, maskArray } from './biases.ts';
import { notFloats, scoresOfSizes } from './common.ts';
import { type AttentionFacts, emitAttention, emitHeadsFirst, maskBias } from './facts.ts';
import { attentionMatch, cacheOf, namesOf } from './one-node.ts';

type Inputs = readonly (Info | undefined)[];

/** Sizes as [batch, heads, rows, size]. */
function headsOf(x: Info | undefined, heads: number): readonly Size[] | undefined {
  if (x?.dims?.length === 4) return x.dims;
  if (x?.dims?.length !== 3 || heads <= 0) return undefined;
  const [batch, rows, width] = x.dims as readonly [Size, Size, Size];
  return typeof width === 'number' ? [batch, heads, rows, width / heads] : undefined;
}

const infer: Operator['infer'] = (view, [query, key, value, , pastKey, pastValue]: Inputs, symbols) => {
  const kvHeads = view.int('kv_num_heads', 0);
  const q = headsOf(query, view.int('q_num_heads', 0));
  const v = headsOf(value, kvHeads);
  let dims: readonly Size[] | undefined;
  if (q && v) {
    const [batch, heads, rows] = q as readonly [Size, Size, Size];
    const size = v[3]!;
    if (query?.dims?.length === 4) dims = [batch, heads, rows, size];
    else if (typeof heads === 'number' && typeof size === 'number') dims = [batch, rows, heads * size];
  }
  const present = (past: Info | undefined, own: Info | undefined): Info | undefined => {
    const sizes = headsOf(own, kvHeads);
    if (!own || !sizes) return own && { elemType: own.elemType, dims: undefined };
    return { elemType: own.elemType, dims: past?.dims ? sizes.with(2, symbols.fresh(past.dims)) : sizes };
  };
  const keys = present(pastKey, key);
  return view.node.outputs.map((_, i) => {
    if (i === 0) return query && { elemType: query.elemType, dims };
    if (i === 3)
      return query && { elemType: query.elemType, dims: q && keys?.dims && [...q.slice(0, 3), keys.dims[2]!] };
    return i === 1 ? keys : i === 2 ? present(pastValue, value) : undefined;
  });
};

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [query = '', key = '', value = '', mask = '', pastKey = '', pastValue = '', valid = ''] = node.inputs;
  const [y = '', presentKey = '', presentValue = '', scores = ''] = node.outputs;
  const isBool = mask !== '' && matcher.info(mask)?.elemType === BOOL;
  const refused = notFloats(matcher, {
    Q: query,
    K: key,
    V: value,
    attn_mask: isBool ? '' : mask,
    past_key: pastKey,
    past_value: pastValue,
  });
  if (refused !== undefined) return refused;
  const isAsked = scores !== '';
  const mode = view.int('qk_matmul_output_mode', 0);
  if (isAsked && (mode === 1 || valid !== '' || view.float('softcap', 0) !== 0 || view.int('is_causal', 0) === 1))
    return 'scores are asked for beside a softcap or more than one mask';
  if (valid !== '' && matcher.info(valid)?.elemType !== INT64) return 'nonpad_kv_seqlen is not int64';
  if (valid !== '' && pastKey !== '') return 'nonpad_kv_seqlen beside a past';
  // Who sees the scores is given floats: they are multiplied as they are, keys of the past too.
  const cache = isAsked
    ? undefined
    : cacheOf({ key: pastKey, value: pastValue }, { key: presentKey, value: presentValue });
  const isJoined = isAsked && pastKey !== '';
  const late = [valid, cache ? mask : ''].filter((name) => name !== '');
  const isCausal = view.int('is_causal', 0) === 1;
  return attentionMatch(view, matcher, {
    inputs: [query, key, value, mask, pastKey, pastValue, valid],
    outputs: [y, presentKey, presentValue, scores],
    late,
    caches: cache ? namesOf(cache) : [],
    scores: scoresOfSizes(
      rowsOf(matcher.info(query)?.dims),
      cache ? matcher.info(presentKey)?.dims?.[2] : rowsOf(matcher.info(key)?.dims)?.[1],
      view.int('q_num_heads', 0) || headCount(matcher.info(query)?.dims),
      undefined,
      view.int('kv_num_heads', 0) || headCount(matcher.info(key)?.dims) || undefined,
    ),
    lower(to) {
      const [q, k, v] = [to.slot(query), to.slot(key), to.slot(value)];
      const [batch, heads, rows, headSize] = sizesOf(view, q, view.int('q_num_heads', 0));
      const [, kvHeads, added] = sizesOf(view, k, view.int('kv_num_heads', 0));
      const valueSize = sizesOf(view, v, kvHeads)[3];
      const keys = added + (isJoined ? to.slot(pastKey).dims[2]! : 0);
      const joined = (own: Heads, past: string, present: string): Heads =>
        isJoined ? emitJoined(to, to.slot(past), own, added, present) : own;
      const own = cache || mask === '' ? undefined : padded(to, to.slot(mask), keys);
      const asBias = own && isBool && (valid !== '' || isAsked);
      const facts: AttentionFacts & { readonly k: Heads } = {
        ...{ batch, rows, keys, heads, kvHeads, headSize, valueSize },
        scale: view.has('scale') ? view.float('scale', 0) : undefined,
        softcap: view.float('softcap', 0) || undefined,
        // Causal from the last valid key on: the mask of every run says so.
        isCausal: isCausal && valid === '',
        q: partOf(q, rows, headSize),
        k: joined(partOf(k, added, headSize), pastKey, presentKey),
        v: joined(partOf(v, added, valueSize), pastValue, presentValue),
        biases: own && (!isBool || asBias) ? [asBias ? maskBias(to, own) : own] : [],
        mask: isBool && !asBias ? own : undefined,
        cache,
        late: lateOf(late, ([first], pastRows) => {
          if (valid !== '') return { mask: validKeys(first!, rows, keys, isCausal) };
          return isBool
            ? { mask: wide(maskArray(first!), pastRows + keys, 0) }
            : { bias: wide(biasArray(first!), pastRows + keys, Number.NEGATIVE_INFINITY) };
        }),
      };
      emitAttention(to, facts, y, q.dims.length === 3 ? 'rows' : 'heads');
      if (isAsked) emitScores(to, facts, mode as AskedMode, scores);
      if (cache || isJoined) return;
      if (presentKey !== '')
        emitHeadsFirst(to, partOf(k, keys, headSize), [batch, kvHeads, keys, headSize], presentKey);
      if (presentValue !== '')
        emitHeadsFirst(to, partOf(v, keys, valueSize), [batch, kvHeads, keys, valueSize], presentValue);
    },
  });
}

/** Batch, rows, and what all heads have together. */
function rowsOf(dims: readonly Size[] | undefined): readonly Size[] | undefined {
  if (!dims) return undefined;
  const width = dims.at(-1);
  const hidden = typeof width === 'number' ? [width * (dims.length === 4 ? headCount(dims) : 1)] : [];
  return [dims[0] ?? 1, dims.at(-2) ?? 1, ...hidden];
}

function headCount(dims: readonly Size[] | undefined): number {
  const heads = dims?.length === 4 ? dims[1] : undefined;
  return typeof heads === 'number' ? heads : 0;
}

function sizesOf(
  view: NodeView,
  slot: Slot,
  heads: number,
): readonly [batch: number, heads: number, rows: number, size: number] {
  const { dims } = slot;
  if (dims.length === 4) return dims as readonly [number, number, number, number];
  if (dims.length !== 3 || !(heads > 0 && Number.isInteger(dims[2]! / heads)))
    view.fail('operand', `[batch, rows, heads · size] with ${heads} heads`, `[${dims.join(', ')}]`);
  return [dims[0]!, heads, dims[1]!, dims[2]! / heads];
}

const partOf = (slot: Slot, rows: number, size: number): Heads =>
  slot.dims.length === 4 ? headsFirst(slot) : headsOfRows(slot, rows, size);

/** A mask may end early: later keys are not seen. */
function padded(to: Lowering, mask: Slot, keys: number): Slot {
  const { dims, dtype } = mask;
  const own = dims.at(-1)!;
  if (own === keys || own === 1) return mask;
  const none = dims.map(() => 0);
  const after = none.with(-1, keys - own);
  const value = dtype === 'bool' ? 0 : Number.NEGATIVE_INFINITY;
  return emitOp(to, copy, pad(dims, { before: none, after, mode: 'constant', value }), [mask], [])[0]!;
}

/** The same of a mask of JavaScript. */
function wide<Data extends Float32Array | Uint8Array>(
  { dims, data }: ScoreArray<Data>,
  keys: number,
  value: number,
): ScoreArray<Data> {
  const own = dims[3];
  if (own === 1 || own >= keys) return { dims, data };
  const rows = dims[0] * dims[1] * dims[2];
  const full = new (data.constructor as new (length: number) => Data)(rows * keys).fill(value) as Data;
  for (let row = 0; row < rows; row++) full.set(data.subarray(row * own, (row + 1) * own), row * keys);
  return { dims: [dims[0], dims[1], dims[2], keys], data: full };
}

/** Keys that count; causal: the last query is at the last of them. */
function validKeys({ data }: Elements, rows: number, keys: number, isCausal: boolean): ScoreArray<Uint8Array> {
  const batch = data.length;
  const height = isCausal ? rows : 1;
  const mask = new Uint8Array(batch * height * keys);
  for (let b = 0; b < batch; b++)
    for (let m = 0; m < height; m++) {
      const end = isCausal ? data[b]! - rows + m + 1 : data[b]!;
      mask.fill(1, (b * height + m) * keys, (b * height + m) * keys + Math.min(keys, Math.max(0, end)));
    }
  return { dims: [batch, 1, height, keys], data: mask };
}

export const standardOperators: readonly Operator[] = [
  {
    name: 'Attention',
    attributes: [
      'is_causal',
      'kv_num_heads',
      'q_num_heads',
      'qk_matmul_output_mode',
      'scale',
      'softcap',
      'softmax_precision',
    ],
    infer,
    isFirst: true,
    match,
  },
];
