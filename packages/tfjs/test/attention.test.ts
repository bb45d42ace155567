/** attention and KvCache on tfjs's tensors. */
import { BackendUnavailableError } from '@msd/core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AttentionOptions, attention, DisposedError, KvCache, register, unregister } from '../src/index.ts';
import { BACKENDS, gaussian, relativeL2, tensor, tf, tidied, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

type Three = [tf.Tensor, tf.Tensor, tf.Tensor];
type Four = readonly [number, number, number, number];

/** By definition, in float64. Operands [batch, heads, rows, size]. */
function reference(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, options: AttentionOptions): number[] {
  const [[B, H, M, d], [, G, T, e]] = [q.shape as unknown as Four, v.shape as unknown as Four];
  const { scale = d ** -0.5, softcap, window, causal, bias, mask, sinks } = options;
  const [qs, ks, vs] = [q.dataSync(), k.dataSync(), v.dataSync()];
  const scoresOf = (x: tf.Tensor | undefined) => {
    const dims = [...Array<number>(4 - (x?.rank ?? 4)).fill(1), ...(x?.shape ?? [])];
    const values = x?.dataSync();
    return (...index: Four) => values?.[dims.reduce((n, dim, i) => n * dim + (dim === 1 ? 0 : index[i]!), 0)];
  };
  const [biasAt, maskAt, sinkOf] = [scoresOf(bias), scoresOf(mask), sinks?.dataSync()];
  const out: number[] = [];
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++)
      for (let m = 0; m < M; m++) {
        const own = b * G + Math.floor(h / (H / G));
        const weights = Array.from({ length: T }, (_, t) => {
          let score = 0;
          for (let j = 0; j < d; j++) score += qs[((b * H + h) * M + m) * d + j]! * ks[(own * T + t) * d + j]!;
          score *= scale;
          if (softcap !== undefined) score = softcap * Math.tanh(score / softcap);
          score += biasAt(b, h, m, t) ?? 0;
          const isSeen = (maskAt(b, h, m, t) ?? 1) && (!causal || t <= m) && (window === undefined || t > m - window);
          return isSeen ? Math.exp(score) : 0;
        });
        const sink = sinkOf ? Math.exp(sinkOf[h]!) : 0;
        const sum = weights.reduce((a, c) => a + c, sink) || 1;
        for (let c = 0; c < e; c++) out.push(weights.reduce((y, w, t) => y + w * vs[(own * T + t) * e + c]!, 0) / sum);
      }
  return out;
}

const dims = fc.record({
  B: fc.integer({ min: 1, max: 3 }),
  G: fc.integer({ min: 1, max: 3 }),
  group: fc.integer({ min: 1, max: 4 }),
  M: fc.constantFrom(1, 2, 7, 65),
  T: fc.constantFrom(1, 2, 33, 63, 64, 65, 130),
  d: fc.constantFrom(8, 15, 32, 64, 80, 128),
  e: fc.constantFrom(8, 15, 64, 128),
  rank: fc.constantFrom(2, 3, 4),
  layout: fc.constantFrom('heads' as const, 'rows' as const),
  causal: fc.boolean(),
  window: fc.option(fc.integer({ min: 1, max: 70 }), { nil: undefined }),
  softcap: fc.option(fc.constantFrom(2, 20), { nil: undefined }),
  scale: fc.option(fc.constantFrom(0.1, 0.3), { nil: undefined }),
  bias: fc.option(fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()), { nil: undefined }),
  mask: fc.option(fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()), { nil: undefined }),
  hasSinks: fc.boolean(),
  seed: fc.nat(1e6),
});

/** `4 - rank` leading dimensions are 1 and left out; dimensions in the order of the layout. */
function laidOut(x: tf.Tensor, rank: number, layout: 'heads' | 'rows'): tf.Tensor {
  const own = tf.reshape(x, x.shape.slice(4 - rank));
  if (layout === 'heads' || rank === 2) return own;
  return tf.transpose(own, rank === 4 ? [0, 2, 1, 3] : [1, 0, 2]);
}

