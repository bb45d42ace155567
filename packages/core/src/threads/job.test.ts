import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PANEL } from '../formats/format.ts';
import { CHUNK_WORDS, MAX_CHUNKS, MAX_PARTS, MAX_THREADS, ONE_THREAD } from '../plan/cut.ts';
import {
  chunkTable,
  cutDepth,
  cutElements,
  cutPanels,
  cutRows,
  cutsFor,
  jointTable,
  rowChunksOf,
  uncut,
  unitsOf,
} from '../plan/share.ts';
import { chunkArguments, Job } from './job.ts';

const whole = { total: 1, size: 1 };
/** First panel, panels, first row, rows of a chunk. */
const RANGE = [{ value: 7, perPanel: 1 }, { panels: 1 }, { perRow: 1 }, { rows: 1 }];
const range = (table: Int32Array): Job => {
  const job = new Job([RANGE], table);
  job.place([]);
  return job;
};

describe('jobs', () => {
  it('are cut into chunks that cover every row of every panel once, none of them empty, and no more than there are flags', () => {
    const shapes = fc.record({
      M: fc.integer({ min: 1, max: 256 }),
      K: fc.constantFrom(32, 896, 4864),
      panels: fc.integer({ min: 1, max: 700 }),
      threads: fc.integer({ min: 2, max: MAX_THREADS }),
      chunkMacs: fc.constantFrom(1, 2 ** 17),
      unit: fc.constantFrom(1, 4),
    });
    fc.assert(
      fc.property(shapes, fc.integer({ min: 1, max: 700 }), ({ M, K, panels, threads, chunkMacs, unit }, fewest) => {
        const rows = cutRows(M, PANEL * K, Math.min(fewest, panels), threads, chunkMacs);
        const cut = cutPanels(M, PANEL * K, panels, threads, chunkMacs, rowChunksOf(rows), unit);
        const job = range(chunkTable(rows, cut ?? uncut(panels)));
        expect(job.chunks).toBeLessThanOrEqual(MAX_CHUNKS);
        const seen = new Uint8Array(M * panels);
        for (let chunk = 0; chunk < job.chunks; chunk++) {
          const [first, count, row, height] = job.argumentsOf(chunk);
          expect(Math.min(count, height)).toBeGreaterThan(0);
          if (cut && first - 7 + count < panels) expect(count % unit).toBe(0);
          for (let m = row; m < row + height; m++)
            for (let n = first - 7; n < first - 7 + count; n++) seen[m * panels + n]++;
        }
        expect(seen.every((times) => times === 1)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('of several matrices cover each of them once, in whole units, all but the last chunk of each', () => {
    const shapes = fc.record({
      panelsOf: fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: MAX_PARTS }),
      threads: fc.integer({ min: 2, max: MAX_THREADS }),
      chunkMacs: fc.constantFrom(1, 2 ** 17),
      unit: fc.constantFrom(1, 2, 4),
    });
    fc.assert(
      fc.property(shapes, ({ panelsOf, threads, chunkMacs, unit }) => {
        const cut = cutPanels(1, PANEL * 4864, unitsOf(panelsOf, unit), threads, chunkMacs, 1, unit);
        if (!cut) return;
        const parts = panelsOf.map((_, part) => [...RANGE, { value: part }]);
        const job = new Job(parts, jointTable(panelsOf, cut));
        for (const part of parts.keys()) job.place([], 0, part);
        expect(job.chunks).toBeLessThanOrEqual(MAX_CHUNKS);
        const seen = panelsOf.map((panels) => new Uint8Array(panels));
        for (let chunk = 0; chunk < job.chunks; chunk++) {
          const [first, count, row, height, part] = job.argumentsOf(chunk);
          expect([row, height]).toEqual([0, 1]);
          expect(count).toBeGreaterThan(0);
          if (first - 7 + count < panelsOf[part]) expect(count % unit).toBe(0);
          for (let n = first - 7; n < first - 7 + count; n++) seen[part][n]++;
        }
        for (const panels of seen) expect(panels.every((times) => times === 1)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('have chunks that get smaller', () => {
    const sizes = (M: number, unit: number) => {
      const job = range(chunkTable(whole, cutPanels(M, PANEL * 4096, 256, 2, undefined, 1, unit)!));
      return Array.from({ length: job.chunks }, (_, chunk) => job.argumentsOf(chunk)[1]);
    };
    expect(sizes(128, 1)).toEqual([64, 64, 32, 32, 16, 16, 8, 8, 4, 4, 4, 4]);
    expect(sizes(1, 4)).toEqual([128, 128]);
    const head = new Job([RANGE], chunkTable(whole, cutPanels(1, PANEL * 896, 9496, 2, undefined, 1, 4)!));
    expect(head.chunks).toBe(6);
  });

  it('are not made of little work, of none, or for one thread', () => {
    expect(cutPanels(1, PANEL * 256, 16, 4)).toBeUndefined();
    expect(cutPanels(128, PANEL * 4096, 256, 1)).toBeUndefined();
    expect(cutRows(128, PANEL * 4096, 1, 1)).toEqual({ total: 128, size: 128 });
    expect(cutElements(1, 4096, 4)).toEqual({ total: 1, size: 1 });
    expect(range(chunkTable(cutElements(0, 4096, 4), uncut(1))).chunks).toBe(0);
  });

  it('cut rows only where panels are few', () => {
    expect(cutRows(128, PANEL * 4096, 8, 2)).toEqual({ total: 128, size: 128 });
    expect(cutRows(128, PANEL * 4096, 2, 2)).toEqual({ total: 128, size: 36 });
  });

  it('of one row along K take each K-block once, where K is long and N short', () => {
    const shapes = fc.record({
      blocks: fc.integer({ min: 1, max: 300 }),
      panels: fc.integer({ min: 1, max: 300 }),
      threads: fc.integer({ min: 1, max: MAX_THREADS }),
      chunkMacs: fc.constantFrom(1, undefined),
    });
    fc.assert(
      fc.property(shapes, ({ blocks, panels, threads, chunkMacs }) => {
        const depth = cutDepth(blocks, 256 * PANEL * panels, panels, threads, chunkMacs);
        const isPossible = blocks >= 4 * threads && blocks <= MAX_CHUNKS && threads > 1;
        if (!isPossible) expect(depth).toBeUndefined();
        if (!depth) return;
        const { first, rest, chunks } = depth;
        expect(first).toBeGreaterThan(0);
        expect(first + rest).toBe(blocks);
        const table = Array.from({ length: chunks.length / CHUNK_WORDS }, (_, i) => [
          ...chunks.subarray(CHUNK_WORDS * i, CHUNK_WORDS * (i + 1)),
        ]);
        expect(table.length).toBeLessThanOrEqual(MAX_CHUNKS);
        const alone = Array.from({ length: rest }, (_, i) => [first + i, 1, 0, panels, i === rest - 1 ? 2 : 1]);
        expect(table).toEqual([[0, 1, 0, panels, 0], ...alone]);
      }),
      { numRuns: 300 },
    );
    const cut = (blocks: number, panels: number) => cutDepth(blocks, 256 * PANEL * panels, panels, 2);
    expect(cut(19, 56)).toMatchObject({ first: 9, rest: 10 });
    expect(cut(19, 128)).toBeUndefined();
    expect(cut(4, 56)).toBeUndefined();
    expect(cut(19, 16)).toBeUndefined(); // little work
  });

  it('add up all that an argument depends on, for any thread, at addresses beyond 2 GiB', () => {
    const args = [
      { operand: 1, value: 3, perRow: 10, rows: 100, perThread: 1000, perPanel: 10_000, panels: 100_000 },
      { scratch: true as const, value: 5, perThread: 64 },
    ];
    const job = new Job([args], chunkTable({ total: 5, size: 3 }, { ...uncut(4), last: 2 }));
    job.place([0, 0xc0000000], 0x80000000);
    const [, second] = [0, 1].map((chunk) => chunkArguments(job.words, 0, job.argCount, chunk, 2, []));
    expect(second.map((value) => value >>> 0)).toEqual([
      0xc0000000 + 3 + 10 * 3 + 100 * 2 + 1000 * 2 + 100_000 * 2,
      0x80000000 + 5 + 64 * 2,
    ]);
    expect([...job.argumentsOf(3)].map((value) => value >>> 0)).toEqual([
      0xc0000000 + 3 + 10 * 3 + 100 * 2 + 10_000 * 2 + 100_000 * 2,
      0x80000000 + 5,
    ]);
  });

  it('of one thread are whole, as the rules for threads say, too', () => {
    const rules = cutsFor({ count: 1, chunkMacs: 1 });
    const sizes = fc.tuple(fc.nat(300), fc.constantFrom(32, 896), fc.integer({ min: 1, max: 300 }));
    fc.assert(
      fc.property(sizes, ([rows, K, panels]) => {
        const [one, ruled] = [ONE_THREAD, rules].map((cuts) => {
          const cut = cuts.productRows(rows, K, panels);
          const tables = [cuts.rows(rows, K), cuts.decomposed(cut, K), cuts.product(cut, K, panels, 4)];
          return [cut, ...tables, cuts.isShared(rows, K), cuts.joint([panels, 1], K, 4)];
        });
        expect(one).toEqual(ruled);
      }),
    );
  });
});
