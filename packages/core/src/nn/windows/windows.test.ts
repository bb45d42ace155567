import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, referenceOp, tensor } from '../../../test/ops.ts';
import { gaussians, random } from '../../../test/random.ts';
import { elementCount } from '../../ops/op.ts';
import type { WindowsOp } from './contract.ts';
import { windows } from './windows.ts';

const floats = (seed: number, dims: readonly number[]) =>
  tensor('f32', dims, gaussians(random(seed), elementCount(dims)));

const pair = (min: number, max: number) => fc.tuple(fc.integer({ min, max }), fc.integer({ min, max }));

const ops: fc.Arbitrary<WindowsOp> = fc
  .record({
    kind: fc.constantFrom('weighted' as const, 'mean' as const, 'max' as const),
    kernel: pair(1, 4),
    strides: pair(1, 3),
    dilations: pair(1, 2),
    pads: fc.tuple(...[0, 1, 2, 3].map(() => fc.integer({ min: 0, max: 4 }))) as fc.Arbitrary<
      [number, number, number, number]
    >,
    clamp: fc.constantFrom(undefined, [0, 6] as const, [0, Number.POSITIVE_INFINITY] as const),
  })
  // Only weighted windows reach over the edge.
  .map((op) => (op.kind === 'weighted' ? op : { ...op, pads: undefined }));

/** Room for `more` windows beyond the first in each direction. */
const imageOf = ({ kernel, dilations }: WindowsOp, more: readonly number[]): number[] =>
  kernel.map((size, d) => (size - 1) * dilations[d] + 1 + more[d]);

const operands = (op: WindowsOp, dims: readonly number[], seed: number, hasBias: boolean) => {
  const channels = dims.at(-1)!;
  const weights = op.kind === 'weighted' ? [floats(seed + 1, [elementCount(op.kernel), channels])] : [];
  return [floats(seed, dims), ...weights, ...(hasBias && op.kind === 'weighted' ? [floats(seed + 2, [channels])] : [])];
};

describe('windows', () => {
  it('give the bits of the f32 contract for every shape', () => {
    const sizes = fc.constantFrom(1, 2, 3, 4, 5, 15, 16, 17, 23, 40);
    fc.assert(
      fc.property(
        ops,
        pair(0, 5),
        fc.integer({ min: 0, max: 2 }),
        sizes,
        fc.nat(),
        fc.boolean(),
        (op, more, batch, C, seed, hasBias) => {
          const given = operands(op, [batch, ...imageOf(op, more), C], seed, hasBias);
          const inputs = [given[0], given[1], given[2]];
          expectBits(windows, op, inputs);
        },
      ),
      { numRuns: 80 },
    );
  });

  it('stay within (taps + 1) · 2⁻²⁴ of Σ |x|·|w|', () => {
    const op: WindowsOp = { kind: 'weighted', kernel: [5, 5], strides: [1, 1], dilations: [1, 1] };
    const inputs = operands(op, [1, 12, 13, 21], 3, false);
    const exact = referenceOp(windows, op, [...inputs, undefined], 'float64')[0].data;
    const got = referenceOp(windows, op, [...inputs, undefined])[0].data;
    const sizes = inputs.map((t) => tensor('f32', t.dims, t.data.map(Math.abs)));
    const magnitude = referenceOp(windows, op, [...sizes, undefined], 'float64')[0].data;
    got.forEach((value, i) => {
      expect(Math.abs(value - exact[i])).toBeLessThanOrEqual(26 * 2 ** -24 * magnitude[i]);
    });
  });

  it('sum nothing where they lie outside altogether', () => {
    const op: WindowsOp = { kind: 'weighted', kernel: [1, 2], strides: [1, 1], dilations: [1, 1], pads: [0, 0, 3, 2] };
    const x = tensor('f32', [1, 1, 2, 1], [2, 3]);
    const inputs = [x, tensor('f32', [2, 1], [1, 10]), tensor('f32', [1], [0.5])];
    expect([...expectBits(windows, op, inputs)[0].data]).toEqual([0.5, 0.5, 20.5, 32.5, 3.5, 0.5]);
  });

  it('carry NaN, infinities and the sign of 0', () => {
    const x = tensor('f32', [1, 1, 4, 1], [Number.NaN, -0, 0, Number.POSITIVE_INFINITY]);
    const op = { kernel: [1, 2], strides: [1, 1], dilations: [1, 1] } as const;
    const of = (kind: WindowsOp['kind']) => [
      ...expectBits(windows, { ...op, kind }, [x, undefined, undefined])[0].data,
    ];
    expect(of('max')).toEqual([Number.NaN, 0, Number.POSITIVE_INFINITY]);
    expect(of('mean')).toEqual([Number.NaN, 0, Number.POSITIVE_INFINITY]);
  });

  it.each([
    [[2, 3, 4], {}, 'windows_mean: x expected f32 [batch, height, width, channels], got f32 [2,3,4].'],
    [
      [1, 2, 9, 4],
      { kernel: [3, 3] as const },
      'windows_mean: x expected at least 3 elements along dimension 1, got 2.',
    ],
    [[1, 2, 9, 4], { strides: [0, 1] as const }, 'windows_mean: strides expected positive whole numbers, got [0,1].'],
    [[1, 2, 9, 4], { pads: [0, 0, 1, 1] as const }, 'windows_mean: pads expected none, got [0,0,1,1].'],
    [
      [1, 2, 9, 4],
      { kind: 'weighted' as const, pads: [0, 0, -1, 1] as const },
      'windows_weighted: pads expected four whole numbers, got [0,0,-1,1].',
    ],
    [[1, 2, 9, 4], { kind: 'weighted' as const }, 'windows_weighted: w expected f32 [1,4], got nothing.'],
  ])('refuse %j, %j', (dims, options, message) => {
    const op: WindowsOp = { kind: 'mean', kernel: [1, 1], strides: [1, 1], dilations: [1, 1], ...options };
    expect(() => windows.infer(op, [{ dtype: 'f32', dims }])).toThrow(new RangeError(message));
  });
});
