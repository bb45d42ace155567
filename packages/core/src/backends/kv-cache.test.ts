import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { gaussians, random } from '../../test/random.ts';
import type { KvShape } from '../attention/contract.ts';
import { resolveKvShape } from '../attention/kv-format.ts';
import { createKvCache } from '../attention-work.ts';
import { BackendUnavailableError, UnsupportedError } from '../errors.ts';
import { createWasmBackend, type WasmBackend } from '../index.ts';
import type { ArenaHandle } from './arena.ts';
import type { Device } from './device.ts';
import { PagedKvCache } from './kv-cache.ts';
import { storedIn } from './kv-reference.ts';
import { attentionSpec } from './wasm/attention-call.ts';

const SHAPE = { batch: 1, kvHeads: 2, headSize: 64 };

describe('KvCache', () => {
  let backend: WasmBackend;
  beforeEach(() => {
    backend = createWasmBackend();
  });
  afterEach(() => backend.dispose());

  const cacheOf = (shape: KvShape) => createKvCache(backend, shape) as PagedKvCache<ArenaHandle>;

  /** Makes room, as a run does. */
  const open = (cache: PagedKvCache<ArenaHandle>, past: number, count: number) => cache.open([past], [count]);

  it.each([
    ['int8', 64, 1 + 4 / 64],
    ['int8', 128, 1 + 4 / 128],
    ['int16', 64, 2 + 4 / 64],
    ['int16', 128, 2 + 4 / 128],
    ['float', 64, 4 + 4 / 64],
  ] as const)('%s of heads of %i takes %f bytes per element, pages and arena within 5 %%', (type, headSize, each) => {
    const used = backend.arena.usedBytes;
    const cache = cacheOf({ ...SHAPE, headSize, type });
    for (let at = 0; at < 4096; at += 512) open(cache, at, 512);
    const elements = 4096 * 2 * 2 * headSize;
    expect(cache.byteLength).toBe(cache.bytesFor(4096));
    expect((backend.arena.usedBytes - used) / elements).toBeLessThan(1.05 * each);
    cache.dispose();
    expect(backend.arena.usedBytes).toBe(used);
  });

  it('stays as large as it was over 100,000 steps, truncations and branches', () => {
    const cache = cacheOf(SHAPE);
    open(cache, 0, 1100);
    cache.truncate(1000);
    const used = backend.arena.usedBytes;
    const size = backend.arena.byteLength;
    for (let step = 0; step < 100_000; step++) {
      open(cache, 1000 + (step % 100), 1);
      if (step % 100 !== 99) continue;
      const branch = cache.branch();
      open(branch, 1010, 5);
      branch.dispose();
      cache.truncate(1000);
    }
    expect(backend.arena.usedBytes).toBe(used);
    expect(backend.arena.byteLength).toBeLessThanOrEqual(size + 2 ** 17);
  });

  it('shares pages between branches, and copies what is written', () => {
    const cache = cacheOf(SHAPE);
    open(cache, 0, 1000);
    const used = backend.arena.usedBytes;
    const branch = cache.branch() as PagedKvCache<ArenaHandle>;
    expect(backend.arena.usedBytes).toBeLessThanOrEqual(used + 256); // a table
    expect(branch.byteLength).toBe(cache.byteLength);
    open(branch, 1000, 1);
    const page = cache.bytesFor(128) - cache.bytesFor(64);
    expect(backend.arena.usedBytes - used).toBeLessThanOrEqual(page + 256); // a page, a table
    cache.dispose();
    branch.dispose();
  });

  it('says how many bytes it cannot have, and goes on as before', () => {
    const cache = cacheOf(SHAPE);
    const next = random(1);
    cache.append(gaussians(next, 2 * 70 * 64), gaussians(next, 2 * 70 * 64), 70);
    const [keys, used, size] = [cache.keys(70), backend.arena.usedBytes, backend.arena.byteLength];
    const tooMany = 2 ** 24;
    const bytes = cache.bytesFor(tooMany) - cache.bytesFor(128);
    expect(() => cache.reserve(tooMany)).toThrow(BackendUnavailableError);
    expect(() => cache.reserve(tooMany)).toThrow(String(bytes));
    expect(() => open(cache, 30, tooMany)).toThrow(BackendUnavailableError);
    expect(cache.lengths).toEqual([70]);
    expect(cache.keys(70)).toEqual(keys);
    expect(backend.arena.usedBytes).toBe(used);
    expect(backend.arena.byteLength).toBe(size);
    cache.append(gaussians(next, 2 * 64), gaussians(next, 2 * 64), 1);
    expect(cache.lengths).toEqual([71]);
  });

  it('gives back what it took if memory runs out on the way', () => {
    let left = 7;
    const pages = {
      ...backend.pages,
      alloc: (byteLength: number, label?: string) => {
        if (left-- === 0) throw new BackendUnavailableError('no more');
        return backend.alloc(byteLength, label);
      },
    };
    const poor = { device: 'wasm', pages } as unknown as Device<ArenaHandle>;
    const used = backend.arena.usedBytes;
    const cache = new PagedKvCache(poor, resolveKvShape({ ...SHAPE, batch: 2 }), attentionSpec);
    cache.open([0, 0], [64, 100]);
    const [own, lengths] = [backend.arena.usedBytes, cache.lengths];
    left = 3;
    expect(() => cache.open([60, 60], [64, 200])).toThrow(BackendUnavailableError);
    expect(backend.arena.usedBytes).toBe(own);
    expect(cache.lengths).toEqual(lengths);
    left = 100;
    cache.open([60, 60], [64, 200]);
    expect(cache.lengths).toEqual([124, 260]);
    cache.dispose();
    expect(backend.arena.usedBytes).toBe(used);
  });

  it('keeps what was reserved, until it is reset', () => {
    const cache = cacheOf(SHAPE);
    cache.reserve(1000);
    const used = backend.arena.usedBytes;
    expect(cache.byteLength).toBe(cache.bytesFor(1000));
    open(cache, 0, 900);
    cache.truncate(3);
    expect(backend.arena.usedBytes).toBe(used);
    cache.reset();
    expect(cache.byteLength).toBe(0);
    expect(cache.lengths).toEqual([0]);
  });

  it('takes given factors, or none, and finds its own from keys 1 to 63', () => {
    const next = random(2);
    const k = gaussians(next, 130 * 4).map((value, i) => (i % 4 === 1 ? 50 * value : value));
    k.fill(1e6, 0, 4); // key 0 does not count
    const v = gaussians(next, 130 * 4);
    const shape = { batch: 1, kvHeads: 1, headSize: 4 };
    const largest = [0, 1, 2, 3].map((j) =>
      Math.max(...Array.from({ length: 63 }, (_, t) => Math.abs(k[(t + 1) * 4 + j]))),
    );
    const pairs = (a: number, b: number, c: number, d: number) =>
      Float32Array.of(largest[a], largest[b], largest[c], largest[d]).map((x, j) =>
        Math.max(x, largest[[c, d, a, b][j]]),
      );
    const cases: [Partial<KvShape>, ArrayLike<number>][] = [
      [{}, pairs(0, 1, 2, 3)],
      [{ isInterleaved: true }, [0, 0, 2, 2].map((j) => Math.max(largest[j], largest[j + 1]))],
      [{ rotarySize: 0 }, largest],
      [{ rotarySize: 2 }, [Math.max(largest[0], largest[1]), Math.max(largest[0], largest[1]), largest[2], largest[3]]],
      [{ factors: false }, [1, 1, 1, 1]],
      [{ factors: Float32Array.of(1, 2, 3, 4) }, [1, 2, 3, 4]],
    ];
    for (const [more, factors] of cases) {
      const cache = cacheOf({ ...shape, ...more });
      cache.append(k, v, 130);
      expect(Array.from(storedIn(cache, 0, 0).kc)).toEqual(Array.from(factors));
      const keys = cache.keys(130);
      for (let i = 0; i < 64 * 4; i++) expect(keys[i]).toBe(k[i]); // as they came
      for (let t = 64; t < 130; t++) {
        const row = Array.from({ length: 4 }, (_, j) => Math.abs(k[t * 4 + j]) / factors[j]);
        for (let j = 0; j < 4; j++)
          expect(Math.abs(keys[t * 4 + j] - k[t * 4 + j])).toBeLessThan((Math.max(...row) * factors[j]) / 60000);
      }
      cache.dispose();
    }
  });

  it('refuses what cannot be', () => {
    const bad: [Partial<KvShape> | undefined, RegExp][] = [
      [{ batch: -1 }, /batch/],
      [{ kvHeads: 1.5 }, /kvHeads/],
      [{ headSize: 513 }, /headSize/],
      [{ valueSize: 0 }, /valueSize/],
      [{ batch: 1e9 }, /batch expected an integer from 0 to 65536/],
      [{ isInterleaved: 1 as unknown as boolean }, /isInterleaved/],
      [{ type: 'int4' as 'int8' }, /type/],
      [{ rotarySize: 3 }, /rotarySize/],
      [{ rotarySize: 66 }, /rotarySize/],
      [{ factors: new Float32Array(3) }, /factors/],
      [{ factors: new Float32Array(128) }, /factors/],
      [{ factors: [1] as unknown as Float32Array }, /factors/],
    ];
    for (const [more, message] of bad) {
      expect(() => cacheOf({ ...SHAPE, ...more })).toThrow(message);
    }
    const cache = cacheOf(SHAPE);
    expect(() => cache.append(new Float32Array(1), new Float32Array(1), 1)).toThrow(RangeError);
    expect(() => cache.append([] as unknown as Float32Array, new Float32Array(1), 1)).toThrow(TypeError);
    for (const length of [-1, 1, Number.NaN, 0.5]) expect(() => cache.truncate(length)).toThrow(RangeError);
    expect(() => cache.truncate([0, 0])).toThrow(RangeError);
    expect(() => cache.truncate('0' as unknown as number)).toThrow(RangeError);
    expect(() => cache.reorder([1])).toThrow(RangeError);
    expect(() => cache.reorder(undefined as unknown as number[])).toThrow(RangeError);
    expect(() => cache.reserve(2 ** 52)).toThrow(BackendUnavailableError);
    expect(() => cache.keys(1)).toThrow(RangeError);
    expect(() => cache.reserve(-1)).toThrow(RangeError);
    cache.dispose();
    cache.dispose();
    for (const use of [() => cache.reserve(1), () => cache.branch(), () => cache.truncate(0), () => cache.keys(0)])
      expect(use).toThrow(/disposed/);
    for (const device of [undefined, {}, Promise.resolve(backend)])
      expect(() => createKvCache(device as Device<unknown>, SHAPE)).toThrow(TypeError);
    const gpu = { device: 'webgpu' } as unknown as Device<unknown>;
    expect(() => createKvCache(gpu, SHAPE)).toThrow(UnsupportedError);
  });
});
