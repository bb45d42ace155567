import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, referenceOp, tensor } from '../../../test/ops.ts';
import { gaussians, random } from '../../../test/random.ts';
import { elementCount } from '../../ops/op.ts';
import { matMul } from './mat-mul.ts';

const floats = (seed: number, dims: readonly number[]) =>
  tensor('f32', dims, gaussians(random(seed), elementCount(dims)));

const size = fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 40);

describe('matMul', () => {
  it('gives the bits of the f32 contract for every shape', () => {
    fc.assert(
      fc.property(size, size, fc.constantFrom(0, 1, 2, 3, 17, 64), fc.integer(), (M, N, K, seed) => {
        expectBits(matMul, {}, [floats(seed, [M, K]), floats(seed + 1, [K, N])]);
      }),
      { numRuns: 60 },
    );
  });

  it('gives them for a row that is alone, on weights around 64 KiB, where its way changes', () => {
    const sizes = fc.record({
      M: fc.constantFrom(1, 2, 3, 5, 7),
      N: fc.constantFrom(1, 7, 16, 37, 130, 257, 1023, 1024, 2048), // the last ones: rows of whole pages
      bytes: fc.integer({ min: 2 ** 16 - 2 ** 13, max: 2 ** 16 + 2 ** 13 }),
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(sizes, ({ M, N, bytes, seed }) => {
        const K = Math.ceil(bytes / (4 * N));
        expectBits(matMul, {}, [floats(seed, [M, K]), floats(seed + 1, [K, N])]);
      }),
      { numRuns: 60 },
    );
  });

  it('broadcasts leading dimensions', () => {
    for (const [a, w, y] of [
      [
        [2, 3, 4, 5],
        [5, 6],
        [2, 3, 4, 6],
      ],
      [
        [4, 5],
        [2, 3, 5, 6],
        [2, 3, 4, 6],
      ],
      [
        [2, 1, 4, 5],
        [1, 3, 5, 6],
        [2, 3, 4, 6],
      ],
      [
        [2, 3, 1, 5],
        [2, 3, 5, 33],
        [2, 3, 1, 33],
      ],
      [[5], [5, 6], [6]],
      [[4, 5], [5], [4]],
      [[5], [5], []],
      [[3, 4, 5], [5], [3, 4]],
      [
        [0, 4, 5],
        [5, 6],
        [0, 4, 6],
      ],
      [
        [2, 0, 5],
        [2, 5, 6],
        [2, 0, 6],
      ],
    ])
      expect(expectBits(matMul, {}, [floats(1, a), floats(2, w)])[0].dims).toEqual(y);
  });

  it('stays within K · 2⁻²⁴ of Σ |a|·|w|', () => {
    const [a, w] = [floats(3, [7, 333]), floats(4, [333, 41])];
    const exact = referenceOp(matMul, {}, [a, w], 'float64')[0].data;
    const got = referenceOp(matMul, {}, [a, w])[0].data;
    const magnitude = referenceOp(
      matMul,
      {},
      [a, w].map((t) => tensor('f32', t.dims, t.data.map(Math.abs))),
      'float64',
    )[0].data;
    got.forEach((value, i) => {
      expect(Math.abs(value - exact[i])).toBeLessThanOrEqual(334 * 2 ** -24 * magnitude[i]);
    });
  });

  it('carries NaN and infinities as IEEE 754 does', () => {
    const a = tensor('f32', [2, 2], [Number.NaN, 1, Number.POSITIVE_INFINITY, 0]);
    const y = expectBits(matMul, {}, [a, tensor('f32', [2, 3], [1, 0, -1, 1, 1, 1])])[0];
    expect([...y.data]).toEqual([Number.NaN, Number.NaN, Number.NaN, Infinity, Number.NaN, -Infinity]);
  });

  it.each([
    [[2, 3], [4, 5], 'matMul: w expected K=3 rows like a [2,3], got [4,5].'],
    [[2, 1, 3], [3, 3, 5], 'matMul: leading dimensions expected to broadcast, got [2,1,3] and [3,3,5].'],
    [[], [3], 'matMul: a expected f32 of at least one dimension, got f32 [].'],
  ])('refuses %j times %j', (a, w, message) => {
    const type = (dims: number[]) => ({ dtype: 'f32' as const, dims });
    expect(() => matMul.infer({}, [type(a), type(w)])).toThrow(new RangeError(message));
  });
});
