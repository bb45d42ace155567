/**
 * The proved bound of attention: how far the f32 contract may be from the mathematics, on the keys and values that a cache stores.
 * With u = 2⁻²⁴, γ(n) = n·u / (1 − n·u), and β(max) the bound of a decomposed element:            (docs/attention.md, "Bound")
 *
 *   z    off by δ:  integer keys   scale·log2 e·ks·(β(max |x|)·Σ|k| + u·Σ|x k| + γ(9)·S·Σ (|qi| + 254)|k|)
 *                   f32 keys       scale·log2 e·γ(d + 3)·Σ|q k|
 *                   and the roundings of softcap, alibi and bias
 *   e    off by a factor within 1 ± r,  1 + r = 2^(δ + u·|z − m|)·(1 + EXP2_ERROR), and by 2⁻¹²⁶ where nothing is left
 *   y    per block  β(max w)·Σ|v| + γ(5)·S·Σ (|pi| + 254)|v|, then γ(blocks) of what is added up
 *   l    the errors of e, and γ(16 + blocks)
 *   out  (error of y + |out|·error of l) / (1 − error of l), and the last roundings; never more than twice the largest value
 */
import { type AttentionOp, PAGE_KEYS } from '../attention/contract.ts';
import { EXP2_ERROR } from '../attention/exp2.ts';
import type { StoredKv } from '../attention/page.reference.ts';
import { type AttentionInputs, placeOf, type Row, scoreAt, seenKeys } from '../attention/rows.ts';
import { limitOf, TINY } from '../decompose/contract.ts';
import { gamma, U, UNDERFLOW } from '../nn/rounding.ts';
import { elementBound } from './bounds.ts';

/** Largest |pi|. */
const LIMIT = limitOf(2);
/** The sum of the digits' magnitudes is larger than the integer's magnitude by at most this. */
const DIGIT = 254;
/** The most that exp2 gives where the exact result is next to nothing. */
const LOST = 2 ** -126;

/**
 * @param stored as for the reference
 * @returns for each output how far the f32 contract may be from the mathematics; laid out as `out`. Of rows without NaN and Inf
 */
export function attentionBound(
  op: AttentionOp,
  inputs: AttentionInputs,
  stored: (sequence: number, kvHead: number) => StoredKv,
  length: number,
): Float64Array {
  const bounds = new Float64Array(length);
  const { batch, rows, heads, kvHeads, valueSize } = op;
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++) {
      const kv = stored(b, Math.floor((h * kvHeads) / heads));
      for (let m = 0; m < Math.min(rows, inputs.queries[b]); m++) {
        const row = { b, h, m };
        const own = rowBound(op, inputs, kv, row);
        const at = placeOf(op.out, row);
        for (let c = 0; c < valueSize; c++) bounds[at + c] = own[c];
      }
    }
  return bounds;
}

/** A score in log2 units, and how far the contract's may be from it. */
interface Score {
  readonly z: number;
  readonly delta: number;
}

function rowBound(op: AttentionOp, inputs: AttentionInputs, kv: StoredKv, row: Row): number[] {
  const scoreOf = scorer(op, inputs, kv, row);
  const keys = seenKeys(op, inputs, kv.length, row).filter(
    (t) => inputs.bias?.data[scoreAt(inputs.bias.dims, row, t)] !== Number.NEGATIVE_INFINITY,
  );
  const scores = keys.map(scoreOf);
  const sink = inputs.sinks?.[row.h];
  if (sink !== undefined) scores.push({ z: sink * Math.LOG2E, delta: 3 * U * Math.abs(sink * Math.LOG2E) });
  const max = scores.reduce((most, { z }) => Math.max(most, z), Number.NEGATIVE_INFINITY);
  const worst = scores.reduce((most, { delta }) => Math.max(most, delta), 0);
  const whole = scores.reduce((sum, { z }) => sum + 2 ** (z - max), 0);
  const p = scores.map(({ z }) => 2 ** (z - max) / whole);
  const r = scores.map(({ z, delta }) => {
    const log2 = delta + U * (max - z + delta + 2 * worst);
    return Math.expm1(Math.LN2 * log2) * (1 + EXP2_ERROR) + EXP2_ERROR;
  });
  const lost = LOST * 2 ** worst;
  const moved = p.reduce((sum, own, i) => sum + own * r[i] + lost, 0);
  const blocks = Math.ceil(kv.length / PAGE_KEYS) + 1;
  const lError = moved + gamma(18 + blocks) * (1 + moved);
  const weights = keys.map((t, i) => ({ t, p: p[i], error: p[i] * r[i] + lost }));
  const largest = keys.reduce((most, t) => Math.max(most, largestValue(kv, t, op.valueSize)), 0);
  return Array.from({ length: op.valueSize }, (_, c) => {
    const exact = weights.reduce((sum, { t, p: own }) => sum + own * storedValue(kv, t, c, op.valueSize), 0);
    const yError = kv.floatValues
      ? floatError(kv, weights, c, op.valueSize, blocks)
      : integerError(kv, weights, c, op.valueSize, blocks, worst);
    const error = ((yError + Math.abs(exact) * lError) / (1 - lError)) * (1 + 4 * U) + 4 * U * Math.abs(exact);
    return Math.min(lError < 1 ? error + 2 ** -140 : Number.POSITIVE_INFINITY, 2.1 * largest);
  });
}

