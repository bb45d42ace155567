/** GroupQueryAttention as a model of one node, and in float64 as ONNX Runtime has it. */

import { fp16Bits } from '@msd/core';
import { type AttributeSpec, type NodeSpec, writeModel } from '../../src/write/index.ts';
import { gaussian, random } from '../models.ts';
import { ort, tensor } from '../ort.ts';

export interface Form {
  readonly batch?: number;
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly size?: number;
  readonly packed?: boolean;
  /** 'ids': by an input. */
  readonly rotary?: boolean | 'ids';
  readonly interleaved?: boolean;
  /** Of each head's elements those that turn. */
  readonly rotarySize?: number;
  readonly window?: number;
  /** The caches hold only what the window sees: sliding_window_cache 1. */
  readonly ring?: boolean;
  readonly softcap?: number;
  readonly smooth?: boolean;
  readonly sinks?: boolean;
  /** Sizes of attention_bias before rows and keys. */
  readonly bias?: readonly [batch: number, heads: number];
  readonly scale?: number;
  /**
   * 'chosen': cos and sin come out of an If, by the length; the tables of its other branch are shorter, and all 0. 'large': they have
   * so many rows that they stay in the file.
   */
  readonly tables?: 'chosen' | 'large';
  /** The graph computes its past: twice what it is fed. */
  readonly twice?: boolean;
  /** Keys and values of `past` and `present` are int8, with scales of the model. */
  readonly codes?: 'PER_TENSOR' | 'PER_CHANNEL';
  /** Of `codes`: two in a byte. */
  readonly bits?: 4;
  /** `y` is turned around its sign behind the attention. */
  readonly negated?: boolean;
  /** float16 throughout. */
  readonly half?: boolean;
  /** Queries and keys are normalised: by the node itself, or by others before it, as ONNX Runtime needs it. */
  readonly norms?: 'inside' | 'before' | 'of queries';
}

export const MAX_POSITIONS = 512;

type Optional =
  | 'ring'
  | 'bias'
  | 'scale'
  | 'rotarySize'
  | 'codes'
  | 'bits'
  | 'tables'
  | 'twice'
  | 'negated'
  | 'half'
  | 'norms';
type Full = Required<Omit<Form, Optional>> & Pick<Form, Optional>;

function full(form: Form): Full {
  return {
    ...{ batch: 1, heads: 4, kvHeads: 2, size: 32, packed: false, rotary: true, interleaved: false, window: -1 },
    ...{ softcap: 0, smooth: false, sinks: false },
    ...form,
  };
}

