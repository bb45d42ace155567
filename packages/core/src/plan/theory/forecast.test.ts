/** Forecasts against limits by hand: they never beat the machine, and more work never takes less time. */
import { describe, expect, it } from 'vitest';
import { PAGE_KEYS as KEYS_OF_PAGE } from '../../attention/contract.ts';
import { BYTES } from '../../attention/page.ts';
import { tilingFor } from '../../attention/scratch.ts';
import { K_BLOCK as BLOCK, PANEL as COLUMNS, K_STEP as STEP } from '../../formats/format.ts';
import { formats } from '../../formats/index.ts';
import { chunkLength, packedLayout } from '../../formats/layout.ts';
import type { FormatId } from '../../formats/weights.ts';
import type { MachinePeaks } from '../../peaks/measure.ts';
import { gemmShapeFor } from '../choose.ts';
import { SLICE_ROWS as ROWS } from '../ranges.ts';
import { cutPanels } from '../share.ts';
import { type AttentionCall, forecastAttention, forecastProduct, type ProductWithWeights } from './explained.ts';
import * as facts from './facts.ts';

/** Without one-instruction dots of bytes, and with them. */
const OLD = { dotGmacs: 40, relaxedDotGmacs: 39, readGigabytes: 30 };
const NEW = { dotGmacs: 48, relaxedDotGmacs: 111, readGigabytes: 30 };
const PEAKS: readonly MachinePeaks[] = [OLD, NEW, { dotGmacs: 25, readGigabytes: 8 }];
const blockOf = (format: FormatId) => (formats[format].perChannel ? null : 32);
const FORMATS = Object.keys(formats) as FormatId[];

const product = (format: FormatId, M = 1, size = 2048): ProductWithWeights => ({
  ...{ M, N: size, K: size, format, blockSize: formats[format].blockSizes[0] > 32 ? 64 : blockOf(format) },
});

describe('facts', () => {
  it('are those of formats, kernels and planner', () => {
    expect(Object.keys(facts.FORMAT_FACTS).sort()).toEqual([...FORMATS].sort());
    for (const format of FORMATS) {
      const { bits, table, operandBits, blockSizes, perChannel } = formats[format];
      expect(facts.FORMAT_FACTS[format][0]).toBe(bits);
      expect(facts.FORMAT_FACTS[format][1]).toBe(table ? 'table' : operandBits === 8 ? 'byte' : 'codes');
      const [least, most] = blockSizes;
      for (const blockSize of [
        ...(perChannel ? [null] : []),
        ...[32, 64, 256].filter((size) => size >= least && size <= most),
      ]) {
        expect(facts.chunkOf(format, blockSize), `${format} ${blockSize}`).toBe(
          chunkLength(formats[format], blockSize, 256),
        );
        const scale = format === 'mxfp4' ? 'e8m0' : 'f32';
        const variant = { blockSize, storedZeroPoints: false, scale } as const;
        for (const [N, K] of [
          [2048, 4096],
          [17, 100],
        ] as const)
          expect(facts.packedBytes(format, blockSize, N, K)).toBe(
            packedLayout(formats[format], variant, N, K).byteLength,
          );
      }
    }
    expect([facts.PANEL, facts.K_STEP, facts.K_BLOCK, facts.SLICE_ROWS]).toEqual([COLUMNS, STEP, BLOCK, ROWS]);
    expect(
      [facts.WIDENED_ROWS - 1, facts.WIDENED_ROWS, facts.WIDENED_I8 - 1, facts.WIDENED_I8].map(gemmShapeFor),
    ).toEqual(['smallM', 'midM', 'midM', 'gemm']);
    const cache = { heads: 1, kvHeads: 1, headSize: 8, rows: 1, keys: 1000 };
    for (const type of ['int16', 'int8', 'float'] as const)
      expect(forecastAttention(OLD, { type, ...cache }).parts.read * OLD.readGigabytes).toBeCloseTo(
        2 * 8 * BYTES[type],
        9,
      );
    expect(facts.PAGE_KEYS).toBe(KEYS_OF_PAGE);
    expect(tilingFor({ batch: 1, rows: 1000, heads: 1, kvHeads: 1 }, 1).rows).toBe(facts.TASK_ROWS);
    const panels = 16;
    const K = facts.SHARED_PRODUCTS / facts.PANEL / panels;
    expect(cutPanels(1, COLUMNS * K, panels, 2)).toBeDefined();
    expect(cutPanels(1, COLUMNS * (K - 32), panels, 2)).toBeUndefined();
  });
});

