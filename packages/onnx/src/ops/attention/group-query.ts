/**
 * GroupQueryAttention of com.microsoft: what decoders are exported with. Heads of queries and keys are normalised where the node has
 * weights for that, and turned by their positions (`do_rotary`); keys and values go to a cache, and every query sees the keys up to its own.
 *
 * How many keys a sequence has is told by two inputs, which change with every token: `seqlens_k` (keys of each sequence after the
 * run, less one) and `total_sequence_length` (the longest). A run with as many queries is a prompt: it begins at 0, whatever `past` is.
 */
import { type AttentionOp, MAX_HEAD_SIZE, rowMajor, type ScoreArray, type ScoreDims } from '@msd/core';
import { FLOAT32 } from '../../data-types.ts';
import type { Info, Size, Symbols } from '../../ir/info.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import { fetched } from '../late.ts';
import {
  type AttentionNow,
  type Elements,
  type Heads,
  headsOfRows,
  type KvScales,
  type LateAttention,
  type Lowering,
  type Slot,
} from '../lowering.ts';
import type { NodeView, Operator } from '../operator.ts';
import { type Angles, anglesOf, type Positions, turner } from './angles.ts';
import { isCoded, notCodes, scalesOf } from './codes.ts';
import { notFloats, presentOf, scoresOfSizes } from './common.ts';

type Inputs = readonly (Info | undefined)[];

function infer(node: NodeView, [query, key, , pastKey, pastValue]: Inputs, symbols: Symbols): (Info | undefined)[] {
  const heads = node.int('num_heads', 0);
  const kvHeads = node.int('kv_num_heads', 0);
  let dims = query?.dims;
  // Without a key, queries, keys and values lie side by side.
  if (dims && !key) dims = dims.toSpliced(2, 1, share(dims[2], heads, heads + 2 * kvHeads) ?? symbols.fresh());
  const result = query && { elemType: query.elemType, dims };
  // Two codes of 4 bits lie in a byte.
  const size = node.int('kv_cache_bit_width', 8) === 4 ? undefined : share(dims?.[2], 1, heads);
  const present = (past: Info | undefined): Info | undefined => past && presentOf(past, symbols, size);
  return node.node.outputs.map((_, i) => [result, present(pastKey), present(pastValue)][i]);
}

const share = (size: Size | undefined, part: number, whole: number): number | undefined =>
  typeof size === 'number' && whole > 0 ? (size * part) / whole : undefined;

/** Names of operands; '' = there is none. */
interface Roles {
  readonly q: string;
  readonly k: string;
  readonly v: string;
  readonly pastKey: string;
  readonly pastValue: string;
  readonly lengths: string;
  readonly total: string;
  readonly cos: string;
  readonly sin: string;
  readonly positions: string;
  readonly bias: string;
  readonly sinks: string;
  readonly kScale: string;
  readonly vScale: string;
  readonly qNorm: string;
  readonly kNorm: string;
}

function rolesOf({ node }: NodeView): Roles {
  const [q = '', k = '', v = '', pastKey = '', pastValue = '', lengths = '', total = '', ...more] = node.inputs;
  const [cos = '', sin = '', positions = '', bias = '', sinks = '', kScale = '', vScale = '', qNorm = '', kNorm = ''] =
    more;
  const given = { q, k, v, pastKey, pastValue, lengths, total, cos, sin, positions, bias, sinks };
  return { ...given, kScale, vScale, qNorm, kNorm };
}

/** What is repeated to the sizes of scores is taken as it was before. */
function unrepeated(matcher: Matcher, bias: string): string {
  const expand = matcher.producer(bias);
  const [from = ''] = expand?.inputs ?? [];
  return expand?.opType === 'Expand' && expand.domain === '' && matcher.isHostOperand(from) ? from : bias;
}

function refused(view: NodeView, matcher: Matcher, roles: Roles): string | undefined {
  const { outputs } = view.node;
  const { k, v, pastKey, pastValue, lengths, total, positions, bias, sinks, qNorm, kNorm } = roles;
  if (`${qNorm}${kNorm}` !== '' && [k, qNorm, kNorm].includes(''))
    return 'norms of packed queries and keys, or of one of them';
  if (view.int('qk_output', 0) !== 0 || (outputs[3] ?? '') !== '') return 'scores are an output';
  const codes = notCodes(view, matcher, roles);
  if (codes !== undefined) return codes;
  const pasts: Readonly<Record<string, string>> = isCoded(roles) ? {} : { pastKey, pastValue };
  const floats = { q: roles.q, k, v, ...pasts, sinks, qNorm, kNorm };
  const notFloat = notFloats(matcher, floats);
  if (notFloat !== undefined) return notFloat;
  if ((k === '') !== (v === '')) return 'of keys and values, one is missing';
  if ((pastKey === '') !== (pastValue === '')) return 'of past keys and values, one is missing';
  if (!matcher.isHostOperand(lengths) || !matcher.isHostOperand(total)) return 'lengths are not at hand';
  if (positions !== '' && !matcher.isHostOperand(positions)) return 'positions are not at hand';
  for (const name of [pastKey, pastValue]) if (matcher.placeOf(name) === 'device') return 'past is computed';
  if (
    bias !== '' &&
    (matcher.notFloat('bias', bias) ?? matcher.placeOf(bias)) !== 'elsewhere' &&
    !matcher.isHostOperand(bias)
  )
    return 'the bias is not at hand';
  if (view.int('local_window_size', -1) === 0) return 'local_window_size 0';
  const heads = view.int('num_heads', 0);
  const kvHeads = view.int('kv_num_heads', 0);
  if (!(kvHeads > 0 && heads > 0 && heads % kvHeads === 0)) return `${heads} heads over ${kvHeads}`;
  const size = headSizeOf(view, matcher, roles);
  if (size !== undefined && size > MAX_HEAD_SIZE) return `heads of ${size}`;
  return undefined;
}

