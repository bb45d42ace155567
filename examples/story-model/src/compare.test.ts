import { describe, expect, it } from 'vitest';
import { type ReferenceText, smallestMargin } from './compare.ts';

describe('smallestMargin', () => {
  it('is the least gap between the chosen logit and the next best, over all texts', () => {
    const text = (...rows: number[][]): ReferenceText => ({
      ids: rows.map((row) => row.indexOf(Math.max(...row))),
      logits: rows.map((row) => Float32Array.from(row)),
    });
    expect(smallestMargin([text([1, 4, 2], [0, -1, -3]), text([5, 5.5, 1])])).toBe(0.5);
    expect(smallestMargin([text([2, 2, 1])])).toBe(0);
  });
});
