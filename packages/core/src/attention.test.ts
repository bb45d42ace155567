import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gaussians, random } from '../test/random.ts';
import {
  type AttentionOptions,
  attention,
  createBackend,
  createKvCache,
  type Device,
  type WasmBackend,
} from './index.ts';

const [B, H, G, M, D, E] = [2, 4, 2, 70, 16, 8];

/** Textbook attention, causal, in float64: [B, M, H, E]. */
function textbook(q: Float32Array, k: Float32Array, v: Float32Array): number[] {
  const out = new Array<number>(B * M * H * E).fill(0);
  for (let b = 0; b < B; b++)
    for (let m = 0; m < M; m++)
      for (let h = 0; h < H; h++) {
        const g = Math.floor(h / (H / G));
        const score = (t: number) => {
          let sum = 0;
          for (let j = 0; j < D; j++) sum += q[((b * M + m) * H + h) * D + j] * k[((b * M + t) * G + g) * D + j];
          return sum / Math.sqrt(D);
        };
        const e = Array.from({ length: m + 1 }, (_, t) => Math.exp(score(t)));
        const l = e.reduce((a, c) => a + c, 0);
        for (let c = 0; c < E; c++)
          out[((b * M + m) * H + h) * E + c] = e.reduce(
            (sum, w, t) => sum + (w / l) * v[((b * M + t) * G + g) * E + c],
            0,
          );
      }
  return out;
}

/** [B, rows, heads, size] to [B, heads, rows, size]. */
const turned = (x: Float32Array, heads: number, size: number): Float32Array => {
  const rows = x.length / (B * heads * size);
  return Float32Array.from(x, (_, i) => {
    const [c, m, h, b] = [
      i % size,
      Math.floor(i / size) % rows,
      Math.floor(i / (size * rows)) % heads,
      Math.floor(i / (size * rows * heads)),
    ];
    return x[((b * rows + m) * heads + h) * size + c];
  });
};

/** Rows [from, to) of each sequence. */
const rowsOf = (x: Float32Array, from: number, to: number): Float32Array => {
  const width = x.length / (B * M);
  return Float32Array.from([0, 1].flatMap((b) => Array.from(x.subarray((b * M + from) * width, (b * M + to) * width))));
};

