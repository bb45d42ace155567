import { register } from '@msd/onnx/register';
import * as ort from 'onnxruntime-web';
import { describe, expect, it } from 'vitest';
import { measureLayers } from '../src/bench/layers.ts';
import { summarize } from '../src/bench/samples.ts';

describe('measureLayers', () => {
  it('checks and times both engines for every shape and row count', async () => {
    ort.env.wasm.numThreads = 1;
    register(ort, { threads: 1 });
    const messages: string[] = [];
    const shapes = [
      { name: 'wide', K: 64, N: 96 },
      { name: 'long', K: 320, N: 32 },
    ];
    const results = await measureLayers({
      ort,
      shapes,
      rows: [1, 3],
      rounds: 2,
      onProgress: (message) => messages.push(message),
    });
    expect(results.map(({ name, M }) => [name, M])).toEqual([
      ['wide', 1],
      ['wide', 3],
      ['long', 1],
      ['long', 3],
    ]);
    for (const { K, N, M, ort: plain, msd, ratio, shareOfLimit, relativeError } of results) {
      expect(relativeError).toBeLessThan(2 ** -13);
      for (const { ms, gmacs } of [plain, msd]) expect(gmacs).toBeCloseTo((M * N * K) / ms / 1e6, 10);
      expect(shareOfLimit).toBeGreaterThan(0);
      // Timings of a busy machine scatter, but nothing runs at twice its peak.
      expect(shareOfLimit).toBeLessThan(2);
      expect(ratio).toBeCloseTo(plain.ms / msd.ms, 10);
    }
    expect(messages).toContain('320×32: round 2 of 2');
  });
});

describe('summarize', () => {
  it('gives median and relative quartile distance', () => {
    expect(summarize([4, 1, 3, 2, 5])).toEqual({ median: 3, spread: 1 / 3 });
    expect(summarize([2, 4])).toEqual({ median: 3, spread: 0.5 / 3 });
    expect(summarize([7])).toEqual({ median: 7, spread: 0 });
    expect(() => summarize([])).toThrow(RangeError);
  });
});
