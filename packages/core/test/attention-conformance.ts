/**
 * One suite for every device that has attention.
 *
 *   attentionConformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AttentionOp, AttentionRun, KvCache, KvType } from '../src/attention/contract.ts';
import type { AttentionInputs } from '../src/attention/rows.ts';
import type { Device } from '../src/backends/device.ts';
import type { PagedKvCache } from '../src/backends/kv-cache.ts';
import { cacheOn, contractOf, inputsOf, type Operands, opOf, run, runs, specified } from './attention-cases.ts';
import { keysOf, oddScenario, type Scenario, scenario, TYPES } from './attention-scenarios.ts';
import { longTier } from './conformance.ts';
import { firstDifference, random } from './random.ts';

const SCENARIOS = longTier() ? 600 : 40;

const SIZES = { batch: 2, heads: 6, kvHeads: 2, headSize: 20, valueSize: 12 };
const [Q, K, V] = [6 * 20, 2 * 20, 2 * 12];
const OUT = 6 * 12;

/** A text of two sequences: its queries, keys and values. */
function text(seed: number, T: number) {
  const next = random(seed);
  const [q, k, v] = [Q, K, V].map((width) => keysOf(next, 2 * T * width, width, 'outliers'));
  return { T, q, k, v };
}
type Text = ReturnType<typeof text>;

/** Rows [from, to) of both sequences. */
function rowsOf(x: Float32Array, T: number, from: number, to: number): Float32Array {
  const width = x.length / (2 * T);
  const part = new Float32Array(2 * (to - from) * width);
  for (let b = 0; b < 2; b++)
    part.set(x.subarray((b * T + from) * width, (b * T + to) * width), b * (to - from) * width);
  return part;
}

const partOf = ({ T, q, k, v }: Text, from: number, to: number): Operands => ({
  q: rowsOf(q, T, from, to),
  k: rowsOf(k, T, from, to),
  v: rowsOf(v, T, from, to),
});

export interface AttentionConformanceOptions {
  /** 'exact': the bits of the f32 contract. 'bound': the proved bound. */
  readonly bits: 'exact' | 'bound';
}

