/**
 * Both specifications of attention, in plain loops: the float64 mathematics and the f32 contract, over what a cache stores. Nobody
 * optimises this.                                                                                        (docs/attention.md)
 *
 *   scores    integer keys   x[j] = fl(q[j] kc[j]);  qi, S = decompose(x);  z = fl(fl(f(Σ qi k) fl(S C)) ks)
 *             f32 keys       s = fl(q[0] k[0]);  s = fl(s + fl(q[j] k[j])), j ascending;  z = fl(s C)           C = f32(scale log2 e)
 *             softcap        C = f32(scale / softcap) instead, then z = fl(tanh(z) f32(softcap log2 e))
 *             alibi          z = fl(z + fl(f32(slope log2 e) (t − position)))
 *             bias           z = fl(z + fl(b f32(log2 e))), LOWEST at least; a bias of −Infinity hides the key
 *   seen      z = −Infinity: the key is not seen, and adds nothing, whatever it holds
 *   softmax   m = max(LOWEST, all z);  e = exp2(fl(z − m));  l = 0;  l = fl(l + l_b) per 64 keys, each summed in four lanes
 *   output    w = fl(e vs);  pi, S_b = decompose(w over block b);  y = fl(y + fl(f(Σ pi v) S_b)), blocks ascending
 *             f32 values     per 64 keys u = 0;  u = fl(u + fl(e v));  y = fl(y + u)
 *             out = fl(y fl(1/l)); 0 if no key is seen
 *
 * Blocks are [0] [1..63] [64..127] …, at absolute positions. A sum Σ with int16 keys or values is one of two digits:
 * fl(fl(254 f(a1)) + f(a2)); with int8 it is exact in int32 and rounded once.
 */
import { activate } from '../activations/contract.ts';
import { digits, resolveDecomposition } from '../decompose/contract.ts';
import { type Arithmetic, decompose } from '../decompose/decompose.reference.ts';
import { scalarLanes } from '../nn/elementwise/lanes.reference.ts';
import { type Rounding, roundingOf } from '../nn/rounding.ts';
import { sumOf } from '../nn/rows.ts';
import { type AttentionOp, LOWEST, PAGE_KEYS } from './contract.ts';
import { exp2Of } from './exp2.ts';
import type { StoredKv } from './page.reference.ts';
import { type AttentionInputs, placeOf, type Row, scoreAt, seenKeys } from './rows.ts';

/** @param stored keys and values of a sequence and KV head, new ones included */
export function attentionReference(
  op: AttentionOp,
  inputs: AttentionInputs,
  stored: (sequence: number, kvHead: number) => StoredKv,
  out: Float32Array | Float64Array,
  arithmetic: Arithmetic,
): void {
  const { batch, rows, heads, kvHeads, headSize, valueSize } = op;
  const group = heads / kvHeads;
  for (let b = 0; b < batch; b++)
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const kv = stored(b, kvHead);
      for (let h = kvHead * group; h < (kvHead + 1) * group; h++)
        for (let m = 0; m < rows; m++) {
          const row = { b, h, m };
          const y = new Float64Array(valueSize);
          if (m < inputs.queries[b]) {
            const at = placeOf(op.q, row);
            const q = Array.from({ length: headSize }, (_, j) => inputs.q[at + j]);
            outputOf(kv, scoresOf(op, inputs, kv, q, row, arithmetic), inputs.sinks?.[h], y, arithmetic);
          }
          const at = placeOf(op.out, row);
          for (let c = 0; c < valueSize; c++) out[at + c] = y[c];
        }
    }
}

const ROW = /* @__PURE__ */ resolveDecomposition({ activationBlock: 'row' }, 'attention');

/** Scores in log2 units, −Infinity where a key is not seen. */
function scoresOf(
  op: AttentionOp,
  inputs: AttentionInputs,
  kv: StoredKv,
  q: readonly number[],
  row: Row,
  arithmetic: Arithmetic,
): Float64Array {
  const fl = roundingOf(arithmetic);
  const { headSize: d, softcap, alibi, scale = 1 / Math.sqrt(d) } = op;
  const C = fl(softcap === undefined ? scale * Math.LOG2E : scale / softcap);
  const cap = softcap === undefined ? undefined : fl(softcap * Math.LOG2E);
  const tanh = arithmetic === 'float64' ? Math.tanh : (x: number) => activate(scalarLanes, 'tanh', x);
  const slope = alibi && fl(alibi[row.h] * Math.LOG2E);
  const position = inputs.positions[row.b] + row.m;
  const x = q.map((value, j) => fl(value * kv.kc[j]));
  const { digits: queryDigits, scale: S } = decomposed(x, arithmetic);
  const SC = fl(S * C);
  const z = new Float64Array(kv.length).fill(Number.NEGATIVE_INFINITY);
  for (const t of seenKeys(op, inputs, kv.length, row)) {
    let score =
      t < kv.floatKeys
        ? fl(chain(q, kv.k.subarray(t * d, (t + 1) * d), fl) * C)
        : fl(fl(productSum(kv, queryDigits, kv.k, t * d, 1, arithmetic) * SC) * kv.ks[t]);
    if (cap !== undefined) score = fl(tanh(score) * cap);
    if (slope !== undefined) score = fl(score + fl(slope * (t - position)));
    if (inputs.bias) score = biased(score, inputs.bias.data[scoreAt(inputs.bias.dims, row, t)], fl);
    z[t] = score;
  }
  return z;
}

