/**
 * Attention on any device, beside its specifications: a scenario is a cache and what is asked of it, run by run. Textbook attention,
 * in float64 and of another make than the reference, is what both are compared with.
 */
import { attentionBound } from '../src/accuracy/attention-bound.ts';
import { attentionReference } from '../src/attention/attention.reference.ts';
import {
  type AttentionOp,
  type AttentionRun,
  type KvCache,
  type KvShape,
  rowMajor,
} from '../src/attention/contract.ts';
import type { StoredKv } from '../src/attention/page.reference.ts';
import type { AttentionInputs } from '../src/attention/rows.ts';
import { attentionWork, createKvCache } from '../src/attention-work.ts';
import type { Device } from '../src/backends/device.ts';
import type { PagedKvCache } from '../src/backends/kv-cache.ts';
import { storedIn as readStored } from '../src/backends/kv-reference.ts';

export interface Operands {
  readonly q: Float32Array;
  readonly k?: Float32Array | undefined;
  readonly v?: Float32Array | undefined;
  readonly sinks?: Float32Array | undefined;
  readonly bias?: Float32Array | undefined;
  readonly mask?: Uint8Array | undefined;
}

export type Sizes = Pick<AttentionOp, 'batch' | 'heads' | 'kvHeads' | 'headSize' | 'valueSize'>;

/** An op whose operands are [B, rows, heads · d]; causal, and with a new key for each row, if nothing else is said. */
export function opOf(sizes: Sizes & { readonly rows: number }, more: Partial<AttentionOp> = {}): AttentionOp {
  const { rows, heads, kvHeads, headSize, valueSize } = sizes;
  const newKeys = more.newKeys ?? rows;
  return {
    ...sizes,
    newKeys,
    isCausal: true,
    q: rowMajor(rows, headSize, heads * headSize),
    k: rowMajor(newKeys, headSize, kvHeads * headSize),
    v: rowMajor(newKeys, valueSize, kvHeads * valueSize),
    out: rowMajor(rows, valueSize, heads * valueSize),
    ...more,
  };
}

/** What lies in `out` before: whatever is not an output stays so. */
const BEFORE = 12345;

/** Binds and runs once. @returns everything that `out` spans */
export async function run<H>(
  device: Device<H>,
  op: AttentionOp,
  operands: Operands,
  now: AttentionRun<KvCache>,
): Promise<Float32Array> {
  const [out] = await runs(device, op, operands, [now]);
  return out!;
}

/** Binds once, and runs each. @returns of every run what `out` spans */
export async function runs<H>(
  device: Device<H>,
  op: AttentionOp,
  { q, k, v, sinks, bias, mask }: Operands,
  all: readonly AttentionRun<KvCache>[],
): Promise<Float32Array[]> {
  const put = (data: ArrayBufferView) => {
    const handle = device.alloc(Math.max(4, data.byteLength), 'test');
    if (data.byteLength > 0) device.write(handle, data);
    return handle;
  };
  const { batch, row, head } = op.out;
  const length = (op.batch - 1) * batch + (op.rows - 1) * row + (op.heads - 1) * head + op.valueSize;
  const before = new Float32Array(op.rows === 0 ? 0 : length).fill(BEFORE);
  const operands = [q, k, v, sinks, bias, mask, before].map((data) => data && put(data));
  let now = all[0]!;
  const call = device.bind(
    attentionWork(op, () => now),
    operands,
  );
  const results: Float32Array[] = [];
  for (now of all) {
    device.run(call);
    const out = before.slice();
    await device.read(operands[6]!, out);
    results.push(out);
  }
  for (const handle of operands) if (handle !== undefined) device.free(handle);
  return results;
}

export const cacheOn = <H>(device: Device<H>, shape: KvShape): PagedKvCache<H> =>
  createKvCache(device, shape) as PagedKvCache<H>;

/** What the reference is given for a run: `past` as it was before. */
export function inputsOf(
  op: AttentionOp,
  { q, sinks, bias, mask }: Operands,
  now: AttentionRun<KvCache>,
  lengths: readonly number[],
): AttentionInputs {
  const past = now.past ?? lengths;
  const all = (value: number) => lengths.map(() => value);
  const counts = now.counts ?? all(op.newKeys);
  return {
    isCausal: now.isCausal ?? op.isCausal,
    q,
    sinks,
    bias: now.bias ?? (op.bias && { dims: op.bias, data: bias! }),
    mask: now.mask ?? (op.mask && { dims: op.mask, data: mask! }),
    queries: now.queries ?? (op.rows === op.newKeys ? counts : all(op.rows)),
    positions: now.positions ?? past,
    starts: now.starts ?? all(0),
  };
}