/** `undefined`: only a run knows. Keys and values may lie beside the queries. */
function headSizeOf(view: NodeView, matcher: Matcher, { q, k }: Roles): number | undefined {
  const width = matcher.info(q)?.dims?.[2];
  const heads = view.int('num_heads', 0) + (k === '' ? 2 * view.int('kv_num_heads', 0) : 0);
  return typeof width === 'number' ? width / heads : undefined;
}

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const named = rolesOf(view);
  const roles = { ...named, bias: unrepeated(matcher, named.bias) };
  const reason = refused(view, matcher, roles);
  if (reason !== undefined) return reason;
  const { q, k, v, pastKey, pastValue, lengths, total, cos, sin, positions, bias } = roles;
  const others = [roles.sinks, roles.kScale, roles.vScale, roles.qNorm, roles.kNorm];
  const scales = scalesOf(matcher, roles);
  if (scales) fetched('coded');
  const isRotary = view.int('do_rotary', 0) === 1;
  const angles = isRotary ? anglesOf(matcher, cos, sin) : undefined;
  if (typeof angles === 'string') return angles;
  const { values: tables = [], resources = [] } = angles ?? {};
  const late = [lengths, total, bias, ...(isRotary ? [positions, angles!.condition] : [])].filter(
    (name) => name !== '',
  );
  const [y = '', presentKey = '', presentValue = ''] = node.outputs;
  return {
    op: 'attention',
    place: 'device',
    nodes: [node],
    inputs: [q, k, v, pastKey, pastValue, ...tables, ...others, ...late],
    outputs: [y, presentKey, presentValue],
    late,
    caches: [pastKey, pastValue, presentKey, presentValue],
    scores: scoresOfSizes(
      matcher.info(q)?.dims,
      matcher.info(presentKey)?.dims?.[2],
      view.int('num_heads', 0),
      2 * (headSizeOf(view, matcher, roles) ?? 64),
      view.int('kv_num_heads', 0),
    ),
    resources: [...matcher.constants([q, k, v, ...tables, ...others]), ...resources],
    lower: (to) => lower(to, view, roles, scales, angles),
  };
}

function lower(
  to: Lowering,
  view: NodeView,
  roles: Roles,
  scales: KvScales | undefined,
  angles: Angles | undefined,
): void {
  const { node } = view;
  const { k, v, pastKey, pastValue, sinks, qNorm, kNorm } = roles;
  const heads = view.int('num_heads', 0);
  const kvHeads = view.int('kv_num_heads', 0);
  const isPacked = k === '';
  const given = to.slot(roles.q);
  const [batch = 0, rows = 0, width = 0] = given.dims;
  const headSize = width / (isPacked ? heads + 2 * kvHeads : heads);
  if (given.dims.length !== 3 || !Number.isInteger(headSize))
    view.fail('query', `[batch, sequence, ${heads} heads]`, `[${given.dims.join(', ')}]`);
  const kv = isPacked ? [] : [to.slot(k), to.slot(v)];
  for (const { dims } of kv)
    if (dims.length !== 3 || dims[0] !== batch || dims[1] !== rows || dims[2] !== kvHeads * headSize)
      view.fail('keys and values', `[${batch}, ${rows}, ${kvHeads * headSize}]`, `[${dims.join(', ')}]`);

  const [query, key] =
    qNorm === '' ? [given, kv[0]] : fetched('headNorms')(to, view, headSize, [given, qNorm], [kv[0]!, kNorm]);
  const turn = angles && turner(to, view, angles, positionsOf(view, roles, batch, rows));
  const isInterleaved = view.int('rotary_interleaved', 0) === 1;
  // Values are turned along with what they lie beside; they are read where they were.
  const qs = turn ? turn.by(query, isPacked ? heads + 2 * kvHeads : heads) : query;
  const own = { batch, rows, size: headSize, heads: kvHeads };
  const beside = (slot: Slot, before: number): Heads => headsOfRows(slot, rows, headSize, before * headSize);
  const turnedKeys = isPacked ? beside(qs, heads) : beside(turn ? turn.by(key!, kvHeads) : key!, 0);
  const givenValues = isPacked ? beside(query, heads + kvHeads) : beside(kv[1]!, 0);
  const keys = scales ? fetched('coded')(to, turnedKeys, own, roles.kScale) : turnedKeys;
  const values = scales ? fetched('coded')(to, givenValues, own, roles.vScale) : givenValues;
  const window = view.int('local_window_size', -1);
  const softcap = view.float('softcap', 0);
  const op: AttentionOp = {
    ...{ batch, rows, newKeys: rows, heads, kvHeads, headSize, valueSize: headSize },
    scale: view.float('scale', 0) || undefined,
    isCausal: true,
    window: window > 0 ? window : undefined,
    softcap: softcap > 0 ? softcap : undefined,
    q: rowMajor(rows, headSize, width),
    k: keys.strides,
    v: values.strides,
    out: rowMajor(rows, headSize, heads * headSize),
  };
  const zeros = (): Slot => to.constant({ elemType: FLOAT32, dims: [heads], data: new Array<number>(heads).fill(0) });
  const [y = '', presentKey = '', presentValue = ''] = node.outputs;
  to.step({
    kind: 'attention',
    op,
    q: { slot: qs, begin: 0 },
    k: keys,
    v: values,
    sinks: sinks !== '' ? to.slot(sinks) : view.int('smooth_softmax', 0) === 1 ? zeros() : undefined,
    y: to.result(y, 'f32', [batch, rows, heads * headSize]),
    shape: turn ? { rotarySize: turn.size, isInterleaved } : { rotarySize: 0 },
    cache: {
      past: { key: pastKey, value: pastValue },
      present: { key: presentKey, value: presentValue },
      scales,
    },
    late: to.shared(`told ${roles.lengths} ${roles.total} ${roles.bias} ${batch} ${rows}`, () =>
      lateOf(view, roles, batch, rows),
    ),
  });
}