describe('forecastProduct', () => {
  it.each(FORMATS)(
    '%s: parts are times, their sum is the total but for what is hidden, and one is the limit',
    (format) => {
      for (const peaks of PEAKS)
        for (const M of [1, 2, 7, 8, 128, 1000])
          for (const threads of [1, 2]) {
            const { parts, microseconds, limit, why } = forecastProduct(peaks, { ...product(format, M), threads });
            const { decompose, multiply, read, call } = parts;
            for (const part of Object.values(parts)) expect(part).toBeGreaterThan(0);
            expect(microseconds).toBeGreaterThanOrEqual(call + decompose + Math.max(multiply, read));
            expect(microseconds).toBeLessThanOrEqual(call + decompose + multiply + read);
            expect(parts[limit]).toBe(Math.max(...Object.values(parts)));
            expect(why).toMatch(/^it .* \(\d+ %\)$/);
          }
    },
  );

  it('stays below the peak of its carrier', () => {
    for (const format of FORMATS)
      for (const M of [1, 3, 128]) {
        const test = product(format, M);
        const macs = test.M * test.N * test.K;
        for (const peaks of PEAKS) {
          const rate = (carrier: 'i16' | 'i8') =>
            macs / forecastProduct(peaks, { ...test, carrier }).parts.multiply / 1e3;
          expect(rate('i16')).toBeLessThan(peaks.dotGmacs);
          expect(rate('i8')).toBeLessThan((peaks.relaxedDotGmacs ?? peaks.dotGmacs) / 2);
        }
      }
  });

  it('takes relaxed dots where they are one instruction, and one component then takes less time', () => {
    const of = (peaks: typeof OLD, components: 1 | 2) =>
      forecastProduct(peaks, { ...product('int8', 128), components }).parts.multiply;
    expect(of(NEW, 1)).toBeLessThan(0.7 * of(NEW, 2));
    expect(of(OLD, 1)).toBe(of(OLD, 2));
    expect(of(NEW, 2)).toBeLessThan((of(OLD, 2) * OLD.dotGmacs) / NEW.dotGmacs);
  });

  it('grows with M, N, K and falls with faster machines and threads', () => {
    const base = product('int4', 4);
    const time = (change: Partial<ProductWithWeights>, peaks = OLD) =>
      forecastProduct(peaks, { ...base, ...change }).microseconds;
    for (const change of [{ M: 5 }, { M: 400 }, { N: 4096 }, { K: 4096 }])
      expect(time(change)).toBeGreaterThan(time({}));
    expect(time({}, { ...OLD, dotGmacs: 80 })).toBeLessThan(time({}));
    expect(time({ M: 128, threads: 2 })).toBeLessThan(time({ M: 128 }) / 1.5);
  });

  it('no rows, no work but that of the call', () => {
    const { parts, microseconds } = forecastProduct(OLD, product('int4', 0));
    expect({ ...parts, call: 0 }).toEqual({ decompose: 0, multiply: 0, read: 0, call: 0 });
    expect(microseconds).toBe(parts.call);
  });

  it('waits for memory where weights are far beyond its bandwidth', () => {
    const slow = { ...OLD, readGigabytes: 2 };
    const { limit, microseconds, why } = forecastProduct(slow, product('int8'));
    expect(limit).toBe('read');
    expect(microseconds).toBeGreaterThan(2048 ** 2 / 2e3);
    expect(why).toMatch(/^it waits for bytes from memory/);
    expect(forecastProduct(OLD, product('int8', 1, 16)).limit).toBe('call');
  });
});

describe('forecastAttention', () => {
  const base: AttentionCall = { type: 'int16', heads: 8, kvHeads: 2, headSize: 64, rows: 1, keys: 1024 };
  const time = (change: Partial<AttentionCall>, peaks = OLD) =>
    forecastAttention(peaks, { ...base, ...change }).microseconds;

  it.each(['int16', 'int8', 'float'] as const)('%s: grows with everything, and falls with threads', (type) => {
    for (const change of [
      { keys: 1025 + 16 },
      { rows: 2 },
      { heads: 16 },
      { headSize: 128 },
      { batch: 2 },
      { kvHeads: 4, heads: 16 },
    ])
      expect(time({ type, ...change })).toBeGreaterThan(time({ type }));
    expect(time({ type, threads: 2 })).toBeLessThan(time({ type }));
    expect(time({ type, rows: 1024, seesAll: true })).toBeGreaterThan(1.5 * time({ type, rows: 1024 }));
  });

  it('never beats the peak: int16 keys take two products each', () => {
    for (const [type, products] of [
      ['int16', 2],
      ['int8', 1],
      ['float', 2],
    ] as const) {
      const { parts } = forecastAttention(OLD, { ...base, type, keys: 4096 });
      expect(parts.multiply).toBeGreaterThan((2 * 8 * 4096 * 64 * products) / OLD.dotGmacs / 1e3);
    }
  });

  it('int8 is the fastest, more so with fast dots; in the first page all are floats', () => {
    expect(time({ type: 'int8' })).toBeLessThan(time({}));
    expect(time({ type: 'int8' }, NEW)).toBeLessThan((time({ type: 'int8' }) * OLD.dotGmacs) / NEW.dotGmacs);
    const scores = (type: AttentionCall['type']) => time({ type, keys: 64 });
    expect(scores('int8') / scores('float')).toBeGreaterThan(0.7);
  });

  it.each([{ rows: 0 }, { batch: 0 }, { rows: 0, keys: 0 }])('%o: no work but that of the call', (none) => {
    for (const threads of [1, 2]) {
      const { microseconds, parts } = forecastAttention(OLD, { ...base, newKeys: 0, ...none, threads });
      expect(parts.multiply).toBe(0);
      expect(parts.read).toBe(0);
      expect(microseconds).toBe(parts.call);
    }
  });
});