describe('attention', () => {
  const next = random(1);
  const q = gaussians(next, B * M * H * D);
  const k = gaussians(next, B * M * G * D);
  const v = gaussians(next, B * M * G * E);
  const shape = { batch: B, kvHeads: G, headSize: D, valueSize: E };
  const options: AttentionOptions = { heads: H, ...shape, causal: true };
  let backend: WasmBackend;
  beforeAll(async () => {
    backend = await createBackend('wasm', { threads: 1, debug: true });
  });
  afterAll(() => backend.dispose());

  it('is the attention of textbooks, on both layouts', () => {
    const y = attention(q, k, v, { ...options, backend });
    const used = backend.arena.usedBytes;
    const want = textbook(q, k, v);
    const worst = want.reduce((most, value, i) => Math.max(most, Math.abs(value - y[i])), 0);
    expect(worst).toBeLessThan(2e-4);
    const z = attention(turned(q, H, D), turned(k, G, D), turned(v, G, E), { ...options, layout: 'heads', backend });
    expect(z).toEqual(turned(y, H, E));
    expect(backend.arena.usedBytes).toBe(used);
  });

  it('goes on from a cache, to the same bits', async () => {
    const whole = attention(q, k, v, { ...options, backend });
    const reference = await createBackend('reference', { arithmetic: 'float32' });
    for (const device of [backend, reference]) {
      const cache = createKvCache(device as Device<unknown>, shape);
      const first = attention(rowsOf(q, 0, 60), rowsOf(k, 0, 60), rowsOf(v, 0, 60), { heads: H, cache, causal: true });
      expect(first).toEqual(rowsOf(whole, 0, 60));
      const out = new Float32Array(B * 10 * H * E);
      const last = attention(rowsOf(q, 60, 70), rowsOf(k, 60, 70), rowsOf(v, 60, 70), {
        heads: H,
        cache,
        causal: true,
        out,
      });
      expect(last).toBe(out);
      expect(last).toEqual(rowsOf(whole, 60, 70));
      // the last query again, of what is there
      const again = attention(rowsOf(q, 69, 70), undefined, undefined, { heads: H, cache });
      expect(again).toEqual(rowsOf(whole, 69, 70));
      expect(cache.lengths).toEqual([70, 70]);
      cache.dispose();
    }
  });

  it('takes no keys, or no queries', () => {
    const cache = createKvCache(backend, shape);
    const none = new Float32Array(0);
    expect(attention(none, none, none, { heads: H, cache })).toEqual(none);
    const zeros = attention(rowsOf(q, 0, 5), none, none, { heads: H, cache });
    expect(zeros.every((value) => value === 0)).toBe(true);
    attention(none, rowsOf(k, 0, 5), rowsOf(v, 0, 5), { heads: H, cache });
    expect(cache.lengths).toEqual([5, 5]);
    cache.dispose();
  });

  it('refuses what does not fit, and changes nothing then', () => {
    const cache = createKvCache(backend, shape);
    attention(rowsOf(q, 0, 5), rowsOf(k, 0, 5), rowsOf(v, 0, 5), { heads: H, cache });
    const [keys, values] = [cache.keys(5), cache.values(5)];
    const used = backend.arena.usedBytes;
    const bad: [unknown, unknown, unknown, object, RegExp][] = [
      [q, k, v, { heads: H }, /a cache or a backend/],
      [q, k, v, { heads: H, backend }, /headSize/],
      [q, k, v, { heads: H, cache: {} }, /KvCache/],
      [q, k, v, { heads: 3, cache }, /whole rows/],
      [q.subarray(0, B * 3 * D), undefined, undefined, { heads: 3, cache }, /multiple of kvHeads/],
      [q, k, v, { heads: 0, cache }, /heads/],
      [q, k, v, { heads: H, cache, headSize: 8 }, /headSize/],
      [q.subarray(1), k, v, { heads: H, cache }, /whole rows/],
      [Array.from(q), k, v, { heads: H, cache }, /Float32Array/],
      [q, k, undefined, { heads: H, cache }, /neither/],
      [q, k, v.subarray(16), { heads: H, cache }, /rows/],
      [q, k, v, { heads: H, cache, layout: 'x' }, /layout/],
      [q, k, v, { heads: H, cache, out: new Float32Array(3) }, /out/],
      [q, k, v, { heads: H, cache, window: 0 }, /window/],
      [q, k, v, { heads: H, cache, softcap: -1 }, /softcap/],
      [q, k, v, { heads: H, cache, scale: Number.NaN }, /scale/],
      [q, k, v, { heads: H, cache, alibi: [1] }, /alibi/],
      [q, k, v, { heads: H, cache, sinks: new Float32Array(1) }, /sinks/],
      [
        q,
        k,
        v,
        { heads: H, cache, sinks: [0, 0] },
        /sinks expected a Float32Array of \d values, one per head, got Array/,
      ],
      [q, k, v, { heads: H, cache, type: 'float' }, /type expected int16, as the cache has, got float/],
      [q, k, v, { heads: H, cache, backend: {} }, /backend/],
      [q, k, v, { heads: H, cache, causal: 'no' }, /causal/],
      [q, k, v, { heads: H, cache, isCausal: true }, /causal, .*got 'isCausal'/],
      [q, k, v, null as unknown as object, /options/],
      [q, k, v, { heads: H, cache, past: [9, 0] }, /past/],
      [q, k, v, { heads: H, cache, past: [1] }, /past/],
      [q, k, v, { heads: H, cache, counts: [71, 0] }, /counts/],
      [q, k, v, { heads: H, cache, starts: [-1, 0] }, /starts/],
      [q, k, v, { heads: H, cache, bias: { dims: [1, 1, 1, 74], data: new Float32Array(74) } }, /bias/],
      [q, k, v, { heads: H, cache, bias: { dims: [1, 1, 1, 75], data: new Float32Array(74) } }, /bias/],
      [q, k, v, { heads: H, cache, mask: { dims: [1, 1, 1, 75], data: new Float32Array(75) } }, /mask/],
    ];
    for (const [qq, kk, vv, more, message] of bad) {
      let error: unknown;
      try {
        attention(qq as Float32Array, kk as Float32Array, vv as Float32Array, more as AttentionOptions);
      } catch (thrown) {
        error = thrown;
      }
      expect(error instanceof TypeError || error instanceof RangeError, `${message}: ${String(error)}`).toBe(true);
      expect((error as Error).message).toMatch(message);
      expect(cache.lengths).toEqual([5, 5]);
      expect(backend.arena.usedBytes).toBe(used);
    }
    expect(cache.keys(5)).toEqual(keys);
    expect(cache.values(5)).toEqual(values);
    const other = createKvCache(backend, shape);
    cache.dispose();
    expect(() => attention(q, k, v, { heads: H, cache })).toThrow(RangeError);
    other.dispose();
  });
});