export function attentionConformance<H>(
  name: string,
  create: () => Promise<Device<H>>,
  { bits: wanted }: AttentionConformanceOptions = { bits: 'exact' },
): void {
  describe(`attention: ${name}`, () => {
    let device: Device<H>;
    beforeAll(async () => {
      device = await create();
    });
    afterAll(() => device.dispose());

    /** Rows [from, to) of a text, in chunks. @returns outputs [2, to - from, OUT] */
    async function feed(
      cache: PagedKvCache<H>,
      what: Text,
      from: number,
      to: number,
      chunk = to - from,
      more: Partial<AttentionRun<KvCache>> = {},
    ): Promise<Float32Array> {
      const out = new Float32Array(2 * (to - from) * OUT);
      for (let at = from; at < to; at += chunk) {
        const end = Math.min(to, at + chunk);
        const part = await run(device, opOf({ ...SIZES, rows: end - at }), partOf(what, at, end), { cache, ...more });
        for (let b = 0; b < 2; b++) {
          const own = part.subarray(b * (end - at) * OUT, (b + 1) * (end - at) * OUT);
          out.set(own, (b * (to - from) + at - from) * OUT);
        }
      }
      return out;
    }

    const fresh = (type: KvType) => cacheOn(device, { ...SIZES, type });

    /** Is what both hold the same, and what they answer? */
    async function expectSame(one: PagedKvCache<H>, other: PagedKvCache<H>, what: Text) {
      expect(one.lengths).toEqual(other.lengths);
      const longest = Math.max(...one.lengths);
      expect(firstDifference(one.keys(longest), other.keys(longest))).toBe(-1);
      expect(firstDifference(one.values(longest), other.values(longest))).toBe(-1);
      const op = opOf({ ...SIZES, rows: 1 }, { newKeys: 0 });
      const operands = { q: rowsOf(what.q, what.T, 0, 1) };
      const [a, b] = [
        await run(device, op, operands, { cache: one }),
        await run(device, op, operands, { cache: other }),
      ];
      expect(firstDifference(a, b)).toBe(-1);
    }

    /** Runs a scenario. @param check throws if a run's results are wrong; `label` says which run */
    async function play(
      { name: what, shape, runs }: Scenario,
      check: (got: Float32Array, asked: [AttentionOp, AttentionInputs, PagedKvCache], label: string) => void,
    ): Promise<void> {
      const cache = cacheOn(device, shape);
      for (const [i, { op, operands, now }] of runs.entries()) {
        const inputs = inputsOf(op, operands, { ...now, cache }, cache.lengths);
        const got = await run(device, op, operands, { ...now, cache });
        check(got, [op, inputs, cache], `${what}, run ${i}`);
      }
      cache.dispose();
    }

    function expectBits(got: Float32Array, bits: Float32Array, label: string): void {
      const at = firstDifference(got, bits);
      if (at >= 0) expect.fail(`${label}, at ${at}: expected ${bits[at]}, got ${got[at]}`);
    }

    it('stays within the proved bound in every form, and gives the bits of the f32 contract', {
      timeout: 600_000,
    }, async () => {
      for (let seed = 1; seed <= SCENARIOS; seed++)
        await play(scenario(seed, random(seed)), (got, asked, label) => {
          const { bits, exact, bounds } = specified(...asked, got.length);
          if (wanted === 'exact') expectBits(got, bits, label);
          const far = got.findIndex((value, j) => !(Math.abs(value - exact[j]) <= bounds[j]));
          if (far >= 0) expect.fail(`${label}, at ${far}: ${got[far]} is not within ${bounds[far]} of ${exact[far]}`);
        });
    });

    it('gives zeros where nothing is seen, and the mean where everything is masked alike', async () => {
      for (const type of TYPES) {
        const what = text(8, 70);
        const cache = fresh(type);
        const op = opOf({ ...SIZES, rows: 70 });
        const none = await run(device, op, partOf(what, 0, 70), { cache, starts: [70, 70] });
        expect(none.every((value) => Object.is(value, 0))).toBe(true);
        const masks = [Number.NEGATIVE_INFINITY, -3.4028234663852886e38].map((value) => ({
          dims: [1, 1, 1, 70] as const,
          data: new Float32Array(70).fill(value),
        }));
        const every = opOf({ ...SIZES, rows: 70 }, { isCausal: false });
        const [hidden, alike] = [
          await run(device, every, partOf(what, 0, 70), { cache, past: [0, 0], bias: masks[0] }),
          await run(device, every, partOf(what, 0, 70), { cache, past: [0, 0], bias: masks[1] }),
        ];
        expect(hidden.every((value) => Object.is(value, 0))).toBe(true);
        const values = cache.values(70);
        for (let c = 0; c < 12; c++) {
          let mean = 0;
          for (let t = 0; t < 70; t++) mean += values[t * 12 + c] / 70;
          expect(Math.abs(alike[c] - mean)).toBeLessThan(1e-3 * (1 + Math.abs(mean)));
        }
      }
    });
    if (wanted === 'bound') return; // the other tests compare bits of one device with its own

    it('gives the bits of the f32 contract for NaN, infinities and what else no model has', {
      timeout: 600_000,
    }, async () => {
      for (let seed = 1; seed <= SCENARIOS; seed++)
        await play(oddScenario(seed, random(1000 + seed)), (got, asked, label) =>
          expectBits(got, contractOf(...asked, got.length), label),
        );
    });

    it.each(TYPES)('a run without a bias or mask has none of the runs before: %s', async (type) => {
      const [what, next] = [text(9, 70), random(9)];
      const cache = fresh(type);
      await feed(cache, what, 0, 69);
      const op = opOf({ ...SIZES, rows: 1 }, { newKeys: 0 });
      const operands = { q: rowsOf(what.q, what.T, 69, 70) };
      const dims = [1, 1, 1, 69] as const;
      const bias = { dims, data: Float32Array.from({ length: 69 }, () => 8 * next() - 4) };
      const mask = { dims, data: Uint8Array.from({ length: 69 }, (_, i) => i % 2) };
      const all = [{}, { bias }, {}, { mask }, {}, { bias, mask }, { mask }, { bias }, {}].map((each) => ({
        cache,
        ...each,
      }));
      const got = await runs(device, op, operands, all);
      for (const [i, now] of all.entries())
        expect(firstDifference(got[i]!, await run(device, op, operands, now)), `run ${i}`).toBe(-1);
      expect(firstDifference(got[1]!, got[0]!)).not.toBe(-1);
    });

    it.each(TYPES)('gives the same bits, whatever a prompt is cut into: %s', async (type) => {
      const what = text(1, 150);
      const whole = await feed(fresh(type), what, 0, 150);
      expect(whole.every(Number.isFinite)).toBe(true);
      for (const chunk of [1, 7, 64])
        expect(firstDifference(await feed(fresh(type), what, 0, 150, chunk), whole)).toBe(-1);
    });

    it.each(TYPES)('branches do not see each other, and share pages: %s', async (type) => {
      const [one, two] = [text(2, 140), text(3, 140)];
      for (const length of [30, 64, 100]) {
        const cache = fresh(type);
        await feed(cache, one, 0, length);
        const branch = cache.branch();
        await expectSame(branch, cache, one);
        await feed(branch, two, length, 140);
        await feed(cache, one, length, 140);
        const [alone, mixed] = [fresh(type), fresh(type)];
        await feed(alone, one, 0, 140);
        await feed(mixed, one, 0, length);
        await feed(mixed, two, length, 140);
        await expectSame(cache, alone, one);
        await expectSame(branch, mixed, one);
        cache.dispose();
        await expectSame(branch, mixed, one);
        for (const other of [branch, alone, mixed]) other.dispose();
      }
    });

    it.each(TYPES)('forgets what is truncated, or before a past: %s', async (type) => {
      const [one, two] = [text(4, 140), text(5, 140)];
      for (const length of [0, 30, 63, 64, 65, 128]) {
        const [cut, past, alone] = [fresh(type), fresh(type), fresh(type)];
        await feed(cut, one, 0, 140);
        cut.truncate(length);
        await feed(cut, two, length, 140);
        await feed(past, one, 0, 140);
        await feed(past, two, length, 140, 140, { past: [length, length] });
        if (length > 0) await feed(alone, one, 0, length);
        await feed(alone, two, length, 140);
        await expectSame(cut, alone, one);
        await expectSame(past, alone, one);
        for (const other of [cut, past, alone]) other.dispose();
      }
    });

    it.each(TYPES)('takes keys from JavaScript, in any order of sequences: %s', async (type) => {
      const what = text(6, 100);
      const [cache, appended] = [fresh(type), fresh(type)];
      await feed(cache, what, 0, 100);
      const headMajor = (x: Float32Array, size: number) =>
        Float32Array.from({ length: x.length }, (_, i) => {
          const [c, t, bh] = [i % size, Math.floor(i / size) % 100, Math.floor(i / (100 * size))];
          return x[((bh >> 1) * 100 + t) * 2 * size + (bh & 1) * size + c];
        });
      appended.append(headMajor(what.k, 20), headMajor(what.v, 12), 100);
      await expectSame(appended, cache, what);
      if (type === 'float') expect(cache.keys(100)).toEqual(headMajor(what.k, 20));
      cache.reorder([1, 1]);
      const half = 100 * K;
      expect(cache.keys(100).subarray(0, half)).toEqual(appended.keys(100).subarray(half));
      expect(cache.keys(100).subarray(half)).toEqual(appended.keys(100).subarray(half));
      await feed(cache, what, 0, 1);
      appended.reorder([1, 0]);
      appended.reorder([0, 0]);
      await feed(appended, what, 0, 1);
      await expectSame(appended, cache, what);
    });

    it.each(TYPES)('lets NaN and Inf reach who sees them, and nobody else: %s', async (type) => {
      const clean = text(7, 150);
      const want = await feed(fresh(type), clean, 0, 150);
      const payload = new Float32Array(Uint32Array.of(0x7fc00001).buffer)[0];
      for (const bad of [Number.NaN, payload, Number.POSITIVE_INFINITY])
        for (const where of ['q', 'k', 'v'] as const)
          for (const at of [0, 20, 90]) {
            const what = { ...clean, [where]: clean[where].slice() };
            const width = { q: Q, k: K, v: V }[where];
            what[where][(150 + at) * width + 1] = bad; // sequence 1, its first head
            const got = await feed(fresh(type), what, 0, 150);
            const isSame = (row: number, b: number, heads: readonly number[]) =>
              heads.every((h) => {
                const from = (b * 150 + row) * OUT + h * 12;
                return firstDifference(got.subarray(from, from + 12), want.subarray(from, from + 12)) === -1;
              });
            const isBad = (row: number, heads: readonly number[]) =>
              heads.every((h) => {
                const from = (150 + row) * OUT + h * 12;
                return got.subarray(from, from + 12).some((value) => !Number.isFinite(value));
              });
            const touched = where === 'q' ? [0] : [0, 1, 2];
            for (let row = 0; row < 150; row++) {
              const label = `${where} at ${at}, row ${row}`;
              expect(isSame(row, 0, [0, 1, 2, 3, 4, 5]), label).toBe(true);
              expect(isSame(row, 1, where === 'q' ? [1, 2, 3, 4, 5] : [3, 4, 5]), label).toBe(true);
              const sees = where === 'q' ? row === at : row >= at;
              // An Inf of K in page 0 is an infinite score: of either sign.
              if (!sees) expect(isSame(row, 1, touched), label).toBe(true);
              else if (Number.isNaN(bad)) expect(isBad(row, touched), label).toBe(true);
            }
          }
    });
  });
}
