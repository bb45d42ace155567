import { quantizeWeights } from '@msd/core';
import { roundHalfEven } from '@msd/core/program';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gaussian } from '../../test/models.ts';
import { Descent } from './descent.ts';
import { MomentSums } from './moments.ts';
import { BlockSearch } from './search.ts';

const bits = fc.constantFrom(2 as const, 4 as const, 8 as const);
/** Weights as they come: of any size, with zeros, equal ones and a few large ones. */
const weights = fc.array(
  fc.oneof(
    fc.float({ noNaN: true, min: -4, max: 4 }),
    fc.constantFrom(0, -0, 1, -1, 1e-20, -1e-20, 1e10, Math.fround(2 ** -140)),
  ),
  { minLength: 1, maxLength: 64 },
);

describe('BlockSearch', () => {
  it('never loses more than round to nearest, and its codes are the nearest to each weight', () => {
    fc.assert(
      fc.property(weights, bits, fc.boolean(), fc.boolean(), (list, each, isAsymmetric, isHalf) => {
        // float16 has nothing beyond.
        const values = Float32Array.from(list, (value) => (isHalf ? Math.max(-60000, Math.min(60000, value)) : value));
        const search = new BlockSearch({ bits: each, blockSize: 64, isAsymmetric, isHalf, isSearched: true });
        search.run({ values, count: values.length });
        const { scale, zero, codes } = search;
        expect(search.lost).toBeLessThanOrEqual(search.lostByRounding);
        expect(Number.isFinite(scale)).toBe(true);
        let lost = 0;
        for (const [i, value] of values.entries()) {
          const nearest = scale === 0 ? zero : roundHalfEven(value / scale) + zero;
          expect(codes[i]).toBe(Math.max(0, Math.min(2 ** each - 1, nearest)));
          lost += (value - scale * (codes[i]! - zero)) ** 2;
        }
        expect(Math.abs(search.lost - lost)).toBeLessThanOrEqual(1e-9 * lost);
        // What lies behind the values stands for 0.
        expect(codes.subarray(values.length).every((code) => code === zero)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('gains what the README says on bell-shaped weights, in blocks of 32', () => {
    const values = gaussian(32 * 4000, 5);
    const gain = (each: 2 | 4, isAsymmetric: boolean): number => {
      const search = new BlockSearch({ bits: each, blockSize: 32, isAsymmetric, isHalf: false, isSearched: true });
      let [lost, rounded] = [0, 0];
      for (let at = 0; at < values.length; at += 32) {
        search.run({ values, at, count: 32 });
        lost += search.lost;
        rounded += search.lostByRounding;
      }
      return 10 * Math.log10(rounded / lost);
    };
    expect(gain(4, false)).toBeGreaterThan(0.5);
    expect(gain(2, false)).toBeGreaterThan(0.7);
    expect(gain(2, true)).toBeGreaterThan(1.5);
  });

  it('keeps a constant block exactly', () => {
    const search = new BlockSearch({ bits: 4, blockSize: 32, isAsymmetric: false, isHalf: false, isSearched: true });
    search.run({ values: new Float32Array(32).fill(0.3), count: 32 });
    expect(search.lost).toBe(0);
    expect(Math.fround(search.scale * (search.codes[0]! - search.zero))).toBe(Math.fround(0.3));
  });
});

describe('Descent', () => {
  it('never raises the error of the product, and lowers it where channels go together', () => {
    const [K, rows] = [48, 96];
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.constantFrom(2, 4, 8), (seed, each) => {
        const hidden = gaussian(rows * 6, seed);
        const mix = gaussian(6 * K, seed + 1);
        const own = gaussian(rows * K, seed + 2);
        const x = own.map((value, i) => {
          let sum = 0.3 * value;
          for (let j = 0; j < 6; j++) sum += hidden[Math.floor(i / K) * 6 + j]! * mix[j * K + (i % K)]!;
          return sum;
        });
        const sums = new MomentSums(K, true);
        sums.add(x);
        const { products } = sums.moments(0.01)!;
        const values = gaussian(K, seed + 3);
        const quantized = quantizeWeights(values, { N: 1, K, format: `int${each}` as 'int4', blockSize: 32 });
        const last = 2 ** each - 1;
        const codes = new Uint8Array(64);
        for (let k = 0; k < 64; k++)
          codes[k] =
            each === 8
              ? (quantized.data[k] ?? 0) + 128
              : ((quantized.data[(k * each) >> 3] ?? 0) >> ((k * each) & 7)) & last;
        const scales = quantized.scales as Float32Array;
        const descent = new Descent({ K, blockSize: 32, last, products: products!, kept: Math.fround });
        const error = (): number =>
          descent.form(Float64Array.from(values, (value, k) => value - scales[k >> 5]! * (codes[k]! - (last + 1) / 2)));
        const before = error();
        descent.run(values, codes, scales, undefined);
        expect(codes.every((code) => code <= last)).toBe(true);
        expect(error()).toBeLessThanOrEqual(before * (1 + 1e-6));
        if (each === 4) expect(error()).toBeLessThan(before);
      }),
      { numRuns: 40 },
    );
  });
});

describe('MomentSums', () => {
  it('passes over rows that are no numbers, and says nothing of nothing', () => {
    const sums = new MomentSums(2, true);
    expect(sums.moments(0)).toBeUndefined();
    sums.add(Float32Array.of(1, 2, Number.NaN, 1, 3, -1));
    expect(sums.rows).toBe(2);
    expect(sums.moments(0)).toEqual({
      rows: 2,
      squares: Float32Array.of(5, 2.5),
      products: Float32Array.of(5, -0.5, -0.5, 2.5),
    });
  });
});