const storedValue = ({ v, vs, floatValues }: StoredKv, t: number, c: number, size: number): number =>
  v[t * size + c] * (floatValues ? 1 : vs[t]);

const largestValue = (kv: StoredKv, t: number, size: number): number =>
  Array.from({ length: size }, (_, c) => Math.abs(storedValue(kv, t, c, size))).reduce((a, c) => Math.max(a, c), 0);

/** Gives the score of a key, as the mathematics has it, and its error. */
function scorer(op: AttentionOp, inputs: AttentionInputs, kv: StoredKv, row: Row): (t: number) => Score {
  const { headSize: d, softcap, alibi, scale = 1 / Math.sqrt(d) } = op;
  const { bias } = inputs;
  const at = placeOf(op.q, row);
  const q = Array.from({ length: d }, (_, j) => inputs.q[at + j]);
  const x = q.map((value, j) => Math.abs(value * kv.kc[j]));
  const largest = x.reduce((a, c) => Math.max(a, c), 0);
  const beta = elementBound(largest, 2);
  const c = scale * Math.LOG2E;
  const position = inputs.positions[row.b] + row.m;
  const products = (t: number): Score => {
    const k = kv.k.subarray(t * d, (t + 1) * d);
    if (t < kv.floatKeys) {
      const z = c * q.reduce((sum, value, j) => sum + value * k[j], 0);
      const magnitude = Math.abs(c) * q.reduce((sum, value, j) => sum + Math.abs(value * k[j]), 0);
      return { z, delta: gamma(d + 3) * magnitude + UNDERFLOW * (d * Math.abs(c) + 1) };
    }
    const codes = k.reduce((sum, code) => sum + Math.abs(code), 0);
    const magnitude = k.reduce((sum, code, j) => sum + x[j] * Math.abs(code), 0);
    const digits = magnitude + (beta + (DIGIT * largest) / LIMIT) * codes;
    const delta = Math.abs(c) * kv.ks[t] * (beta * codes + U * magnitude + gamma(9) * digits);
    const z = c * kv.ks[t] * q.reduce((sum, value, j) => sum + value * kv.kc[j] * k[j], 0);
    return { z, delta: delta * (1 + U) + UNDERFLOW * (2 * LIMIT * codes * kv.ks[t] + kv.ks[t] + 1) };
  };
  return (t) => {
    let { z, delta } = products(t);
    const add = (term: number) => {
      delta += 3 * U * Math.abs(term) + 2 * U * (Math.abs(z) + delta + Math.abs(term));
      z += term;
    };
    if (softcap !== undefined) {
      z = softcap * Math.LOG2E * Math.tanh(z / (softcap * Math.LOG2E));
      delta += 8 * U * Math.abs(z) + UNDERFLOW * softcap;
    }
    if (alibi) add(alibi[row.h] * Math.LOG2E * (t - position));
    if (bias) add(bias.data[scoreAt(bias.dims, row, t)] * Math.LOG2E);
    return { z, delta };
  };
}

/** A key's weight, with a sum of 1 over all keys, and how far the contract's may be from it. */
interface Weight {
  readonly t: number;
  readonly p: number;
  readonly error: number;
}

function floatError(kv: StoredKv, weights: readonly Weight[], c: number, size: number, blocks: number): number {
  const depth = gamma(PAGE_KEYS + blocks + 2);
  return weights.reduce((sum, { t, p, error }) => {
    const value = Math.abs(storedValue(kv, t, c, size));
    return sum + (error + depth * (p + error)) * value;
  }, 0);
}

/** @param worst error of a score: what was to be 2⁻¹⁰⁰ may be that much more */
function integerError(
  kv: StoredKv,
  weights: readonly Weight[],
  c: number,
  size: number,
  blocks: number,
  worst: number,
): number {
  let [sum, magnitude] = [0, 0];
  const ofBlock = new Map<number, Weight[]>();
  for (const weight of weights) {
    const block = weight.t === 0 ? -1 : Math.floor(weight.t / PAGE_KEYS);
    const own = ofBlock.get(block);
    if (own) own.push(weight);
    else ofBlock.set(block, [weight]);
  }
  for (const own of ofBlock.values()) {
    const most = own.reduce((a, { t, p, error }) => Math.max(a, (p + error) * kv.vs[t]), 0) * (1 + U);
    const beta = elementBound(Math.max(most, TINY), 2) + TINY * 2 ** worst;
    const codes = own.reduce((a, { t }) => a + Math.abs(kv.v[t * size + c]), 0);
    const values = own.reduce((a, { t, p, error }) => a + (p + error) * Math.abs(storedValue(kv, t, c, size)), 0);
    const digits = values + (beta + (DIGIT * most) / LIMIT) * codes;
    const errors = own.reduce((a, { t, error }) => a + error * Math.abs(storedValue(kv, t, c, size)), 0);
    sum += errors + beta * codes + U * values + gamma(5) * digits;
    magnitude += digits;
  }
  return sum + gamma(blocks + 1) * magnitude;
}
