/** What times are derived from: arithmetic, not the clock. */
import { forecastProduct, type PackedProduct } from '@msd/core/theory';
import { inspectModel, type Work } from '@msd/onnx/inspect';
import { describe, expect, it } from 'vitest';
import { sizesOf } from '../models/sizes.ts';
import { expectedOf, type Rates, startMicroseconds } from './estimate.ts';
import { factorsOf, nanosecondsPerProduct, timedShape } from './rates.ts';
import { decoder, floatModel } from './reference-models.ts';

const PEAKS = { dotGmacs: 40, relaxedDotGmacs: 100, readGigabytes: 30 };
const BARE: Rates = { peaks: PEAKS, prices: 1, start: 1 };
const NOTHING = { products: [], attentions: [], steps: [], operators: [], taken: [], macs: 0, msdMacs: 0 };
const NO_PRICES = { msd: 0, ort: 0, rest: 0 };

/** Runs of one product. */
const runOf = (product: PackedProduct): Work => ({
  ...{ ...NOTHING, predictedMicroseconds: NO_PRICES },
  products: [{ count: 1, ...product }],
});
const INT8 = { format: 'int8', blockSize: null, N: 4096, K: 4096 } as const;

async function worksOf(model: Uint8Array, ...runs: readonly { tokens: number; past: number }[]): Promise<Work[]> {
  const seen = await inspectModel(model);
  const works = runs.map((run) => seen.work(sizesOf(seen.inputs, { encoder: 0, image: 0, ...run }))[0]!);
  seen.close();
  return works;
}

describe('what is derived', () => {
  it('prices the weights of a token by the bytes that come from memory', () => {
    const bytes = INT8.N * (INT8.K + 4);
    const msFrom = (readGigabytes: number): number =>
      expectedOf(runOf({ ...INT8, M: 1 }), { ...BARE, peaks: { ...PEAKS, readGigabytes } }).parts.read;
    for (const gigabytes of [5, 10, 15]) {
      const ms = bytes / gigabytes / 1e6;
      expect(msFrom(gigabytes)).toBeGreaterThan(ms);
      expect(msFrom(gigabytes)).toBeLessThan(1.1 * ms);
    }
    expect(msFrom(5)).toBeGreaterThan(2.9 * msFrom(15));
  });

  it('takes kernels as they were timed, and as much longer within a model', () => {
    const work = runOf({ ...INT8, M: 128 });
    const of = (rates: Partial<Rates>, isCold = false) => expectedOf(work, { ...BARE, ...rates }, { isCold }).parts;
    expect(of({ nanoseconds: () => 0.1 }).multiply).toBeCloseTo((128 * INT8.N * INT8.K * 0.1) / 1e6, 0);
    const alone = of({});
    const within = of({ within: 1.5 });
    for (const part of ['multiply', 'decompose'] as const) expect(within[part]).toBeCloseTo(1.5 * alone[part], 9);
    // What a token takes beside its kernels was measured as a whole.
    const cold = of({ within: 1.5, start: 2 }, true);
    expect(cold.multiply).toBe(of({}, true).multiply);
    // Weights come from memory: less of that hides behind the multiplications.
    expect(cold.multiply).toBeGreaterThan(alone.multiply);
    expect(cold.cold).toBeCloseTo((2 * startMicroseconds(work)) / 1000, 9);
    expect(alone.cold).toBe(0);
  });

  it('prices what has no model as it was measured', () => {
    const work: Work = { ...NOTHING, predictedMicroseconds: { msd: 1000, ort: 1000, rest: 1000 } };
    expect(expectedOf(work, { ...BARE, prices: 0.7 }).parts.rest).toBeCloseTo(0.7, 9);
    // Nobody measured: by the peak of the machine that the prices are of.
    expect(expectedOf(work, { peaks: PEAKS }).parts.rest).toBeCloseTo(47 / 40, 9);
  });
});

describe('kernels that are timed', () => {
  it.each([1, 2.5, 128, 1500])('are of the same kind, and small enough for caches: %s rows', (M) => {
    for (const [N, K] of [
      [151_936, 896],
      [8, 768],
      [4096, 65_536],
    ] as const) {
      const shape = timedShape({ M, N, K, format: 'int4', blockSize: 32 });
      expect(shape).toMatchObject({ K, format: 'int4', blockSize: 32 });
      expect(shape.N * K).toBeLessThanOrEqual(Math.max(2 ** 19, 16 * K));
      expect(shape.N).toBeLessThanOrEqual(N);
      expect(Number.isInteger(shape.M) && shape.M >= 1 && shape.M <= 256).toBe(true);
    }
  });

  it('give the time back that they took', () => {
    const atHand = { ...PEAKS, readGigabytes: 1e9 };
    for (const M of [1, 128]) {
      const product = timedShape({ ...INT8, M });
      const { microseconds: least } = forecastProduct(atHand, { ...product, nanoseconds: 0 });
      for (const took of [2 * least, 50 * least]) {
        const nanoseconds = nanosecondsPerProduct(atHand, product, took);
        expect(forecastProduct(atHand, { ...product, nanoseconds }).microseconds).toBeCloseTo(took, 6);
      }
      // A clock that stands still is no kernel that takes no time, or less.
      expect(nanosecondsPerProduct(atHand, product, least / 2)).toBeGreaterThan(0);
    }
  });
});

describe('made-up models', () => {
  it('are a decoder that MSD runs alone, and one that it leaves to onnxruntime-web', async () => {
    const [small, large] = await Promise.all([2, 8].map((heads) => inspectModel(decoder(heads))));
    for (const each of [small!, large!]) {
      expect(each.whole).toBeUndefined();
      expect(each.nodes.every(({ where }) => where === 'msd')).toBe(true);
      each.close();
    }
    // What stays in the caches of a core, and what does not.
    expect(small!.bytes.packed).toBeLessThan(1e6);
    expect(large!.bytes.packed).toBeGreaterThan(8e6);
    const floats = await inspectModel(floatModel());
    expect(floats.whole).toMatch(/.+/);
    floats.close();
  });

  it('say how much longer a prompt and the start of a token take', async () => {
    const works = (await worksOf(decoder(8), { tokens: 128, past: 0 }, { tokens: 1, past: 128 })) as [Work, Work];
    const cold = { ...BARE, peaks: { ...PEAKS, readGigabytes: 12 } };
    const measuredWith = (factors: Partial<Rates>) => ({
      promptMs: expectedOf(works[0], { ...BARE, ...factors }).ms,
      tokenMs: expectedOf(works[1], { ...cold, ...factors }, { isCold: true }).ms,
    });
    const found = factorsOf(works, { warm: BARE, cold }, {}, measuredWith({ within: 1.25, start: 1.75 }));
    expect(found.start).toBeCloseTo(1.75, 6);
    // Everything of the prompt but a few microseconds of JavaScript is MSD's.
    expect(found.within).toBeCloseTo(1.25, 2);
    const faster = factorsOf(works, { warm: BARE, cold }, {}, { promptMs: 0.1, tokenMs: 0.1 });
    expect(faster).toEqual({ within: 1, start: 0 });
  });
});