/** Positions of the rows of a run. */
function positionsOf(view: NodeView, roles: Roles, batch: number, rows: number): Positions {
  const { lengths, total, positions } = roles;
  if (positions !== '')
    return {
      ...{ batch, rows, key: positions, needs: [positions] },
      of: ([ids]) => {
        const given = Array.from(ids!.data);
        if (given.length !== batch * rows) view.fail('positions', `[${batch}, ${rows}]`, `[${ids!.dims.join(', ')}]`);
        return given;
      },
    };
  return {
    ...{ batch, rows, key: `of ${lengths} ${total}`, needs: [lengths, total] },
    of: (told) => {
      const { past } = lengthsOf(view, told, batch, rows);
      return past.flatMap((begin) => Array.from({ length: rows }, (_, row) => begin + row));
    },
  };
}

interface Lengths {
  /** Keys of each sequence before the run. */
  readonly past: readonly number[];
  /** Rows of each sequence that count. */
  readonly counts: readonly number[];
  /** The longest, as the model says. */
  readonly total: number;
}

function lengthsOf(view: NodeView, [seqlens, longest]: readonly Elements[], batch: number, rows: number): Lengths {
  const ends = Array.from(seqlens!.data);
  const total = longest!.data[0]!;
  if (ends.length !== batch) view.fail('seqlens_k', `${batch} lengths`, `${ends.length}`);
  const isPrompt = rows === total;
  const past = ends.map((end) => (isPrompt ? 0 : end + 1 - rows));
  const counts = ends.map((end) => (isPrompt ? end + 1 : rows));
  if (past.some((length) => length < 0) || counts.some((count) => count < 0 || count > rows))
    view.fail(
      'seqlens_k',
      `lengths that ${rows} rows and a total of ${total} can have, less one`,
      `[${ends.join(', ')}]`,
    );
  return { past, counts, total };
}

function lateOf(view: NodeView, { lengths, total, bias }: Roles, batch: number, rows: number): LateAttention {
  return {
    needs: [lengths, total, ...(bias === '' ? [] : [bias])],
    at(values, pastRows): AttentionNow {
      const { past, counts, total: longest } = lengthsOf(view, values, batch, rows);
      const added = values[2] && biasOf(view, values[2]);
      // What padding asks for is answered as well, from the keys that count: with padding on the left, texts begin there.
      const queries = past.map(() => rows);
      return { past, counts, queries, bias: added, rows: Math.max(longest, pastRows) };
    },
  };
}

/** `undefined` if it adds nothing. */
function biasOf(view: NodeView, { dims, data }: Elements): ScoreArray<Float32Array> | undefined {
  if (dims.length > 4) view.fail('attention_bias', '[batch, heads, rows, keys]', `[${dims.join(', ')}]`);
  const floats = data instanceof Float32Array ? data : Float32Array.from(data);
  if (floats.every((added) => added === 0)) return undefined;
  const four = [...new Array<number>(4 - dims.length).fill(1), ...dims];
  return { dims: four as unknown as ScoreDims, data: floats };
}

export const groupQueryAttention: Operator = {
  name: 'com.microsoft.GroupQueryAttention',
  attributes: [
    'num_heads',
    'kv_num_heads',
    'scale',
    'softcap',
    'do_rotary',
    'rotary_interleaved',
    'local_window_size',
    'smooth_softmax',
    'qk_output',
    'k_quant_type',
    'v_quant_type',
    'kv_cache_bit_width',
    'qk_norm_epsilon',
  ],
  infer,
  isFirst: true,
  match,
};
