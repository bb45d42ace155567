import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cutElements, cutPanels, cutRows } from '../../plan/choose.ts';
import { Job, uncut } from './job.ts';
import { MAX_CHUNKS, MAX_THREADS } from './layout.ts';

const whole = { total: 1, size: 1 };
const range = (job: Job): Job => job.at(7, 0, 1).panels().at(0, 1).rows();

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
        const rows = cutRows(M, K, Math.min(fewest, panels), threads, chunkMacs);
        const rowChunks = Math.ceil(M / rows.size);
        const cut = cutPanels(M, K, panels, threads, chunkMacs, rowChunks, unit);
        const job = range(new Job().start(rows, cut ?? uncut(panels)));
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

  it('have chunks that get smaller', () => {
    const sizes = (M: number, unit: number) => {
      const job = range(new Job().start(whole, cutPanels(M, 4096, 256, 2, undefined, 1, unit)!));
      return Array.from({ length: job.chunks }, (_, chunk) => job.argumentsOf(chunk)[1]);
    };
    expect(sizes(128, 1)).toEqual([64, 64, 32, 32, 16, 16, 8, 8, 4, 4, 4, 4]);
    expect(sizes(1, 4)).toEqual([96, 96, 24, 24, 8, 8]);
  });

  it('are not made of little work, or for one thread', () => {
    expect(cutPanels(1, 256, 16, 4)).toBeUndefined();
    expect(cutPanels(128, 4096, 256, 1)).toBeUndefined();
    expect(cutRows(128, 4096, 1, 1)).toEqual({ total: 128, size: 128 });
    expect(cutElements(1, 4096, 4)).toEqual({ total: 1, size: 1 });
  });

  it('cut rows only where panels are few', () => {
    expect(cutRows(128, 4096, 8, 2)).toEqual({ total: 128, size: 128 });
    expect(cutRows(128, 4096, 2, 2)).toEqual({ total: 128, size: 36 });
  });
});