interface Tables {
  readonly rows: number;
  readonly half: number;
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

function tables({ size, rotarySize = size, tables }: Full): Tables {
  const half = rotarySize / 2;
  const rows = tables === 'large' ? 20_000 : MAX_POSITIONS;
  const angle = (i: number) => Math.floor(i / half) / 100 ** ((i % half) / half);
  const of = (fn: (x: number) => number) => Float32Array.from({ length: rows * half }, (_, i) => fn(angle(i)));
  return { rows, half, cos: of(Math.cos), sin: of(Math.sin) };
}

/** An If over constants, as exporters write it for models whose angles depend on the length. */
function chosen({ cos, sin, half }: Tables): NodeSpec[] {
  const branch = (name: string, rows: number, c: Float32Array, s: Float32Array): AttributeSpec => ({
    graph: {
      name,
      nodes: [['cos', c] as const, ['sin', s] as const].map(([part, data]) => ({
        opType: 'Constant',
        inputs: [],
        outputs: [`${part} ${name}`],
        attributes: { value: { tensor: { name: '', dtype: 'float32', dims: [rows, half], data } } },
      })),
      inputs: [],
      outputs: ['cos', 'sin'].map((part) => ({ name: `${part} ${name}`, dtype: 'float32', dims: [rows, half] })),
    },
  });
  const none = new Float32Array(4 * half);
  return [
    { opType: 'Greater', name: 'is_long', inputs: ['total', 'limit'], outputs: ['is_long'] },
    {
      opType: 'If',
      name: 'tables',
      inputs: ['is_long'],
      outputs: ['cos', 'sin'],
      attributes: { then_branch: branch('long', MAX_POSITIONS, cos, sin), else_branch: branch('short', 4, none, none) },
    },
  ];
}

const sinksOf = ({ heads }: Full): Float32Array => gaussian(random(77), heads);

export const NORM_EPSILON = 0.01;

const normsOf = ({ size }: Full): Record<'q' | 'k', Float32Array> => {
  const make = (seed: number) => gaussian(random(seed), size).map((x) => 1 + x / 2);
  return { q: make(8), k: make(9) };
};

/** Each head divided by its root mean square, as [batch, rows · heads, size], and times the weight. */
const normBefore = (part: 'q' | 'k'): NodeSpec[] => [
  { opType: 'Reshape', inputs: [part, 'by_head'], outputs: [`${part}_heads`] },
  {
    opType: 'SimplifiedLayerNormalization',
    inputs: [`${part}_heads`, `${part}_norm`],
    outputs: [`${part}_equal`],
    attributes: { axis: { int: -1 }, epsilon: { float: NORM_EPSILON }, stash_type: { int: 1 } },
  },
  { opType: 'Reshape', inputs: [`${part}_equal`, `${part}_width`], outputs: [`${part}_normed`] },
];

const scalesOf = ({ codes, kvHeads, size }: Full): Record<'k' | 'v', Float32Array> => {
  const count = codes === 'PER_CHANNEL' ? kvHeads * size : 1;
  const make = (seed: number) => gaussian(random(seed), count).map((x) => 0.02 + Math.abs(x) / 100);
  return { k: make(5), v: make(6) };
};

const floatType = ({ half }: Full) => (half ? ('float16' as const) : ('float32' as const));

function cacheType(form: Full): 'float32' | 'float16' | 'int8' | 'uint8' {
  const { codes, bits } = form;
  if (!codes) return floatType(form);
  return bits ? 'uint8' : 'int8';
}

export function groupQueryModel(form: Form): Uint8Array {
  const f = full(form);
  const { heads, kvHeads, size, packed } = f;
  const angles = tables(f);
  const { cos, sin, half, rows } = angles;
  const isChosen = f.tables === 'chosen';
  const isNormedBefore = f.norms === 'before';
  const inputs = packed ? ['q', '', ''] : isNormedBefore ? ['q_normed', 'k_normed', 'v'] : ['q', 'k', 'v'];
  inputs.push(f.twice ? 'two_keys' : 'past_key', 'past_value', 'seqlens_k', 'total');
  inputs.push(f.rotary ? 'cos' : '', f.rotary ? 'sin' : '', f.rotary === 'ids' ? 'position_ids' : '');
  inputs.push(f.bias ? 'bias' : '', f.sinks ? 'sinks' : '', f.codes ? 'k_scale' : '', f.codes ? 'v_scale' : '');
  if (f.norms && !isNormedBefore) inputs.push('q_norm', f.norms === 'inside' ? 'k_norm' : '');
  while (inputs.at(-1) === '') inputs.pop();
  const attributes: Record<string, AttributeSpec> = {
    num_heads: { int: heads },
    kv_num_heads: { int: kvHeads },
    do_rotary: { int: f.rotary ? 1 : 0 },
    rotary_interleaved: { int: f.interleaved ? 1 : 0 },
    local_window_size: { int: f.window },
    ...(f.softcap > 0 && { softcap: { float: f.softcap } }),
    ...(f.ring && { sliding_window_cache: { int: 1 } }),
    ...(f.smooth && { smooth_softmax: { int: 1 } }),
    ...(f.scale && { scale: { float: f.scale } }),
    ...(f.norms === 'inside' && { qk_norm_epsilon: { float: NORM_EPSILON } }),
    ...(f.codes && {
      k_quant_type: { string: f.codes },
      v_quant_type: { string: f.codes },
      kv_cache_bit_width: { int: f.bits ?? 8 },
    }),
  };
  const width = packed ? heads + 2 * kvHeads : heads;
  const dims = ['batch', kvHeads, 'past', size] as const;
  return writeModel({
    opsets: { '': 21, 'com.microsoft': 1 },
    graph: {
      nodes: [
        ...(f.twice ? [{ opType: 'Add', name: 'twice', inputs: ['past_key', 'past_key'], outputs: ['two_keys'] }] : []),
        ...(isChosen ? chosen(angles) : []),
        ...(isNormedBefore ? [...normBefore('q'), ...normBefore('k')] : []),
        {
          name: 'gqa',
          opType: 'GroupQueryAttention',
          domain: 'com.microsoft',
          inputs,
          outputs: [f.negated ? 'minus_y' : 'y', 'present_key', 'present_value'],
          attributes,
        },
        ...(f.negated ? [{ opType: 'Neg', inputs: ['minus_y'], outputs: ['y'] }] : []),
      ],
      initializers: [
        ...(isChosen ? [{ name: 'limit', dtype: 'int32' as const, dims: [], data: Int32Array.of(4) }] : []),
        ...(f.rotary && !isChosen
          ? [
              { name: 'cos', dtype: floatType(f), dims: [rows, half], data: f.half ? fp16Bits(cos) : cos },
              { name: 'sin', dtype: floatType(f), dims: [rows, half], data: f.half ? fp16Bits(sin) : sin },
            ]
          : []),
        ...(f.codes
          ? (['k', 'v'] as const).map((part) => {
              const data = scalesOf(f)[part];
              return { name: `${part}_scale`, dtype: 'float32' as const, dims: [data.length], data };
            })
          : []),
        ...(f.norms
          ? (['q', 'k'] as const).map((part) => {
              const data = normsOf(f)[part];
              return { name: `${part}_norm`, dtype: floatType(f), dims: [size], data: f.half ? fp16Bits(data) : data };
            })
          : []),
        ...(isNormedBefore
          ? [
              { name: 'by_head', dtype: 'int64' as const, dims: [3], data: BigInt64Array.of(0n, -1n, BigInt(size)) },
              ...(['q', 'k'] as const).map((part) => {
                const whole = (part === 'q' ? heads : kvHeads) * size;
                const data = BigInt64Array.of(0n, -1n, BigInt(whole));
                return { name: `${part}_width`, dtype: 'int64' as const, dims: [3], data };
              }),
            ]
          : []),
        ...(f.sinks ? [{ name: 'sinks', dtype: 'float32' as const, dims: [heads], data: sinksOf(f) }] : []),
      ],
      inputs: [
        { name: 'q', dtype: floatType(f), dims: ['batch', 'rows', width * size] },
        ...(packed
          ? []
          : ['k', 'v'].map((name) => ({ name, dtype: floatType(f), dims: ['batch', 'rows', kvHeads * size] }))),
        ...['past_key', 'past_value'].map((name) => ({
          name,
          dtype: cacheType(f),
          dims: [...dims.slice(0, 3), f.bits ? size / 2 : size],
        })),
        { name: 'seqlens_k', dtype: 'int32', dims: ['batch'] },
        { name: 'total', dtype: 'int32', dims: [] },
        ...(f.rotary === 'ids' ? [{ name: 'position_ids', dtype: 'int64' as const, dims: ['batch', 'rows'] }] : []),
        ...(f.bias ? [{ name: 'bias', dtype: floatType(f), dims: ['b', 'h', 'rows', 'total'] }] : []),
      ],
      outputs: [
        { name: 'y', dtype: floatType(f) },
        { name: 'present_key', dtype: cacheType(f) },
        { name: 'present_value', dtype: cacheType(f) },
      ],
    },
  });
}

/** What a run brings beside `past`. */
export interface Round {
  readonly rows: number;
  /** Of each sequence after the run, as far as it counts. */
  readonly ends: readonly number[];
  readonly total: number;
  readonly positions?: readonly number[];
  readonly seed: number;
}

/** Feeds of a run. Past is empty unless it is given. */
export function feedsOf(
  form: Form,
  { rows, ends, total, positions, seed }: Round,
  past: Record<string, ort.Tensor> = {},
) {
  const f = full(form);
  const next = random(seed);
  const { batch, heads, kvHeads, size, packed } = f;
  const make = (...dims: number[]) => {
    const floats = gaussian(
      next,
      dims.reduce((a, b) => a * b, 1),
    );
    return f.half ? new ort.Tensor('float16', fp16Bits(floats), dims) : tensor(floats, dims);
  };
  const none = { float32: Float32Array, float16: Uint16Array, int8: Int8Array, uint8: Uint8Array }[cacheType(f)];
  const empty = () => new ort.Tensor(cacheType(f), new none(0), [batch, kvHeads, 0, f.bits ? size / 2 : size]);
  const feeds: Record<string, ort.Tensor> = {
    q: make(batch, rows, (packed ? heads + 2 * kvHeads : heads) * size),
    ...(!packed && { k: make(batch, rows, kvHeads * size), v: make(batch, rows, kvHeads * size) }),
    past_key: past.past_key ?? empty(),
    past_value: past.past_value ?? empty(),
    seqlens_k: new ort.Tensor(
      'int32',
      Int32Array.from(ends, (end) => end - 1),
      [batch],
    ),
    total: new ort.Tensor('int32', Int32Array.of(total), []),
  };
  if (f.rotary === 'ids')
    feeds.position_ids = new ort.Tensor('int64', BigInt64Array.from(positions!.map(BigInt)), [batch, rows]);
  if (f.bias) feeds.bias = make(f.bias[0], f.bias[1], rows, total);
  return feeds;
}

/** In float64, of floats as past: y and both `present`. */
export function exactly(form: Form, feeds: Record<string, ort.Tensor>) {
  const f = full(form);
  const { batch, heads, kvHeads, size, packed } = f;
  const rows = feeds.q!.dims[1]!;
  const total = Number(feeds.total!.data[0]);
  const pastRows = feeds.past_key!.dims[2]!;
  const length = Math.max(total, pastRows);
  const { cos, sin, half } = tables(f);
  const data = (name: string) => feeds[name]!.data as Float32Array;
  const width = (packed ? heads + 2 * kvHeads : heads) * size;
  const y = new Float64Array(batch * rows * heads * size);
  const keys = new Float64Array(batch * kvHeads * length * size);
  const values = new Float64Array(keys.length);
  const turn = (x: Float64Array, b: number, row: number, position: number): Float64Array => {
    if (!f.rotary) return x;
    const at = f.rotary === 'ids' ? Number(feeds.position_ids!.data[b * rows + row]) : position;
    const out = x.slice();
    for (let j = 0; j < half; j++) {
      const [i, k] = f.interleaved ? [2 * j, 2 * j + 1] : [j, j + half];
      const [c, s] = [cos[at * half + j]!, sin[at * half + j]!];
      out[i] = x[i]! * c - x[k]! * s;
      out[k] = x[k]! * c + x[i]! * s;
    }
    return out;
  };
  const norms = normsOf(f);
  const normed = (part: 'q' | 'k', x: Float64Array): Float64Array => {
    if (!f.norms) return x;
    const mean = x.reduce((sum, value) => sum + value * value, 0) / size;
    return x.map((value, i) => (value / Math.sqrt(mean + NORM_EPSILON)) * norms[part][i]!);
  };
  const { k: kScale, v: vScale } = scalesOf(f);
  const real = (part: 'k' | 'v', codes: ArrayLike<number>, h: number): Float64Array =>
    Float64Array.from(codes, (code, i) => (f.codes ? code * scaleAt(part, h, i % size) : code));
  const scaleAt = (part: 'k' | 'v', h: number, i: number): number => {
    const scales = part === 'k' ? kScale : vScale;
    return scales[scales.length === 1 ? 0 : h * size + i]!;
  };
  /** As int8 has it: the nearest multiple of the scale. */
  const stored = (part: 'k' | 'v', x: Float64Array, h: number): Float64Array =>
    x.map((value, i) => {
      if (!f.codes) return value;
      const scale = scaleAt(part, h, i);
      const code = value / scale;
      const nearest = Math.abs(code % 1) === 0.5 ? 2 * Math.round(code / 2) : Math.round(code);
      return scale * Math.max(-128, Math.min(127, nearest));
    });
  const head = (name: string, at: number) => Float64Array.from(data(name).subarray(at, at + size));
  for (let b = 0; b < batch; b++) {
    const end = Number(feeds.seqlens_k!.data[b]) + 1;
    const before = rows === total ? 0 : end - rows;
    const counts = rows === total ? end : rows;
    for (let h = 0; h < kvHeads; h++) {
      const store = (b * kvHeads + h) * length * size;
      const from = (b * kvHeads + h) * pastRows * size;
      keys.set(real('k', data('past_key').subarray(from, from + before * size), h), store);
      values.set(real('v', data('past_value').subarray(from, from + before * size), h), store);
      for (let row = 0; row < counts; row++) {
        const at = (b * rows + row) * (packed ? width : kvHeads * size);
        const k = packed ? head('q', at + (heads + h) * size) : head('k', at + h * size);
        const v = packed ? head('q', at + (heads + kvHeads + h) * size) : head('v', at + h * size);
        keys.set(stored('k', turn(normed('k', k), b, row, before + row), h), store + (before + row) * size);
        values.set(stored('v', v, h), store + (before + row) * size);
      }
    }
    for (let row = 0; row < rows; row++)
      for (let h = 0; h < heads; h++) {
        const position = before + row;
        const q = turn(normed('q', head('q', (b * rows + row) * width + h * size)), b, row, position);
        const store = (b * kvHeads + Math.floor(h / (heads / kvHeads))) * length * size;
        const first = f.window > 0 ? Math.max(0, position - f.window + 1) : 0;
        const scores: number[] = [];
        // Padding is answered from the keys that count.
        for (let t = first; t <= Math.min(position, before + counts - 1); t++) {
          let score = 0;
          for (let i = 0; i < size; i++) score += q[i]! * keys[store + t * size + i]!;
          score *= f.scale ?? 1 / Math.sqrt(size);
          if (f.softcap > 0) score = f.softcap * Math.tanh(score / f.softcap);
          if (f.bias) {
            const [bb, bh] = f.bias;
            score += data('bias')[(((bb === 1 ? 0 : b) * bh + (bh === 1 ? 0 : h)) * rows + row) * total + t]!;
          }
          scores.push(score);
        }
        const sink = f.sinks ? sinksOf(f)[h]! : f.smooth ? 0 : Number.NEGATIVE_INFINITY;
        const max = Math.max(sink, ...scores);
        const weights = scores.map((score) => Math.exp(score - max));
        const sum = weights.reduce((a, w) => a + w, Math.exp(sink - max));
        for (let i = 0; i < size; i++) {
          let out = 0;
          weights.forEach((w, j) => {
            out += w * values[store + (first + j) * size + i]!;
          });
          y[((b * rows + row) * heads + h) * size + i] = out / sum;
        }
      }
  }
  return { y, keys, values, length };
}
