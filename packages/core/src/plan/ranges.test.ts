import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PANEL } from '../formats/format.ts';
import { columnRanges } from './ranges.ts';

describe('ranges of columns', () => {
  const options = fc.record({ direct: fc.boolean(), hasEnd: fc.boolean(), threads: fc.integer({ min: 1, max: 64 }) });

  it('cover every column once, in order, and only whole panels go straight to the result', () => {
    const sizes = fc.tuple(fc.integer({ min: 1, max: 256 }), fc.integer({ min: 1, max: 200_000 }), options);
    fc.assert(
      fc.property(sizes, ([rows, N, form]) => {
        let column = 0;
        for (const { first, panels, direct, width } of columnRanges(rows, N, form)) {
          expect(PANEL * first).toBe(column);
          expect(width).toBe(Math.min(PANEL * panels, N - column));
          if (direct) expect([form.direct, width]).toEqual([true, PANEL * panels]);
          column += width;
        }
        expect(column).toBe(N);
      }),
    );
  });

  it('that threads share leave each of them twice as much as one has', () => {
    const panelsOf = (threads: number, direct: boolean) =>
      columnRanges(128, 151_936, { direct, hasEnd: false, threads }).map(({ panels }) => panels);
    expect([panelsOf(1, true).length, panelsOf(1, false).length]).toEqual([149, 149]);
    expect([panelsOf(2, true).length, panelsOf(2, false).length]).toEqual([38, 38]);
    expect([panelsOf(8, true).length, panelsOf(8, false).length]).toEqual([10, 10]);
  });
});