function chain(q: readonly number[], k: Float32Array, fl: Rounding): number {
  let s = fl(q[0] * k[0]);
  for (let j = 1; j < q.length; j++) s = fl(s + fl(q[j] * k[j]));
  return s;
}

function biased(score: number, bias: number, fl: Rounding): number {
  if (bias === Number.NEGATIVE_INFINITY) return bias;
  return Math.max(fl(score + fl(bias * fl(Math.LOG2E))), LOWEST);
}

interface Digits {
  readonly high: Int32Array;
  readonly low: Int32Array;
}

/** Integers of one block, as their digits, and its scale. */
function decomposed(x: ArrayLike<number>, arithmetic: Arithmetic): { digits: Digits; scale: number } {
  const { q, scales } = decompose(x, 1, x.length, ROW, arithmetic);
  const high = Int32Array.from(q, (value) => digits(value)[0]);
  const low = Int32Array.from(q, (value) => digits(value)[1]);
  return { digits: { high, low }, scale: scales[0] };
}

/** Σ integers · codes as a float; codes from `begin` on, `stride` apart. */
function productSum(
  { isInt8 }: StoredKv,
  { high, low }: Digits,
  codes: Float32Array,
  begin: number,
  stride: number,
  arithmetic: Arithmetic,
): number {
  let [a1, a2] = [0, 0];
  for (let i = 0; i < high.length; i++) {
    const code = codes[begin + i * stride];
    a1 += high[i] * code;
    a2 += low[i] * code;
  }
  const f = Math.fround;
  if (arithmetic === 'float64') return 254 * a1 + a2;
  return isInt8 ? f(254 * a1 + a2) : f(f(254 * f(a1)) + f(a2));
}

function outputOf(
  kv: StoredKv,
  z: Float64Array,
  sink: number | undefined,
  y: Float64Array,
  arithmetic: Arithmetic,
): void {
  const fl = roundingOf(arithmetic);
  const exp = arithmetic === 'float64' ? (value: number) => 2 ** value : exp2Of;
  const last = sink === undefined ? Number.NEGATIVE_INFINITY : fl(sink * fl(Math.LOG2E));
  let max = LOWEST;
  for (const value of [...z, last]) if (value > max) max = value; // not of NaN: that comes out of exp
  const e = z.map((value) => exp(fl(value - max)));
  let l = sumOf(z.length, (t) => e[t], fl);
  if (sink !== undefined) l = fl(l + exp(fl(last - max)));
  const isSeen = (t: number) => z[t] !== Number.NEGATIVE_INFINITY;
  const add = kv.floatValues ? addFloats : addIntegers;
  for (const [begin, end] of blocksOf(z.length, kv.floatValues)) add(kv, e, isSeen, begin, end, y, arithmetic);
  const r = l === 0 ? 0 : fl(1 / l);
  for (let c = 0; c < y.length; c++) y[c] = fl(y[c] * r);
}

/** Keys that share a scale: pages, and key 0 by itself. Floats need no scale. */
function blocksOf(length: number, isFloat: boolean): [begin: number, end: number][] {
  const starts = [0, ...(isFloat ? [] : [1])];
  for (let begin = PAGE_KEYS; begin < length; begin += PAGE_KEYS) starts.push(begin);
  return starts.filter((begin) => begin < length).map((begin, i) => [begin, Math.min(length, starts[i + 1] ?? length)]);
}

/** y = fl(y + fl(f(Σ pi v) S)) */
function addIntegers(
  kv: StoredKv,
  e: Float64Array,
  isSeen: (t: number) => boolean,
  begin: number,
  end: number,
  y: Float64Array,
  arithmetic: Arithmetic,
): void {
  const fl = roundingOf(arithmetic);
  const w = Array.from(e.subarray(begin, end), (value, i) => (isSeen(begin + i) ? fl(value * kv.vs[begin + i]) : 0));
  const { digits: weightDigits, scale } = decomposed(w, arithmetic);
  for (let c = 0; c < y.length; c++)
    y[c] = fl(y[c] + fl(productSum(kv, weightDigits, kv.v, begin * y.length + c, y.length, arithmetic) * scale));
}

/** u = fl(u + fl(e v));  y = fl(y + u) */
function addFloats(
  kv: StoredKv,
  e: Float64Array,
  isSeen: (t: number) => boolean,
  begin: number,
  end: number,
  y: Float64Array,
  arithmetic: Arithmetic,
): void {
  const fl = roundingOf(arithmetic);
  for (let c = 0; c < y.length; c++) {
    let u = 0;
    for (let t = begin; t < end; t++) if (isSeen(t)) u = fl(u + fl(e[t] * kv.v[t * y.length + c]));
    y[c] = fl(y[c] + u);
  }
}
