/** `msd paper`: the simulations, the claims against what is recorded, and the command. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { msdMatmul, quantizeWeights } from '@msd/core';
import { distributions, gaussians, random, sample } from '@msd/core/numerics';
import { beforeAll, describe, expect, it } from 'vitest';
import { attentionReference } from '../../core/src/attention/attention.reference.ts';
import { weightReader } from '../../core/src/formats/integers.ts';
import { scaleReader } from '../../core/src/formats/scales.ts';
import { opOf } from '../../core/test/attention-cases.ts';
import { channelFactors, D, decomposed, ROWS, simulateAttention, store } from '../src/paper/attention.ts';
import { casesOf, FULL, QUICK, type Reading, runCase } from '../src/paper/cases.ts';
import { CLAIM_SIZE, claimsOf, short } from '../src/paper/claims.ts';
import { simulateMatmul } from '../src/paper/matmul.ts';
import { models } from '../src/paper/models.ts';
import { runCases } from '../src/paper/pool.ts';
import { type PaperReport, reportFile, reportOf } from '../src/paper/report.ts';
import { int8Passes } from '../src/paper/rounding.ts';
import { spreadOf, summarize } from '../src/paper/summary.ts';
import { cellOf, csvOf, gridOf } from '../src/paper/text.ts';
import { msd } from './msd.ts';

const recorded = JSON.parse(
  readFileSync(new URL('../../../test/bench/results/2026-11-29/paper.json', import.meta.url), 'utf8'),
) as PaperReport;

const errorOf = (readings: readonly Reading[], variant: string): number =>
  readings.find((reading) => reading.variant === variant)!.value;

describe('simulations', () => {
  it('of products: seeded, more passes and smaller blocks lose less', () => {
    const readings = simulateMatmul('one of 100 sigma', 1024, 3, false);
    expect(simulateMatmul('one of 100 sigma', 1024, 3, false)).toEqual(readings);
    expect(simulateMatmul('one of 100 sigma', 1024, 4, false)).not.toEqual(readings);
    for (const block of ['row', '256', '32']) {
      const [one, two, three] = [1, 2, 3].map((passes) => errorOf(readings, `int8 x${passes}, ${block}`)) as [
        number,
        number,
        number,
      ];
      // A digit is worth 254 times as much; samples of errors vary.
      expect(one / two / 254).toBeCloseTo(1, 0);
      expect(two / three / 254).toBeCloseTo(1, 0);
    }
    for (const passes of [1, 2, 3]) {
      const [row, block, small] = ['row', 256, 32].map((block) => errorOf(readings, `int8 x${passes}, ${block}`));
      expect(row).toBeGreaterThan(block!);
      expect(block).toBeGreaterThan(small!);
    }
  });

  it('of products on BF16 activations: what BF16 holds is not lost', () => {
    const readings = simulateMatmul('gaussian', 1024, 3, true);
    expect(errorOf(readings, 'bf16, scale after')).toBe(0);
    expect(errorOf(readings, 'mxfp4 weights: bf16')).toBe(0);
    expect(errorOf(readings, 'bf16')).toBeGreaterThan(1e-3);
  });

  it('of attention: a row of one key, and fewer keys than a page', () => {
    for (const T of [1, 5, 64, 65, 130]) {
      const readings = simulateAttention('std1', T, 2);
      for (const { variant, value } of readings) {
        expect(value, `${variant}, ${T}`).toBeGreaterThanOrEqual(0);
        expect(value, `${variant}, ${T}`).toBeLessThan(0.1);
      }
      // A lone key has all of the weight, and its integer is the largest one.
      if (T === 1) expect(errorOf(readings, 'int8 x2, pages')).toBeLessThan(1e-15);
    }
  });
});

describe('simulated MSD', () => {
  const largest = (got: ArrayLike<number>, want: ArrayLike<number>): number =>
    Math.max(...Array.from(want, (value, i) => Math.abs(got[i]! - value)));

  it.each(['row', 256, 32] as const)("is core's float64 reference for products, a scale per %s", (activationBlock) => {
    const [M, N, K] = [3, 5, 700];
    const next = random(11);
    const [x, w] = [gaussians(next, M * K), gaussians(next, N * K)];
    const weights = quantizeWeights(w, { N, K, format: 'int8' });
    const [integer, scale] = [weightReader(weights), scaleReader(weights)];
    for (const components of [1, 2] as const) {
      const want = msdMatmul(x, weights, { M, components, activationBlock });
      const block = activationBlock === 'row' ? K : activationBlock;
      for (let m = 0; m < M; m++) {
        const row = int8Passes(x.subarray(m * K, (m + 1) * K), components, block);
        for (let n = 0; n < N; n++) {
          const got = row.reduce((sum, value, k) => sum + value * integer(n, k) * scale(n, k), 0);
          expect(Math.abs(got - want[m * N + n]!)).toBeLessThan(1e-10);
        }
      }
    }
  });

  it.each(['std1', 'kout', 'sink 1x'])("is core's float64 reference for attention, of %s", (name) => {
    const T = 200;
    const { q, k, v } = sample(distributions[name]!, T, D, ROWS, 5);
    const keys = store(k, channelFactors(k));
    const values = store(v, new Float64Array(D).fill(1));
    const got = decomposed(q, keys, values, 2)('pages');
    const op = opOf({ batch: 1, rows: ROWS, heads: 1, kvHeads: 1, headSize: D, valueSize: D }, { newKeys: T });
    const inputs = { isCausal: false, q, queries: [ROWS], positions: [0], starts: [0] };
    const want = new Float64Array(ROWS * D);
    const stored = {
      ...{ length: T, floatKeys: 0, isInt8: true, floatValues: false },
      ...{ k: keys.integers, ks: Float32Array.from(keys.scales), kc: Float32Array.from(keys.factors) },
      ...{ v: values.integers, vs: Float32Array.from(values.scales) },
    };
    attentionReference(op, inputs, () => stored, want, 'float64');
    // A number that lies on a half step may round either way; without that the two are the same up to float64.
    expect(largest(got, want)).toBeLessThan(1e-9);
  });
});

describe('figures of several seeds', () => {
  it('are geometric means, spread by four deviations of their logarithms', () => {
    const { value, spread } = spreadOf([1, Math.E ** 2]);
    expect(value).toBeCloseTo(Math.E, 5);
    expect(spread).toBeCloseTo(Math.exp(4 * Math.SQRT2), 2);
    expect(spreadOf([3])).toEqual({ value: expect.closeTo(3, 12), spread: 1 });
    expect(spreadOf([0, 0])).toEqual({ value: 0, spread: 1 });
  });

  it('have the order of their inputs, whichever thread was first', () => {
    const outcomes = casesOf({ K: [1024], T: [64], seeds: 1, longSeeds: 1, firstSeed: 1 })
      .filter(({ experiment }) => experiment !== 'attention')
      .map((of) => ({ of, readings: runCase(of) }));
    const forwards = summarize(outcomes);
    expect(summarize(outcomes.toReversed())).toEqual(forwards);
    expect(gridOf(forwards, 'matmul', 1024).distributions).toEqual(['gaussian', '3 channels 30x', 'one of 100 sigma']);
  });

  it('cannot be claimed where they were not simulated', () => {
    expect(() => claimsOf([], models())).toThrow('claims: bits of gaussian, int8 x2, row, was not simulated.');
  });

  it('are short', () => {
    expect([0, 1, 1.324, 9.999, 15.97, 0.01654, 2.5e-5].map(short)).toEqual([
      '0',
      '1',
      '1.32',
      '10',
      '16',
      '0.017',
      '2.5e-5',
    ]);
    expect([0, 5.24, 0.0165].map(cellOf)).toEqual(['0', '5.2', '1.7e-2']);
    expect(
      csvOf([
        { a: 'x,y', b: 'say "so"' },
        { a: 1, b: 'two\nlines' },
      ]),
    ).toBe('a,b\n"x,y","say ""so"""\n1,"two\nlines"\n');
    expect(csvOf([])).toBe('\n');
  });
});

describe('the claims', () => {
  let few: PaperReport;
  beforeAll(async () => {
    const extent = { K: [CLAIM_SIZE], T: [CLAIM_SIZE], seeds: 2, longSeeds: 1, firstSeed: 101 };
    const outcomes = await runCases(casesOf(extent), new AbortController().signal, () => {});
    few = reportOf(outcomes, { ...recorded, extent });
  }, 240_000);

  it('come out the same with other seeds, every figure within its stated spread', () => {
    expect(few.claims.map(({ id, verdict }) => [id, verdict])).toEqual(
      recorded.claims.map(({ id, verdict }) => [id, verdict]),
    );
    for (const [i, { id, figures }] of few.claims.entries())
      for (const { name, value } of figures) {
        const { value: want, spread } = recorded.claims[i]!.figures.find((figure) => figure.name === name)!;
        const factor = value === want ? 1 : Math.exp(Math.abs(Math.log(value / want)));
        // Six digits are kept of what is recorded.
        expect(factor, `${id}, ${name}: ${value}, recorded ${want}`).toBeLessThanOrEqual(spread * (1 + 1e-5));
      }
  });

  it('are those of the whole extent where they are recorded', () => {
    expect(recorded.extent).toEqual(FULL);
    expect(recorded.claims).toEqual(
      JSON.parse(reportFile({ ...recorded, claims: claimsOf(recorded.summaries, models()) })).claims,
    );
  });
});

describe('msd paper', () => {
  it('writes everything with --quick, and does not write over it', { timeout: 240_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'msd-paper-'));
    const out = join(folder, 'out');
    try {
      const { exitCode, stdout, stderr } = await msd(['paper', '--quick', '--out', out, '--json']);
      expect(exitCode).toBe(0);
      const report = JSON.parse(stdout) as PaperReport;
      expect(report.extent).toEqual(QUICK);
      expect(report.claims).toHaveLength(recorded.claims.length);
      expect(stderr).toMatch(/Simulating: .* of 100 %/);
      expect(readFileSync(join(out, 'paper.json'), 'utf8')).toBe(reportFile(report));
      expect(readdirSync(out).sort()).toEqual([
        ...['attention.svg', 'bits.svg', 'blocks.svg', 'claims.csv', 'errors.csv', 'latency.csv', 'latency.svg'],
        ...['paper.json', 'passes.svg', 'products.svg', 'traffic.csv', 'traffic.svg'],
      ]);
      for (const name of readdirSync(out).filter((file) => file.endsWith('.svg'))) {
        const svg = readFileSync(join(out, name), 'utf8');
        expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/);
        expect(svg).toContain('prefers-color-scheme:dark');
        expect(svg).not.toMatch(/NaN|undefined/);
      }
      const again = await msd(['paper', '--quick', '--out', out]);
      expect(again.exitCode).toBe(2);
      expect(again.stderr).toContain(`${join(out, 'paper.json')} exists. Add --force`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('says rate and time left, stops on Ctrl-C and leaves nothing behind', { timeout: 120_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'msd-paper-'));
    try {
      const out = join(folder, 'out');
      const { exitCode, stderr } = await msd(['paper', '--out', out], {
        // A log has a line every five seconds, which --quick may be faster than.
        interruptWhen: (text) => /Simulating: .* of 100 %.*%\/s, .* left/.test(text),
      });
      expect(exitCode).toBe(130);
      expect(stderr).toMatch(/%\/s, .* left/);
      expect(stderr).toContain('Stopped. Nothing was left behind.');
      expect(existsSync(out)).toBe(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('refuses seeds that are none', async () => {
    const { exitCode, stderr } = await msd(['paper', '--seed', '0']);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('Expected a whole number of at least 1.');
  });
});
