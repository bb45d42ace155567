import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { elementBound } from '../accuracy/bounds.ts';
import { K_BLOCK } from '../formats/format.ts';
import { roundHalfEven } from '../numbers.ts';
import { alphaOf, digits, limitOf, roundToE2M1 } from './contract.ts';
import { decompose } from './decompose.reference.ts';

const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
const rows = fc.array(finite, { minLength: 1, maxLength: 600 }).map((values) => Float32Array.from(values));

describe('decompose', () => {
  it('has unique balanced digits for every q', () => {
    for (let q = -32258; q <= 32258; q++) {
      const [high, low] = digits(q);
      expect(254 * high + low).toBe(q);
      if (Math.abs(high) > 127 || Math.abs(low) > 127)
        throw new Error(`q=${q}: digits ${high}, ${low} leave [-127, 127]`);
    }
  });

  it('rounds half to even', () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 32257.5, -2.4999].map(roundHalfEven)).toEqual([0, 2, 2, 0, -2, 32258, -2]);
  });

  for (const components of [1, 2] as const)
    for (const arithmetic of ['float64', 'float32'] as const)
      it(`stays within the bound: ${components} component(s), ${arithmetic}`, () => {
        fc.assert(
          fc.property(rows, (x) => {
            const { q, scales } = decompose(
              x,
              1,
              x.length,
              { id: 'int8', components, activationBlock: 256 },
              arithmetic,
            );
            for (let i = 0; i < x.length; i++) {
              const g = Math.floor(i / K_BLOCK);
              const block = x.subarray(g * K_BLOCK, (g + 1) * K_BLOCK);
              const max = block.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
              const error = Math.abs(x[i] - scales[g] * q[i]);
              if (Math.abs(q[i]) > limitOf(components)) throw new Error(`q[${i}] = ${q[i]}`);
              if (!(error <= elementBound(max, components)))
                throw new Error(`x[${i}] = ${x[i]}: error ${error}, bound ${elementBound(max, components)}`);
            }
          }),
          { numRuns: 300 },
        );
      });

  it('leaves the second component zero where one suffices, and a second one never makes the bound worse', () => {
    const x = Float32Array.from({ length: 255 }, (_, i) => i - 127);
    const { q, scales } = decompose(x, 1, 255, { id: 'int8', components: 1, activationBlock: 256 }, 'float64');
    expect(Array.from(q)).toEqual(Array.from(x));
    const two = decompose(x, 1, 255, { id: 'int8', components: 2, activationBlock: 256 }, 'float64');
    for (let i = 0; i < 255; i++) {
      const [high, low] = digits(two.q[i]);
      expect(high).toBe(q[i]);
      expect(low).toBe(0);
    }
    expect(scales[0]).toBe(254 * two.scales[0]);
    expect(elementBound(5, 2)).toBeLessThan(elementBound(5, 1) / 250);
  });

  it('marks blocks with NaN or Inf, zeroes tiny ones, and keeps the others', () => {
    const x = new Float32Array(3 * K_BLOCK).fill(1);
    x[5] = Number.NaN;
    x.fill(2 ** -101, K_BLOCK, 2 * K_BLOCK);
    const { q, scales } = decompose(x, 1, x.length, { id: 'int8', components: 2, activationBlock: 256 }, 'float32');
    expect(scales[0]).toBeNaN();
    expect(scales[1]).toBe(0);
    expect(scales[2]).toBe(Math.fround(1 / 32258));
    expect(q.subarray(0, 2 * K_BLOCK).every((v) => v === 0)).toBe(true);
    expect(q[2 * K_BLOCK]).toBe(32258);
  });
});

describe('the paper’s MXFP4 passes', () => {
  const blocks = fc.array(finite, { minLength: 1, maxLength: 40 }).map((values) => Float32Array.from(values));

  for (const components of [1, 2] as const)
    it(`leave at most alpha / ${8 ** components} after ${components} pass(es)`, () => {
      fc.assert(
        fc.property(blocks, (x) => {
          const decomposition = { id: 'mxfp4', components, activationBlock: 32 } as const;
          const { q, scales } = decompose(x, 1, x.length, decomposition, 'float32');
          for (let i = 0; i < x.length; i++) {
            const g = Math.floor(i / 32);
            const max = x.subarray(32 * g, 32 * g + 32).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
            if (Math.abs(q[i]) > 64) throw new Error(`q[${i}] = ${q[i]} does not fit`);
            const error = Math.abs(x[i] - scales[g] * q[i]);
            if (!(error <= elementBound(max, components, 'mxfp4')))
              throw new Error(`x[${i}] = ${x[i]}: error ${error}`);
          }
        }),
        { numRuns: 500 },
      );
    });

  it('map alpha to 4 and round to E2M1 with ties to the even code', () => {
    expect([1, 1.0001, 2, 3, 4, 2 ** -60].map(alphaOf)).toEqual([1, 2, 2, 4, 4, 2 ** -60]);
    expect([0.5, 1.5, 2.5, 3.5, 4.5, 5, 6, 7, 8, -5, -7].map(roundToE2M1)).toEqual([0, 2, 2, 4, 4, 4, 6, 8, 8, -4, -8]);
  });
});
