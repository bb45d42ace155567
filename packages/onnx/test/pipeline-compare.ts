/** What a pipeline says with MSD beside what it says without. */
import { expect } from 'vitest';
import { CLOSE, relativeL2 } from './close.ts';
import type { Ran, Steps } from './pipeline-cases.ts';
import { argMax } from './text.ts';

/** Texts may differ where plain's own choice is this close. */
const MARGIN = 0.02;

/** @param close how far numbers may lie apart */
export function expectAlike(msd: Ran, plain: Ran, close = CLOSE): void {
  if (agree(plain.steps, msd.steps, close)) expectSame(msd.answer, plain.answer, close);
}

/** Do they say the same to the end? Where they part, plain has to have been of two minds. */
function agree(plain: Steps, msd: Steps, close: number): boolean {
  for (const [i, { rows }] of plain.entries())
    for (const [row, logits] of rows.entries()) {
      const got = msd[i]!.rows[row]!;
      expect(relativeL2(got, logits)).toBeLessThan(close);
      const [want, other] = [argMax(Float32Array.from(logits)), argMax(Float32Array.from(got))];
      if (want === other) continue;
      expect(logits[want]! - logits[other]!).toBeLessThanOrEqual(MARGIN);
      return false;
    }
  expect(msd).toHaveLength(plain.length);
  return true;
}

/** Numbers within what MSD promises, the rest to the letter. */
function expectSame(got: unknown, want: unknown, close: number): void {
  const [gotNumbers, wantNumbers]: [number[], number[]] = [[], []];
  const apart = (numbers: number[]) => (_: string, value: unknown) => {
    if (typeof value !== 'number' || Number.isInteger(value)) return value;
    numbers.push(value);
    return 'a number';
  };
  expect(JSON.stringify(got, apart(gotNumbers))).toBe(JSON.stringify(want, apart(wantNumbers)));
  expect(relativeL2(gotNumbers, wantNumbers)).toBeLessThan(close);
}