describe('on tfjs’s heap, attention', () => {
  it('takes a megabyte for keys and values, however many sentences there are', async () => {
    await useBackend('wasm');
    const { wasm } = tf.backend() as unknown as { wasm: { _malloc(n: number): number; _free(at: number): void } };
    const run = (B: number) =>
      tf.tidy(() => void attention(...([1, 2, 3].map((i) => tensor(i, [B, 4, 14, 128])) as Three)));
    run(1);
    const { _malloc, _free } = wasm;
    const sizes = new Map<number, number>();
    let [now, most] = [0, 0];
    wasm._malloc = (size) => {
      const at = _malloc(size);
      sizes.set(at, size);
      now += size;
      most = Math.max(most, now);
      return at;
    };
    wasm._free = (at) => {
      now -= sizes.get(at) ?? 0;
      sizes.delete(at);
      _free(at);
    };
    try {
      run(64);
    } finally {
      Object.assign(wasm, { _malloc, _free });
    }
    expect(now).toBeLessThan(2 ** 17); // tables, and working memory of a task
    const tensors = 4 * 4 * 64 * 4 * 14 * 128; // q, k, v and the result
    expect(most).toBeLessThan(tensors + 2 ** 20 + 2 ** 17);
  });
});

describe.each(BACKENDS)('attention on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('is the reference’s within the error of two components, for all shapes and options', async () => {
    await withoutLeaks(() =>
      fc.assert(
        fc.property(dims, (given) => {
          const { M, T, d, e, rank, layout, causal, window, softcap, scale, seed } = given;
          const B = rank < 4 ? 1 : given.B;
          const [G, H] = rank < 3 ? [1, 1] : [given.G, given.G * given.group];
          tf.tidy(() => {
            const [q, k, v] = [
              tensor(seed, [B, H, M, d]),
              tensor(seed + 1, [B, G, T, d]),
              tensor(seed + 2, [B, G, T, e]),
            ];
            const score = (ones: readonly boolean[]) =>
              [B, H, M, T].map((dim, i) => (ones[i] ? 1 : dim)).slice(4 - rank);
            const options: AttentionOptions = {
              ...{ causal, window, softcap, scale },
              bias: given.bias && tensor(seed + 3, score(given.bias)),
              mask: given.mask && tf.greater(tensor(seed + 4, score(given.mask)), tf.scalar(-0.5)),
              sinks: given.hasSinks ? tensor(seed + 5, [H]) : undefined,
            };
            const operands = [q, k, v].map((x) => laidOut(x, rank, layout)) as [tf.Tensor, tf.Tensor, tf.Tensor];
            const y = attention(...operands, { ...options, layout });
            const want = reference(q, k, v, options);
            const lying = laidOut(tf.tensor(want, [B, H, M, e]), rank, layout);
            expect(y.shape).toEqual(lying.shape);
            const [got, expected] = [y.dataSync(), lying.dataSync()];
            if (expected.some((value) => value !== 0)) expect(relativeL2(got, expected)).toBeLessThan(3e-4);
            else expect(got).toEqual(expected);
          });
        }),
        { numRuns: 60 },
      ),
    );
  });

  it('is close to tfjs’s own operations, in each form of keys and values', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const [q, k, v] = [tensor(1, [2, 4, 9, 64]), tensor(2, [2, 4, 300, 64]), tensor(3, [2, 4, 300, 64])];
        const want = tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), 1 / 8)), v).dataSync();
        const errors = (['float', 'int16', 'int8'] as const).map((type) =>
          relativeL2(attention(q, k, v, { type }).dataSync(), want),
        );
        expect(errors[0]).toBeLessThan(1e-4);
        expect(errors[1]).toBeLessThan(1.5e-4);
        expect(errors[2]).toBeGreaterThan(1e-3);
        expect(errors[2]).toBeLessThan(0.02);
        expect(attention(q, k, v).dataSync()).toEqual(attention(q, k, v, { type: 'int16' }).dataSync());
      }),
    );
  });

  it('gives a batch that it takes in parts the bits of its sequences and heads alone', async () => {
    // Sequences that are cut into parts of some, with a rest; and heads of one that are.
    const forms: readonly (readonly [B: number, G: number, group: number, M: number, T: number])[] = [
      [23, 3, 2, 5, 14],
      [64, 4, 1, 3, 9],
      [2, 41, 2, 1, 70],
      [1, 100, 1, 2, 65],
    ];
    const wholes = [
      [1, 1, 1, 1],
      [0, 1, 0, 1],
      [1, 0, 1, 1],
      [0, 0, 0, 1],
    ];
    await withoutLeaks(() => {
      forms.forEach(([B, G, group, M, T], seed) => {
        for (const layout of ['heads', 'rows'] as const)
          tf.tidy(() => {
            const H = G * group;
            const [q, k] = [tensor(seed, [B, H, M, 64]), tensor(seed + 1, [B, G, T, 64])];
            const v = tensor(seed + 2, [B, G, T, 48]);
            const whole = wholes[seed]!;
            const shape = [B, H, M, T].map((dim, i) => (whole[i] ? dim : 1));
            const bias = tensor(seed + 3, shape);
            const mask = tf.greater(tensor(seed + 4, shape), tf.scalar(-0.5));
            const sinks = tensor(seed + 5, [H]);
            const lie = (x: tf.Tensor) => laidOut(x, 4, layout);
            const y = lie(attention(lie(q), lie(k), lie(v), { layout, bias, mask, sinks }));
            const part = (x: tf.Tensor, b: number, h: number, count = 1) =>
              tf.slice(
                x,
                [x.shape[0] === 1 ? 0 : b, x.shape[1] === 1 ? 0 : h],
                [1, x.shape[1] === 1 ? 1 : count, ...x.shape.slice(2)],
              );
            const row = M * 48;
            for (const [b, g] of [
              [0, 0],
              [B - 1, G - 1],
              [Math.floor(B / 2), Math.floor(G / 2)],
              [Math.floor((2 * B) / 3), 0],
            ] as const) {
              const h = g * group;
              const own = attention(part(q, b, h, group), part(k, b, g), part(v, b, g), {
                bias: part(bias, b, h, group),
                mask: part(mask, b, h, group),
                sinks: tf.slice(sinks, h, group),
              });
              const at = (b * H + h) * row;
              expect(y.dataSync().slice(at, at + group * row)).toEqual(own.dataSync());
            }
          });
      });
    });
  });

  it('gives the same bits on tfjs’s heap and through copies', async () => {
    const values: Float32Array[] = [];
    for (const name of BACKENDS) {
      await useBackend(name);
      tf.tidy(() => {
        const y = attention(tensor(1, [2, 6, 5, 64]), tensor(2, [2, 2, 70, 64]), tensor(3, [2, 2, 70, 64]));
        values.push(y.dataSync<'float32'>().slice());
      });
    }
    await useBackend(backend);
    expect(values[0]).toEqual(values[1]);
  });

  it.each(['int16', 'int8', 'float'] as const)(
    'gives the same bits for a %s prompt as a whole and token by token',
    async (type) => {
      const [B, H, G, T, d] = [2, 4, 2, 150, 32];
      await withoutLeaks(() => {
        const caches = [0, 1, 2].map(() => new KvCache({ batch: B, kvHeads: G, headSize: d, type }));
        tf.tidy(() => {
          const [q, k, v] = [tensor(1, [B, H, T, d]), tensor(2, [B, G, T, d]), tensor(3, [B, G, T, d])];
          const mask = tf.greater(tensor(4, [1, 1, T, T]), tf.scalar(-1));
          const whole = attention(q, k, v, { cache: caches[0]!, causal: true, mask }).dataSync();
          for (const [cache, size] of [
            [caches[1]!, 1],
            [caches[2]!, 64],
          ] as const) {
            const parts: tf.Tensor[] = [];
            for (let begin = 0; begin < T; begin += size) {
              const rows = Math.min(size, T - begin);
              const part = (x: tf.Tensor) => tf.slice(x, [0, 0, begin, 0], [B, x.shape[1]!, rows, d]);
              const own = tf.slice(mask, [0, 0, begin, 0], [1, 1, rows, begin + rows]);
              parts.push(attention(part(q), part(k), part(v), { cache, causal: true, mask: own }));
            }
            expect(tf.concat(parts, 2).dataSync()).toEqual(whole);
            expect(cache.lengths).toEqual([T, T]);
          }
        });
        for (const cache of caches) cache.dispose();
      });
    },
  );

  it('leaves nothing behind in a thousand calls', async () => {
    const [q, k, v] = [tensor(1, [1, 4, 1, 16]), tensor(2, [1, 2, 1, 16]), tensor(3, [1, 2, 1, 16])];
    const cache = new KvCache({ kvHeads: 2, headSize: 16 });
    const heap = () => (tf.backend() as unknown as { wasm?: { HEAPU8: Uint8Array } }).wasm?.HEAPU8.length;
    const once = () =>
      tf.tidy(() => {
        attention(q, k, v);
        attention(q, k, v, { cache });
        if (cache.length === 100) cache.truncate(10);
      });
    for (let i = 0; i < 100; i++) once();
    const [bytes, before] = [cache.byteLength, heap()];
    await withoutLeaks(() => {
      for (let i = 0; i < 1000; i++) once();
    });
    expect(cache.byteLength).toBeLessThanOrEqual(bytes);
    expect(heap()).toBe(before);
    cache.dispose();
    tf.dispose([q, k, v]);
  });

  it('reads keys and values that were given once', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const [q, k, v] = [tensor(1, [1, 4, 3, 16]), tensor(2, [1, 2, 20, 16]), tensor(3, [1, 2, 20, 24])];
        const cache = new KvCache({ kvHeads: 2, headSize: 16, valueSize: 24 });
        cache.append(k, v);
        expect(attention(q, null, null, { cache }).dataSync()).toEqual(attention(q, k, v).dataSync());
        expect(attention(q, null, null, { cache }).shape).toEqual([1, 4, 3, 24]);
        expect(cache.length).toBe(20);
        expect(relativeL2(cache.keys().dataSync(), k.dataSync())).toBeLessThan(1e-4);
        expect(cache.values().shape).toEqual([1, 2, 20, 24]);
        expect(relativeL2(cache.values().dataSync(), v.dataSync())).toBeLessThan(1e-4);
        cache.dispose();
      }),
    );
  });

  it('truncates, branches, reorders and resets caches', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const [k, v] = [tensor(2, [2, 1, 80, 16]), tensor(3, [2, 1, 80, 16])];
        const q = tensor(1, [2, 2, 1, 16]);
        const first = (x: tf.Tensor, rows: number) => tf.slice(x, [0, 0, 0, 0], [2, 1, rows, 16]);
        const cache = new KvCache({ batch: 2, kvHeads: 1, headSize: 16 });
        expect(cache.byteLength).toBe(0);
        cache.append(k, v);
        expect(cache.byteLength).toBe(cache.bytesFor(80));
        const all = attention(q, null, null, { cache }).dataSync();
        const other = cache.branch();
        other.truncate(70);
        expect([cache.length, other.length]).toEqual([80, 70]);
        const shorter = new KvCache({ batch: 2, kvHeads: 1, headSize: 16 });
        shorter.append(first(k, 70), first(v, 70));
        expect(attention(q, null, null, { cache: other }).dataSync()).toEqual(
          attention(q, null, null, { cache: shorter }).dataSync(),
        );
        other.append(first(k, 5), first(v, 5));
        expect(attention(q, null, null, { cache }).dataSync()).toEqual(all); // not what the branch did
        cache.reorder([1, 1]);
        const turned = attention(tf.reverse(q, 0), null, null, { cache }).dataSync();
        expect(turned.slice(0, 32)).toEqual(all.slice(32));
        cache.truncate([3, 4]);
        expect(cache.lengths).toEqual([3, 4]);
        cache.reset();
        expect([cache.length, cache.byteLength]).toEqual([0, 0]);
        expect(attention(q, null, null, { cache }).dataSync()).toEqual(new Float32Array(64)); // no keys: zeros
        for (const own of [cache, other, shorter]) own.dispose();
      }),
    );
  });

  it('says what is wrong, and changes nothing', async () => {
    const cache = new KvCache({ kvHeads: 2, headSize: 16 });
    await withoutLeaks(() =>
      tf.tidy(() => {
        const [q, k, v] = [tensor(1, [1, 4, 3, 16]), tensor(2, [1, 2, 5, 16]), tensor(3, [1, 2, 5, 16])];
        const gone = tf.ones([1, 2, 5, 16]);
        gone.dispose();
        const refused: [unknown, () => tf.Tensor][] = [
          [TypeError, () => attention(gaussian(1, 4) as never, k, v)],
          [TypeError, () => attention(tf.cast(q, 'int32'), k, v)],
          [TypeError, () => attention(q, k, null)],
          [TypeError, () => attention(q, null, null)],
          [TypeError, () => attention(q, k, v, { isCausal: true } as never)],
          [TypeError, () => attention(q, k, v, { causal: 1 as never })],
          [TypeError, () => attention(q, k, v, { mask: tf.ones([3, 5]) })],
          [TypeError, () => attention(q, k, v, { bias: [1] as never })],
          [TypeError, () => attention(q, k, v, { cache: {} as never })],
          [TypeError, () => attention(q, k, v, { cache, type: 'int8' })],
          [RangeError, () => attention(q, k, v, { type: 'int4' as never })],
          [RangeError, () => attention(q, k, v, { layout: 'btd' as never })],
          [RangeError, () => attention(q, k, v, { scale: Number.NaN })],
          [RangeError, () => attention(q, k, v, { window: 0 })],
          [RangeError, () => attention(q, k, v, { softcap: -1 })],
          [RangeError, () => attention(q, k, v, { bias: tf.ones([4, 5]) })],
          [RangeError, () => attention(q, k, v, { mask: tf.cast(tf.ones([1, 1, 1, 3, 5]), 'bool') })],
          [RangeError, () => attention(q, k, v, { sinks: tf.ones([3]) })],
          [TypeError, () => attention(q, k, v, null as never)],
          [DisposedError, () => attention(q, gone, v)],
          [RangeError, () => attention(tf.ones([3]), tf.ones([3]), tf.ones([3]))],
          [RangeError, () => attention(q, tf.ones([2, 5, 16]), v)],
          [RangeError, () => attention(q, tf.ones([1, 2, 5, 15]), v)],
          [RangeError, () => attention(q, tf.ones([2, 2, 5, 16]), v)],
          [RangeError, () => attention(q, k, tf.ones([1, 2, 6, 16]))],
          [RangeError, () => attention(q, tf.ones([1, 3, 5, 16]), tf.ones([1, 3, 5, 16]))],
          [RangeError, () => attention(tf.ones([1, 4, 3, 8]), tf.ones([1, 2, 5, 8]), v, { cache })],
          [RangeError, () => attention(tf.ones([1, 4, 0, 16]), k, v, { cache })],
          [RangeError, () => attention(q, tf.ones([1, 1, 5, 16]), tf.ones([1, 1, 5, 16]), { cache })],
          [RangeError, () => attention(tf.ones([1, 1, 1, 600]), tf.ones([1, 1, 1, 600]), tf.ones([1, 1, 1, 4]))],
        ];
        for (const [kind, call] of refused) expect(() => tidied(call), call.toString()).toThrow(kind as never);
      }),
    );
    expect(cache.lengths).toEqual([0]);
    expect(() => new KvCache(undefined as never)).toThrow('options');
    expect(() => new KvCache({ kvHeads: 0, headSize: 16 })).toThrow(RangeError);
    expect(() => new KvCache({ kvHeads: 1, headSize: 16n as never })).toThrow('KvCache: headSize, expected a number');
    expect(() => new KvCache({ kvHeads: 1, headSize: 16, size: 3 } as never)).toThrow(TypeError);
    expect(() => cache.append(tf.ones([1, 2, 3]), tf.ones([1, 2, 3]))).toThrow(RangeError);
    cache.dispose();
    cache.dispose();
    expect(cache.isDisposed).toBe(true);
    expect(() => cache.lengths).toThrow(DisposedError);
    expect(() => attention(tf.ones([1, 2, 1, 16]), null, null, { cache })).toThrow(DisposedError);
    tf.disposeVariables();
  });

  it('says how many bytes are missing, and goes on', async () => {
    const heap = () => (tf.backend() as unknown as { wasm?: { HEAPU8: Uint8Array } }).wasm?.HEAPU8.length;
    const before = heap();
    const cache = new KvCache({ kvHeads: 64, headSize: 512, type: 'float' });
    expect(cache.bytesFor(40_000)).toBeGreaterThan(10e9);
    expect(() => cache.reserve(40_000)).toThrow(BackendUnavailableError);
    expect(() => cache.reserve(40_000)).toThrow(/\d{11} bytes/);
    expect([cache.length, cache.byteLength, heap()]).toEqual([0, 0, before]);
    cache.dispose();
    const small = new KvCache({ kvHeads: 1, headSize: 8 });
    tf.tidy(() => attention(tf.ones([1, 8]), tf.ones([1, 8]), tf.ones([1, 8]), { cache: small }));
    expect(small.length).toBe(1);
    small.dispose();
  });

  it('keeps a cache on its backend, while that is there', async () => {
    const cache = new KvCache({ kvHeads: 1, headSize: 8 });
    const other = backend === 'cpu' ? 'wasm' : 'cpu';
    await useBackend(other);
    expect(() => tidied(() => attention(tf.ones([1, 8]), tf.ones([1, 8]), tf.ones([1, 8]), { cache }))).toThrow(other);
    await useBackend(backend);
    unregister(tf);
    expect(cache.isDisposed).toBe(true);
    expect(() => new KvCache({ kvHeads: 1, headSize: 8 })).toThrow('register');
    register(tf);
    expect(() => cache.length).toThrow(DisposedError);
    cache.dispose();
  });

  it('has gradients: those of tfjs’s own operations', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const operands = [tensor(1, [2, 4, 3, 8]), tensor(2, [2, 2, 6, 8]), tensor(3, [2, 2, 6, 8])];
        const mask = tf.greater(tensor(4, [3, 6]), tf.scalar(-0.5));
        const options: AttentionOptions = { mask, softcap: 3, window: 5, causal: true, sinks: tensor(5, [4]) };
        const run = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => tf.sum(tf.square(attention(q, k, v, options)));
        const gradients = tf.grads(run as never)(operands);
        const direction = tensor(6, [2, 2, 6, 8]);
        for (const [i, gradient] of gradients.entries()) {
          const along = tf.slice(tf.concat([direction, direction], 1), [0, 0, 0, 0], operands[i]!.shape);
          const at = (step: number) => {
            const moved = operands.map((x, j) => (i === j ? tf.add(x, tf.mul(along, step)) : x));
            const [q, k, v] = moved as [tf.Tensor, tf.Tensor, tf.Tensor];
            const y = attention(q, k, v, { ...options, type: 'float' });
            return y.dataSync<'float32'>().reduce((sum, value) => sum + value * value, 0);
          };
          const slope = (at(0.01) - at(-0.01)) / 0.02;
          const want = tf.sum(tf.mul(gradient, along)).dataSync()[0]!;
          expect(Math.abs(slope - want)).toBeLessThan(0.02 * Math.abs(want) + 0.02);
        }
        const cache = new KvCache({ kvHeads: 2, batch: 2, headSize: 8 });
        const cached = (q: tf.Tensor) => tf.sum(attention(q, operands[1]!, operands[2]!, { cache }));
        expect(() => tidied(() => tf.grad(cached as never)(operands[0]!))).toThrow('gradients');
        cache.dispose();
      }),
    );
  });

  it('gives zeros where there are no keys, and nothing of nothing', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        expect(attention(tf.ones([2, 3, 8]), tf.zeros([2, 0, 8]), tf.zeros([2, 0, 4])).dataSync()).toEqual(
          new Float32Array(24),
        );
        expect(attention(tf.zeros([2, 0, 8]), tf.ones([2, 3, 8]), tf.ones([2, 3, 4])).shape).toEqual([2, 0, 4]);
        const cache = new KvCache({ kvHeads: 2, headSize: 8, valueSize: 4 });
        attention(tf.ones([2, 3, 8]), tf.ones([2, 2, 8]), tf.ones([2, 2, 4]), { cache });
        const y = attention(tf.ones([2, 3, 8]), tf.zeros([2, 0, 8]), tf.zeros([2, 0, 4]), { cache });
        for (const value of y.dataSync()) expect(value).toBeCloseTo(1, 4);
        cache.dispose();
      }),
    );
  });
});
