/** What errorBound says where numbers are very small or very large; that it holds everywhere is the conformance suite's. */
import { describe, expect, it } from 'vitest';
import type { DecompositionOptions } from '../decompose/contract.ts';
import { msdMatmul } from '../msd-matmul.ts';
import { errorBound } from './bounds.ts';

/** One weight of one code, times one x. */
function single(x: number, code: number, scale: number, options: DecompositionOptions) {
  const weights = {
    format: 'int8' as const,
    N: 1,
    K: 1,
    blockSize: null,
    data: Int8Array.of(code),
    scales: Float32Array.of(scale),
  };
  const input = Float32Array.of(x);
  const [y] = msdMatmul(input, weights, { M: 1, ...options, arithmetic: 'float32' });
  const [bound] = errorBound(input, weights, options);
  return { error: Math.abs(y - input[0] * weights.scales[0] * code), bound, y };
}

const BLOCKS = ['row', 256, 32] as const;

describe('errorBound', () => {
  it.each(BLOCKS)('holds for scales below the normal range, activationBlock %s', (activationBlock) => {
    for (const scale of [1e-45, 1e-40, 1.2e-38, 2 ** -126, 1e-30])
      for (const x of [1.3, 2 ** -100, 1e-30, 1e20, 3e38])
        for (const code of [1, -128, 127])
          for (const components of [1, 2] as const) {
            const { error, bound } = single(x, code, scale, { activationBlock, components });
            expect(error, `${scale} ${x} ${code}`).toBeLessThanOrEqual(bound);
          }
  });

  it.each(BLOCKS)('holds for the largest scales, activationBlock %s', (activationBlock) => {
    const largest = 2 ** 90 * (1 - 2 ** -24);
    for (const x of [1e20, -3e38, 1e-40]) {
      const zero = single(x, 0, largest, { activationBlock });
      expect(zero.y).toBe(0);
      expect(zero.bound).toBeLessThan(Number.POSITIVE_INFINITY);
    }
    const { error, bound } = single(1.3e9, -128, largest, { activationBlock });
    expect(error).toBeLessThanOrEqual(bound);
    expect(bound).toBeLessThan(Number.POSITIVE_INFINITY);
  });

  it('is infinite where the result overflows, or a partial result does', () => {
    for (const activationBlock of BLOCKS) {
      const { y, bound } = single(3e38, 127, 1, { activationBlock });
      expect(y).toBe(Number.POSITIVE_INFINITY);
      expect(bound).toBe(Number.POSITIVE_INFINITY);
    }
    // One scale per channel comes last: f(a) · S is x times the integer weight.
    const { y, bound } = single(3e38, 127, 1e-20, {});
    expect(y).toBe(Number.POSITIVE_INFINITY);
    expect(bound).toBe(Number.POSITIVE_INFINITY);
    expect(single(3e38, 127, 0, {}).bound).toBe(Number.POSITIVE_INFINITY); // infinity · 0
    const fine = single(3e38, 127, 1e-20, { activationBlock: 32 });
    expect(fine.error).toBeLessThanOrEqual(fine.bound);
    expect(fine.bound).toBeLessThan(1e-3 * 3e20);
  });
});
