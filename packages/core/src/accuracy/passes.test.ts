/** Closed forms of passes against passes that are really made, in float64. */
import { describe, expect, it } from 'vitest';
import { gaussian, random } from '../../test/seeded.ts';
import { alphaOf, limitOf, roundToE2M1 } from '../decompose/contract.ts';
import { bitsOfBound, floatBits, gaussianSqnr, int8Bound, mxfp4Bits, mxfp4Bound } from './passes.ts';

/** What P passes of INT8 leave of x, digit by digit: each pass rounds what the last one left, at 1/254 of its scale. */
function afterInt8(x: number, max: number, passes: number): number {
  let rest = x;
  for (let p = 1; p <= passes; p++) {
    const scale = max / (127 * 254 ** (p - 1));
    rest -= scale * Math.round(rest / scale);
  }
  return rest;
}

function afterMxfp4(x: number, max: number, passes: number): number {
  let rest = x;
  for (let p = 0; p < passes; p++) {
    const step = alphaOf(max) / 8 / 8 ** p; // of a doubled code
    rest -= step * roundToE2M1(rest / step);
  }
  return rest;
}

const rms = (values: readonly number[]): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
const PASSES = [1, 2, 3];

describe('bounds of passes', () => {
  it.each(PASSES)('hold and are reached, INT8, P = %i', (passes) => {
    const next = random(passes);
    let worst = 0;
    for (let i = 0; i < 20_000; i++) {
      const max = 2 ** (8 * next() - 4);
      const left = Math.abs(afterInt8(max * (2 * next() - 1), max, passes)) / int8Bound(max, passes);
      worst = Math.max(worst, left);
    }
    expect(worst).toBeLessThanOrEqual(1 + 1e-6); // float64: 127 · 254² steps leave 29 bits
    expect(worst).toBeGreaterThan(0.99);
  });

  it.each(PASSES)('hold and are reached, MXFP4, P = %i', (passes) => {
    const next = random(10 + passes);
    let worst = 0;
    for (let i = 0; i < 20_000; i++) {
      const max = 2 ** (8 * next() - 4);
      worst = Math.max(worst, Math.abs(afterMxfp4(max * (2 * next() - 1), max, passes)) / mxfp4Bound(max, passes));
    }
    expect(worst).toBeLessThanOrEqual(1);
    expect(worst).toBeGreaterThan(0.98);
  });

  it('are the paper’s: M / 64516, alpha / 64, 16 bits', () => {
    expect(int8Bound(1, 2)).toBe(1 / 64516);
    expect(int8Bound(3, 2)).toBe(3 / (2 * limitOf(2)));
    expect(mxfp4Bound(1, 2)).toBe(1 / 64);
    expect(mxfp4Bound(3, 1)).toBe(4 / 8);
    expect(mxfp4Bound(0, 2)).toBe(0);
    expect(bitsOfBound(5, int8Bound(5, 2)).toFixed(2)).toBe('15.98');
  });

  it('fall by 254 and by 8 with every pass, and grow with the block’s maximum', () => {
    for (const passes of PASSES) {
      expect(int8Bound(1, passes) / int8Bound(1, passes + 1)).toBeCloseTo(254, 9);
      expect(mxfp4Bound(0.7, passes) / mxfp4Bound(0.7, passes + 1)).toBe(8);
      for (const max of [0.1, 0.7, 1, 1.5]) {
        expect(int8Bound(2 * max, passes)).toBe(2 * int8Bound(max, passes));
        expect(mxfp4Bound(2 * max, passes)).toBe(2 * mxfp4Bound(max, passes));
      }
    }
  });

  it.each([0, -1, 1.5, Number.NaN])('refuse %f passes', (passes) => {
    for (const [name, ask] of Object.entries({ int8Bound, mxfp4Bound, gaussianSqnr }))
      expect(() => ask(1, passes)).toThrow(
        new RangeError(`${name}: passes expected a positive integer, got ${passes}.`),
      );
    expect(() => mxfp4Bits(passes)).toThrow(RangeError);
  });
});

describe('effective bits', () => {
  /** Values of [low, 2·low) whose logarithm is uniform, and the relative errors that rounding them leaves. */
  const simulated = (low: number, left: (x: number) => number): number => {
    const count = 400_000;
    const errors = Array.from({ length: count }, (_, i) => {
      const x = low * 2 ** ((i + 0.5) / count);
      return left(x) / x;
    });
    return -Math.log2(rms(errors));
  };

  it.each([3, 7, 10])('of a float with %i bits after the point', (bits) => {
    const step = 2 ** -bits;
    expect(floatBits(bits)).toBeCloseTo(
      simulated(1, (x) => x - step * Math.round(x / step)),
      3,
    );
  });

  it.each(PASSES)('of MXFP4, P = %i', (passes) => {
    expect(mxfp4Bits(passes)).toBeCloseTo(
      simulated(0.5, (x) => afterMxfp4(x, 1, passes)),
      3,
    );
  });

  it('are those of the paper: 5.24 of MXFP8, 6.6 of two passes of MXFP4', () => {
    expect(floatBits(3).toFixed(2)).toBe('5.24');
    expect(mxfp4Bits(2).toFixed(2)).toBe('6.60');
    expect(mxfp4Bits(1)).toBeCloseTo(floatBits(1), 12); // E2M1
    expect(floatBits(10) - 10).toBeCloseTo(Math.log2((12 * 8 * Math.LN2) / 3) / 2, 6);
  });
});

describe('gaussianSqnr', () => {
  it.each([
    [1, 2],
    [32, 1],
    [256, 1],
    [256, 2],
    [4096, 2],
  ])('blocks of %i, P = %i, as simulated', (block, passes) => {
    const next = random(block + passes);
    let [signal, noise] = [0, 0];
    for (let b = 0; b < Math.ceil(200_000 / block); b++) {
      const x = Array.from({ length: block }, () => gaussian(next));
      const max = x.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      for (const v of x) {
        signal += v * v;
        noise += afterInt8(v, max, passes) ** 2;
      }
    }
    // A block of one is exact: the error is not uniform there, as the model has it.
    if (block === 1) expect(noise).toBeLessThan(1e-20 * signal);
    else expect(10 * Math.log10(signal / noise)).toBeCloseTo(gaussianSqnr(block, passes), 0);
  });

  it('is what docs/msd.md has measured: 89 dB per row of 4096, 91 per 256, 93 per 32', () => {
    for (const [block, measured] of [
      [4096, 89],
      [256, 91],
      [32, 93],
    ] as const)
      expect(Math.abs(gaussianSqnr(block, 2) - measured)).toBeLessThan(1);
  });

  it('falls with longer blocks and gains 48 dB with a pass', () => {
    const all = [1, 2, 32, 256, 4096].map((block) => gaussianSqnr(block, 1));
    expect(all).toEqual([...all].sort((a, b) => b - a));
    expect(gaussianSqnr(64, 2) - gaussianSqnr(64, 1)).toBeCloseTo(20 * Math.log10(254), 9);
  });
});