/** What the specification gives on what a cache holds now, `out` being of that length, and how far it may be from the mathematics. */
export function specified(
  op: AttentionOp,
  inputs: AttentionInputs,
  cache: PagedKvCache,
  length: number,
): { bits: Float32Array; exact: Float64Array; bounds: Float64Array } {
  const stored = storedIn(op, cache);
  const bits = contractOf(op, inputs, cache, length);
  const exact = new Float64Array(length).fill(BEFORE);
  textbook(op, inputs, stored, exact);
  return { bits, exact, bounds: attentionBound(op, inputs, stored, length) };
}

/** What the f32 contract gives on what a cache holds now, `out` being of that length. */
export function contractOf(
  op: AttentionOp,
  inputs: AttentionInputs,
  cache: PagedKvCache,
  length: number,
): Float32Array {
  const bits = new Float32Array(length).fill(BEFORE);
  attentionReference(op, inputs, storedIn(op, cache), bits, 'float32');
  return bits;
}

function storedIn({ kvHeads }: AttentionOp, cache: PagedKvCache): (sequence: number, kvHead: number) => StoredKv {
  const known = new Map<number, StoredKv>();
  return (b, head) => {
    const at = b * kvHeads + head;
    if (!known.has(at)) known.set(at, readStored(cache, b, head));
    return known.get(at)!;
  };
}

/** softmax(Q·Kᵀ)·V of what is stored, straight from the definition. */
export function textbook(
  op: AttentionOp,
  inputs: AttentionInputs,
  stored: (sequence: number, kvHead: number) => StoredKv,
  out: Float64Array,
): void {
  const { batch, rows, heads, kvHeads, headSize: d, valueSize, softcap, alibi, window = Number.POSITIVE_INFINITY } = op;
  const scale = op.scale ?? 1 / Math.sqrt(d);
  const at = <Data extends Float32Array | Uint8Array>(
    { dims, data }: { dims: readonly number[]; data: Data },
    place: readonly number[],
  ): number => data[place.reduce((index, i, axis) => index * dims[axis] + (dims[axis] === 1 ? 0 : i), 0)];
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++) {
      const kv = stored(b, Math.floor(h / (heads / kvHeads)));
      const key = (t: number, j: number) => kv.k[t * d + j] * (t < kv.floatKeys ? 1 : kv.ks[t] * kv.kc[j]);
      const value = (t: number, c: number) => kv.v[t * valueSize + c] * (kv.floatValues ? 1 : kv.vs[t]);
      for (let m = 0; m < rows; m++) {
        const to = b * op.out.batch + m * op.out.row + h * op.out.head;
        out.fill(0, to, to + valueSize);
        if (m >= inputs.queries[b]) continue;
        const position = inputs.positions[b] + m;
        const from = b * op.q.batch + m * op.q.row + h * op.q.head;
        const scores = Array.from({ length: kv.length }, (_, t) => {
          if (inputs.isCausal && t > position) return Number.NEGATIVE_INFINITY;
          if (t <= position - window || t < inputs.starts[b]) return Number.NEGATIVE_INFINITY;
          if (inputs.mask && at(inputs.mask, [b, h, m, t]) === 0) return Number.NEGATIVE_INFINITY;
          let score = 0;
          for (let j = 0; j < d; j++) score += inputs.q[from + j] * key(t, j);
          score *= scale;
          if (softcap !== undefined) score = softcap * Math.tanh(score / softcap);
          if (alibi) score += alibi[h] * (t - position);
          return inputs.bias ? score + at(inputs.bias, [b, h, m, t]) : score;
        });
        const all = inputs.sinks ? [...scores, inputs.sinks[h]] : scores;
        const max = Math.max(...all);
        if (max === Number.NEGATIVE_INFINITY) continue;
        const sum = all.reduce((l, score) => l + Math.exp(score - max), 0);
        scores.forEach((score, t) => {
          const p = Math.exp(score - max) / sum;
          if (p > 0) for (let c = 0; c < valueSize; c++) out[to + c] += p * value(t, c);
        });
      }
    }
}
