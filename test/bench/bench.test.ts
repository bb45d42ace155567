/** The comparison's own arithmetic; the engines themselves are checked in every run, before they are timed. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { dequantizeWeights } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { CASES, macsOf } from './cases.ts';
import { carrierOf } from './engines/msd.ts';
import { GAIN_PICTURE, gainPicture, gainResult } from './gain.ts';
import { goalsOf, possibleGain, ratioOf, relaxedDotGain, speedup } from './goals.ts';
import { callSource, interleave, takeTurns } from './measure.ts';
import { ggufDecoder, llamaMacsPerToken } from './models/gguf.ts';
import { gaussian } from './models/random.ts';
import { referenceChain } from './models/reference.ts';
import { tfliteChain } from './models/tflite.ts';
import { layerFloats, layerWeights, nibbles, rowReader, toMsd, transpose } from './models/weights.ts';
import { README, readmeBlock, readmeTable } from './readme.ts';
import { limitOf, writeReport } from './report.ts';
import { type CaseResult, type EnvironmentResult, measured, type Peaks, type VariantResult } from './results.ts';
import { decibels, geometricMean, summarize } from './samples.ts';
import { withOutliers, withoutOutliers } from './suite.ts';
import { barChart, roofline } from './svg.ts';
import { readTfjs, tfjsBlock, tfjsReport, tfjsTable } from './tfjs-report.ts';

const of = (...values: number[]) => values.map((value) => measured([value]));
const peaks = (dot: number[], relaxedDot: number[], read: number[]): Peaks => ({
  dot: of(...dot),
  relaxedDot: of(...relaxedDot),
  read: of(...read),
  readBytes: 1e6,
});

const variant = (id: string, gmacs: number, more: Partial<VariantResult> = {}): VariantResult => {
  const [engine, weights = ''] = id.split(' ');
  const head = { id, engine: engine as VariantResult['engine'], label: id, weights, threads: 1 };
  const time = measured([1, 1.1, 0.9].map((factor) => factor / gmacs));
  return { ...head, sqnrDb: 50, time, gmacs, ...more };
};

const caseOf = (phase: 'decode' | 'prefill', shape: string, variants: VariantResult[], p: Peaks): CaseResult => ({
  id: `${phase} ${shape}`,
  phase,
  shape,
  chain: shape,
  M: phase === 'decode' ? 1 : 128,
  macs: 1e9,
  peaks: p,
  variants,
});

function run(cases: CaseResult[], more: Partial<EnvironmentResult> = {}): EnvironmentResult {
  return {
    platform: 'chromium',
    threads: 1,
    flags: [],
    date: '2026-01-02T03:04:05.000Z',
    machine: { cpu: 'a cpu', cores: 2, memoryGiB: 8, os: 'an os' },
    load: 0.5,
    versions: { msd: '0.0.0' },
    rounds: 3,
    sampleMs: 10,
    absent: { tfjs: 'not installed' },
    cases,
    accuracy: [],
    beyondCache: undefined,
    activationBlocks: [],
    wholeModels: [],
    memory: [],
    ...more,
  };
}

describe('samples', () => {
  it('gives median, relative quartile distance and geometric mean', () => {
    expect(summarize([4, 1, 3, 2, 5])).toEqual({ median: 3, spread: 1 / 3 });
    expect(geometricMean([1, 4])).toBeCloseTo(2, 12);
    expect(() => geometricMean([])).toThrow(RangeError);
  });

  it('gives a ratio of powers in dB, against another signal where one is named', () => {
    expect(decibels([10, 0], [9, 0])).toBeCloseTo(20, 10);
    expect(decibels([10, 0], [9, 0], [1, 0])).toBeCloseTo(0, 10);
  });
});

describe('measure', () => {
  it('starts each round with another source and keeps their order', async () => {
    const asked: string[] = [];
    const source = (name: string) => ({
      name,
      sample: async () => asked.push(name),
    });
    expect(await takeTurns([source('a'), source('b'), source('c')], 2)).toEqual([
      [1, 6],
      [2, 4],
      [3, 5],
    ]);
    expect(asked.join('')).toBe('abcbca');
  });

  it('times calls with fixed counts, and waits for promises', async () => {
    let running = 0;
    const slow = async () => {
      running++;
      await new Promise((resolve) => setTimeout(resolve, 2));
      running--;
    };
    const source = await callSource({ name: 'slow', run: slow }, { warmMs: 1, sampleMs: 6 });
    expect(await source.sample()).toBeGreaterThan(1);
    expect(running).toBe(0);
    const [timing] = await interleave([{ name: 'slow', macs: 1e6, run: slow }], { warmMs: 1, sampleMs: 4, rounds: 3 });
    expect(timing!.gmacs).toBeCloseTo(1 / timing!.median, 10);
  });
});

describe('weights', () => {
  const shape = { name: 'test', K: 64, N: 8 };
  const floats = layerFloats(shape, 3);

  it('are the same for every engine, and near to what was quantized', () => {
    for (const [id, error] of [
      ['int8', 0.01],
      ['int8/32', 0.01],
      ['int4', 0.2],
      ['int4/32', 0.15],
    ] as const) {
      const layer = layerWeights(shape, id, floats);
      const row = rowReader(layer);
      const real = Array.from({ length: shape.N }, (_, n) => [...row(n)]).flat();
      expect(decibels(floats, real), id).toBeGreaterThan(-20 * Math.log10(error));
      if (id !== 'int4') expect([...dequantizeWeights(toMsd(layer))]).toEqual(real.map(Math.fround));
    }
    expect(() => toMsd(layerWeights(shape, 'int4', floats))).toThrow(RangeError);
  });

  it('have the variance of 1/K, so that chains keep their size', () => {
    const large = layerFloats({ name: 'large', K: 256, N: 256 }, 1);
    expect(large.reduce((sum, value) => sum + value * value, 0) / 256).toBeCloseTo(1, 1);
    const plain = gaussian(65_536, 1);
    expect(plain.reduce((sum, value) => sum + value * value, 0) / plain.length).toBeCloseTo(1, 1);
  });

  it('are transposed and packed in the stated order', () => {
    expect([...transpose(Float32Array.of(1, 2, 3, 4, 5, 6), 2, 3)]).toEqual([1, 4, 2, 5, 3, 6]);
    expect([...nibbles(Int8Array.of(-8, 7, 0, 1), 8)]).toEqual([0xf0, 0x98]);
    expect([...nibbles(Int8Array.of(-1, 2), 0)]).toEqual([0x2f]);
  });
});

describe('models', () => {
  it('referenceChain multiplies layer by layer', () => {
    const layer = (rows: number[][]) => ({ K: rows[0]!.length, N: rows.length, row: (n: number) => rows[n]! });
    const twice = [
      layer([
        [1, 2],
        [3, 4],
      ]),
      layer([[1, -1]]),
    ];
    expect([...referenceChain([1, 0, 0, 1], twice)]).toEqual([1 - 3, 2 - 4]);
  });

  it('outliers go in, and out of the result again', () => {
    const [K, N] = [8, 2];
    const rows = [gaussian(K, 1), gaussian(K, 2)];
    const layer = { K, N, row: (n: number) => rows[n]! };
    const { x, at } = withOutliers(new Float32Array(2 * K), K, 100);
    expect([...x].filter((value) => value !== 0)).toEqual([-100, 100]);
    const rest = withoutOutliers(referenceChain(x, [layer]), x, at, layer);
    for (const value of rest) expect(value).toBeCloseTo(0, 10);
  });

  it('a .tflite file and a GGUF file have their magic, their data and nothing else of size', () => {
    const layer = layerWeights({ name: 'test', K: 64, N: 32 }, 'int8', layerFloats({ name: 'test', K: 64, N: 32 }, 1));
    const tflite = tfliteChain([layer], 4);
    expect(new TextDecoder().decode(tflite.subarray(4, 8))).toBe('TFL3');
    const needle = String.fromCharCode(...new Uint8Array(layer.codes.buffer));
    const at = String.fromCharCode(...tflite).indexOf(needle);
    expect(at).toBeGreaterThan(0);
    expect(at % 16).toBe(0);
    expect(tflite.byteLength).toBeLessThan(64 * 32 + 2000);
    expect(() =>
      tfliteChain([layerWeights({ name: 'test', K: 64, N: 32 }, 'int8/32', layerFloats(layer, 1))], 1),
    ).toThrow(RangeError);
    const gguf = ggufDecoder('q4_0');
    expect(new TextDecoder().decode(gguf.subarray(0, 4))).toBe('GGUF');
    expect(gguf.byteLength).toBeGreaterThan((llamaMacsPerToken() * 18) / 32);
    expect(gguf.byteLength).toBeLessThan((llamaMacsPerToken() * 18) / 32 + 2 ** 20);
  });
});

describe('cases', () => {
  it('are chains that fit, in both phases', () => {
    expect(CASES.map(({ phase }) => phase).filter((phase) => phase === 'decode')).toHaveLength(4);
    for (const { layers } of CASES)
      for (const [i, { K }] of layers.entries()) if (i > 0) expect(K).toBe(layers[i - 1]!.N);
    expect(macsOf({ M: 2, layers: [{ name: 'a', K: 3, N: 5 }] })).toBe(30);
  });

  it('carriers are read from kernel ids', () => {
    expect(carrierOf('gemm_i16_int4_f32_1x16_b32')).toBe('i16');
    expect(carrierOf('gemm_i8ux2_int8_f32_6x2')).toBe('i8');
  });
});

describe('goals', () => {
  const decode = (msd: number, litert: number, p = peaks([50], [50], [30])) =>
    caseOf('decode', '896²', [variant('msd int8 P=2', msd), variant('litert int8', litert)], p);

  it('compare round by round, so that a slow phase of the machine does not count', () => {
    const [a, b] = [variant('msd int8 P=2', 1), variant('litert int8', 1)];
    const slowPhase = { ...a, time: measured([1, 1, 5, 5, 1]) };
    expect(speedup(slowPhase, { ...b, time: measured([2, 2, 10, 10, 2.5]) })).toBe(2);
  });

  it('compare geometric means over the shapes', () => {
    const cases = [decode(20, 10), { ...decode(10, 20), shape: '2048²' }];
    expect(ratioOf(run(cases), 'decode', 'msd int8 P=2', 'litert int8')!.mean).toBeCloseTo(1, 12);
    expect(ratioOf(run(cases), 'prefill', 'msd int8 P=2', 'litert int8')).toBeUndefined();
    // one shape without figures: no mean at all, instead of one over the others
    const missing = { ...decode(1, 1), variants: [variant('msd int8 P=2', 1)] };
    expect(ratioOf(run([...cases, missing]), 'decode', 'msd int8 P=2', 'litert int8')).toBeUndefined();
  });

  const verdictOf = (result: EnvironmentResult, group: string, goal: string) =>
    goalsOf(result).find((other) => other.group === group && other.goal === goal)?.verdict;

  it('ask for AVX-VNNI figures only where the probe shows it', () => {
    const slow = run([decode(14.1, 10)]);
    expect(relaxedDotGain(slow)).toBeCloseTo(1, 12);
    expect(verdictOf(slow, 'Against LiteRT.js, fast relaxed dot', 'int8, two components, M=1')).toBe(
      'not measured here',
    );
    expect(verdictOf(slow, 'Against LiteRT.js, no AVX-VNNI', 'int8, two components, M=1')).toBe('PASS');
    expect(verdictOf(run([decode(13, 10)]), 'Against LiteRT.js, no AVX-VNNI', 'int8, two components, M=1')).toBe(
      'below',
    );
    const fast = run([decode(11.1, 10, peaks([50], [100], [30]))]);
    expect(verdictOf(fast, 'Against LiteRT.js, fast relaxed dot', 'int8, two components, M=1')).toBe('PASS');
    expect(verdictOf(fast, 'Against LiteRT.js, no AVX-VNNI', 'int8, two components, M=1')).toBe('not measured here');
    // no relaxed SIMD at all is not fast either
    expect(relaxedDotGain(run([decode(1, 1, peaks([50], [], [30]))]))).toBeUndefined();
  });

  it('judge beyond cache by the nearer of two limits', () => {
    const result = (gmacs: number, weights: string) => ({
      label: weights,
      weights,
      threads: 1,
      kernel: 'k',
      bytes: 1,
      bytesPerMac: 1,
      gmacs,
      time: measured([1]),
      inCacheBytes: 1,
      inCacheGmacs: 20,
      inCacheTime: measured([1]),
    });
    const beyond = (int8: number, int4: number) =>
      run([], { beyondCache: { peaks: peaks([50], [], [10]), results: [result(int8, 'int8'), result(int4, 'int4')] } });
    expect(goalsOf(beyond(8.5, 18)).map(({ verdict }) => verdict)).toEqual(['PASS', 'PASS']);
    expect(goalsOf(beyond(8.4, 17.9)).map(({ verdict }) => verdict)).toEqual(['below', 'below']);
  });

  it('judge two threads by what the machine gains', () => {
    expect(possibleGain(peaks([50, 90], [], [30, 60]), 0.5)).toBeCloseTo(1.8, 12); // dot binds
    expect(possibleGain(peaks([50, 90], [], [30, 45]), 1)).toBeCloseTo(1.5, 12); // reading binds
    expect(possibleGain(peaks([50], [], [30]), 1)).toBeUndefined();
    const two = (gmacs: number) =>
      run(
        [
          caseOf(
            'prefill',
            '896²',
            [variant('msd int8 P=2', 10, { weightBytes: 1e6 }), variant('msd int8 P=2 t2', gmacs, { threads: 2 })],
            peaks([50, 90], [], [30, 60]),
          ),
        ],
        { threads: 2 },
      );
    const goal = 'int8, M=128: share of what the dot probe gains';
    expect(verdictOf(two(17.2), 'Two threads', goal)).toBe('PASS');
    expect(verdictOf(two(17), 'Two threads', goal)).toBe('below');
    expect(verdictOf(two(17.2), 'Two threads', 'int4/32, M=128: share of what the dot probe gains')).toBe(
      'not measured here',
    );
  });

  it('judge accuracy by the worst format and the best single pass', () => {
    const entry = (id: string, gaussian: number, components?: 2) => {
      const { engine, label, weights, threads } = variant(id, 1);
      return {
        id,
        engine,
        label,
        weights,
        threads,
        gaussian,
        outlier: 0,
        outlierRest: 0,
        ...(components && { components }),
      };
    };
    const result = run([], {
      accuracy: [
        entry('msd int8 P=2', 91, 2),
        entry('msd int4/32 P=2', 87.9, 2),
        entry('litert int8', 43),
        entry('ort int4/32', 130),
      ],
    });
    expect(goalsOf(result).map(({ verdict, got }) => [verdict, got])).toEqual([
      ['below', 87.9],
      ['PASS', 87.9 - 43],
    ]);
  });
});

describe('report', () => {
  it('gives a share of the nearer limit: the carrier’s dot product, or reading the weights', () => {
    const p = peaks([40, 80], [100, 200], [10, 20]);
    const msd = variant('msd int8 P=2', 10, { carrier: 'i16', components: 2, weightBytes: 1e9 });
    expect(limitOf(p, 1e9, msd)).toBe(10);
    expect(limitOf(p, 1e9, { ...msd, weightBytes: 1e8 })).toBe(40);
    expect(limitOf(p, 1e9, { ...msd, weightBytes: 1e8, threads: 2 })).toBe(80);
    expect(limitOf(p, 1e9, { ...msd, weightBytes: 1e8, carrier: 'i8' })).toBe(50);
    expect(limitOf(p, 1e9, variant('ort int8', 10))).toBeUndefined();
  });

  it('shows every figure, what was not measured and why, and refers to its plots', () => {
    const tests = [
      caseOf(
        'decode',
        '896²',
        [
          variant('msd int8 P=2', 12.34, {
            kernel: 'gemm_i16_int8_f32_1x16',
            carrier: 'i16',
            components: 2,
            weightBytes: 1e9,
          }),
          { ...variant('litert int8', 1), time: undefined as never, notMeasured: 'would not start' },
        ],
        peaks([40], [41], [24.68]),
      ),
    ];
    const { markdown, plots } = writeReport([run(tests)]);
    expect(markdown).toContain('a cpu, 2 cores');
    expect(markdown).toContain('12.3 ±5 % (50 %)');
    expect(markdown).toContain('litert int8: would not start (896²)');
    expect(markdown).toContain('tfjs, not installed');
    for (const [name, svg] of Object.entries(plots)) {
      expect(markdown).toContain(`](${name})`);
      expect(svg).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
      expect(svg).not.toContain('NaN');
    }
    expect(Object.keys(plots)).toHaveLength(2);
    expect(() => writeReport([])).toThrow(RangeError);
  });

  it('plots escape what labels hold and place values on a common scale', () => {
    const bar = (label: string, value: number) => ({ label, engine: 'msd' as const, value, spread: 0 });
    const svg = barChart('a < b', 'GMAC/s', [{ title: 't', bars: [bar('x', 10), bar('y', 5)], limits: [] }]);
    expect(svg).toContain('a &lt; b');
    const widths = [...svg.matchAll(/<rect x="[^"]*" y="[^"]*" width="([^"]*)" height="13"/g)].map(([, width]) =>
      Number(width),
    );
    expect(widths[0]).toBeCloseTo(2 * widths[1]!, 0);
    const plot = roofline(
      'r',
      [
        { label: 'p', engine: 'ort', intensity: 1, gmacs: 10 },
        { label: 'q', engine: 'msd', intensity: 100, gmacs: 40 },
      ],
      {
        compute: [{ label: 'dot', value: 50 }],
        read: [{ label: 'read', value: 20 }],
      },
    );
    const heights = [...plot.matchAll(/cy="([^"]*)" r="4" [^>]*fill-opacity/g)].map(([, y]) => Number(y));
    expect(heights[0]!).toBeGreaterThan(heights[1]!);
    expect(plot).not.toContain('NaN');
  });
});

describe('README', () => {
  it('shows the table that its results give', () => {
    const { block, results } = readmeBlock();
    const run = JSON.parse(readFileSync(new URL('chromium-t1.json', results), 'utf8')) as EnvironmentResult;
    const folder = fileURLToPath(results).slice(fileURLToPath(new URL('.', README)).length, -1);
    expect(block).toBe(readmeTable(run, folder));
  });

  it('shows the picture that its results give', () => {
    const result = gainResult();
    expect(readFileSync(GAIN_PICTURE, 'utf8')).toBe(gainPicture(result));
    expect(() => gainPicture({ ...result, loads: [] })).toThrow('no load by ort');
    expect(() => gainPicture({ ...result, phases: [] })).toThrow('no phase of 1 rows');
  });

  it('of @msd/tfjs shows the table that its results give', () => {
    const { block, folder } = tfjsBlock();
    const result = readTfjs(fileURLToPath(new URL(folder, README)))!;
    expect(block).toBe(tfjsTable(result, folder));
    expect(readFileSync(new URL(`${folder}/tfjs.md`, README), 'utf8')).toBe(tfjsReport(result));
  });
});
