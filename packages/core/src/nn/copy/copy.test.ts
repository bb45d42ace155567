import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, kernelHashes, referenceOp, tensor } from '../../../test/ops.ts';
import { type DType, elementCount, type Tensor } from '../../ops/op.ts';
import { stridesOf } from '../../ops/strides.ts';
import type { Copy } from './contract.ts';
import { copy } from './copy.ts';
import { copyKernels, copyVariants } from './copy.wasm.ts';
import { concat, expand, pad, slice, split, tile, transpose } from './layouts.ts';

/** Every element another one, as far as there are others. */
const counted = (dtype: DType, dims: readonly number[], from = 0): Tensor =>
  tensor(
    dtype,
    dims,
    Array.from({ length: elementCount(dims) }, (_, i) => (dtype === 'bool' ? ((i * i + i) >> 2) & 1 : from + i)),
  );

const dtype = fc.constantFrom<DType>('f32', 'i32', 'bool');
const dim = fc.constantFrom<number>(1, 2, 3, 4, 5, 8, 15, 16, 17, 33);
const shape = fc.array(dim, { minLength: 1, maxLength: 4 }).filter((dims) => elementCount(dims) < 20_000);
const options = { numRuns: process.env.MSD_TEST_ALL === '1' ? 2000 : 150 };

/** Compares the op with what a function says about each element of its first output. */
function check(op: Copy, inputs: readonly Tensor[], element: (index: number[]) => number): void {
  const [result] = expectBits(copy, op, inputs);
  const strides = stridesOf(result.dims);
  for (let i = 0; i < elementCount(result.dims); i++) {
    const index = result.dims.map((size, d) => (strides[d] ? Math.floor(i / strides[d]) % size : 0));
    if (result.data[i] !== element(index)) expect.fail(`[${index}] expected ${element(index)}, got ${result.data[i]}`);
  }
}
const at = ({ data, dims }: Tensor, index: readonly number[]): number =>
  data[index.reduce((sum, i, d) => sum + i * stridesOf(dims)[d], 0)];

describe('copy', () => {
  it('transposes by any permutation', () => {
    const shuffled = shape.chain((dims) =>
      fc.tuple(fc.constant(dims), fc.shuffledSubarray([...dims.keys()], { minLength: dims.length })),
    );
    fc.assert(
      fc.property(dtype, shuffled, (type, [dims, perm]) => {
        const x = counted(type, dims);
        check(transpose(dims, perm), [x], (index) => {
          const source = new Array<number>(dims.length);
          for (const [d, p] of perm.entries()) source[p] = index[d];
          return at(x, source);
        });
      }),
      options,
    );
    expect(transpose([2, 3, 4]).outputs).toEqual([[4, 3, 2]]);
  });

  it('slices up and down, by any step', () => {
    const bound = fc.integer({ min: -40, max: 40 });
    const axis = fc.tuple(bound, bound, fc.constantFrom(1, 2, 3, -1, -2, 40, -40));
    const cases = shape.chain((dims) =>
      fc.tuple(fc.constant(dims), fc.array(axis, { minLength: dims.length, maxLength: dims.length })),
    );
    fc.assert(
      fc.property(dtype, cases, (type, [dims, axes]) => {
        const x = counted(type, dims);
        const kept = axes.map(([start, end, step], d) => sliced(dims[d], start, end, step));
        const op = slice(dims, {
          starts: axes.map(([start]) => start),
          ends: axes.map(([, end]) => end),
          steps: axes.map(([, , step]) => step),
        });
        expect(op.outputs).toEqual([kept.map(({ length }) => length)]);
        check(op, [x], (index) =>
          at(
            x,
            index.map((i, d) => kept[d][i]),
          ),
        );
      }),
      options,
    );
  });

  it('slices named axes, up to the largest int64 and down to the smallest', () => {
    const x = counted('i32', [3, 4]);
    const get = (starts: number[], ends: number[], axes?: number[], steps?: number[]) => {
      const [{ dims, data }] = expectBits(copy, slice(x.dims, { starts, ends, axes, steps }), [x]);
      return [dims, [...data]];
    };
    expect(get([1], [2 ** 63])).toEqual([
      [2, 4],
      [4, 5, 6, 7, 8, 9, 10, 11],
    ]);
    expect(get([-1], [-(2 ** 63)], [-1], [-2])).toEqual([
      [3, 2],
      [3, 1, 7, 5, 11, 9],
    ]);
    expect(get([5, 0], [9, 1], [0, 1])).toEqual([[0, 1], []]);
    expect(get([], [])).toEqual([[3, 4], [...x.data]]);
  });

  it('joins any shapes along any axis, and takes them apart again', () => {
    const cases = shape.chain((dims) =>
      fc.tuple(fc.constant(dims), fc.nat(dims.length - 1), fc.array(fc.nat(5), { minLength: 1, maxLength: 4 })),
    );
    fc.assert(
      fc.property(dtype, cases, (type, [dims, axis, sizes]) => {
        const parts = sizes.map((size, i) => counted(type, dims.with(axis, size), 1000 * i));
        const joined = expectBits(
          copy,
          concat(
            parts.map((part) => part.dims),
            axis,
          ),
          parts,
        );
        expect(joined[0].dims).toEqual(
          dims.with(
            axis,
            sizes.reduce((a, b) => a + b),
          ),
        );
        expect(expectBits(copy, split(joined[0].dims, axis - dims.length, sizes), joined)).toEqual(parts);
      }),
      options,
    );
  });

  it('repeats: expand and tile', () => {
    const cases = shape.chain((dims) =>
      fc.tuple(fc.constant(dims), fc.array(fc.nat(3), { minLength: dims.length, maxLength: dims.length })),
    );
    fc.assert(
      fc.property(dtype, cases, (type, [dims, repeats]) => {
        const x = counted(type, dims);
        check(tile(dims, repeats), [x], (index) =>
          at(
            x,
            index.map((i, d) => i % dims[d]),
          ),
        );
        const from = dims.map((size, d) => (repeats[d] === 0 ? 1 : size));
        const small = counted(type, from);
        check(expand(from, [2, ...dims]), [small], ([, ...index]) =>
          at(
            small,
            index.map((i, d) => Math.min(i, from[d] - 1)),
          ),
        );
      }),
      options,
    );
    expect(expand([3, 4], [4]).outputs).toEqual([[3, 4]]);
  });

  it('pads', () => {
    const count = fc.integer({ min: -3, max: 4 });
    const counts = (length: number) => fc.array(count, { minLength: length, maxLength: length });
    const cases = shape.chain((dims) => fc.tuple(fc.constant(dims), counts(dims.length), counts(dims.length)));
    fc.assert(
      fc.property(
        dtype,
        cases,
        fc.constantFrom('constant', 'edge', 'reflect', 'wrap'),
        (type, [dims, left, right], mode) => {
          const x = counted(type, dims);
          const most = (size: number) => (mode === 'constant' ? 9 : size - 1);
          const before = left.map((n, d) => Math.min(n, most(dims[d]), mode === 'constant' ? n : Math.abs(n)));
          const after = right.map((n, d) => Math.max(1 - dims[d] - Math.min(before[d], 0), Math.min(n, most(dims[d]))));
          if (mode !== 'constant' && [...before, ...after].some((n) => n < 0)) return;
          const value = type === 'bool' ? 1 : 7;
          check(pad(dims, { before, after, mode, value }), [x], (index) => {
            const source = index.map((i, d) => padded(i - before[d], dims[d], mode));
            return source.includes(-1) ? value : at(x, source);
          });
        },
      ),
      options,
    );
    // Of nothing, in another dimension.
    expect(pad([0, 3], { before: [0, 1], after: [0, 2], mode: 'reflect' }).outputs).toEqual([[0, 6]]);
    expect(() => pad([2], { before: [2], after: [0], mode: 'reflect' })).toThrow(
      new RangeError('pad: reflect expected at most 1 elements on each side, got 2 and 0.'),
    );
  });

  it('moves bits, NaN among them, and has f32 outputs in float64', () => {
    const op = transpose([2, 2]);
    const x = tensor('f32', [2, 2], [Number.NaN, -0, Infinity, 2 ** -149]);
    expect([...expectBits(copy, op, [x])[0].data]).toEqual([Number.NaN, Infinity, -0, 2 ** -149]);
    expect(referenceOp(copy, op, [x], 'float64')[0].data).toBeInstanceOf(Float64Array);
  });

  it('copies nothing where there is nothing', () => {
    expect(expectBits(copy, transpose([0, 3]), [counted('f32', [0, 3])])[0].dims).toEqual([3, 0]);
    expect(expectBits(copy, transpose([], []), [counted('f32', [])])[0].dims).toEqual([]);
  });

  it('has the kernels that were reviewed', () => {
    expect(kernelHashes(copyKernels, copyVariants)).toMatchSnapshot();
  });

  it.each<[Copy, string]>([
    [
      {
        outputs: [[2]],
        parts: [
          { dims: [3], from: { operand: 0, offset: 0, strides: [1] }, to: { operand: 0, offset: 0, strides: [1] } },
        ],
      },
      'copy: part 0: output 0 [2] expected elements 0..1, got 0..2.',
    ],
    [
      {
        outputs: [[3]],
        parts: [
          { dims: [3], from: { operand: 0, offset: 1, strides: [-1] }, to: { operand: 0, offset: 0, strides: [1] } },
        ],
      },
      'copy: part 0: input 0 [4] expected elements 0..3, got -1..1.',
    ],
    [
      {
        outputs: [[3]],
        parts: [
          { dims: [3], from: { operand: 1, offset: 0, strides: [1] }, to: { operand: 0, offset: 0, strides: [1] } },
        ],
      },
      'copy: part 0: input expected one of 1, got 1.',
    ],
    [
      {
        outputs: [[3]],
        parts: [
          { dims: [3], from: { operand: 0, offset: 0, strides: [] }, to: { operand: 0, offset: 0, strides: [1] } },
        ],
      },
      'copy: part 0: input 0 expected 1 strides, got 0.',
    ],
  ])('refuses %j', (op, message) => {
    expect(() => copy.infer(op, [{ dtype: 'f32', dims: [4] }])).toThrow(new RangeError(message));
  });

  it.each<[() => Copy, string]>([
    [() => transpose([2, 3], [0, 0]), 'transpose: perm expected every dimension of [2,3] once, got [0,0].'],
    [() => slice([2], { starts: [0], ends: [1], steps: [0] }), 'slice: steps expected integers other than 0, got [0].'],
    [() => slice([2], { starts: [0], ends: [] }), 'slice: ends expected 1 numbers like starts, got 0.'],
    [() => slice([2], { starts: [0], ends: [1], axes: [1] }), 'slice: axis expected -1..0, got 1.'],
    [
      () => slice([2, 2], { starts: [0, 0], ends: [1, 1], axes: [0, -2] }),
      'slice: axes expected each one once, got [0,-2].',
    ],
    [() => concat([], 0), 'concat: shapes expected at least one, got none.'],
    [
      () =>
        concat(
          [
            [2, 3],
            [2, 4],
          ],
          0,
        ),
      'concat: shapes expected to differ along axis 0 only, got [2,3], [2,4].',
    ],
    [() => split([5], 0, [2, 2]), 'split: sizes expected to add up to 5, got [2,2].'],
    [() => expand([2], [3]), 'expand: dimensions expected to broadcast, got [2], [3].'],
    [() => tile([2], [-1]), 'tile: repeats expected 1 whole numbers, got [-1].'],
    [() => pad([2], { before: [0.5], after: [0] }), 'pad: before expected 1 integers, got [0.5].'],
    [
      () => pad([2], { before: [-2], after: [-1] }),
      'pad: [2] expected to keep what is taken away, got before [-2], after [-1].',
    ],
  ])('refuses %#', (build, message) => {
    expect(build).toThrow(new RangeError(message));
  });
});

/** The elements that are kept of a dimension. */
function sliced(size: number, start: number, end: number, step: number): number[] {
  const from = start < 0 ? start + size : start;
  const to = end < 0 ? end + size : end;
  const kept: number[] = [];
  if (step > 0) for (let i = Math.max(from, 0); i < Math.min(to, size); i += step) kept.push(i);
  else for (let i = Math.max(0, Math.min(from, size - 1)); i > Math.max(to, -1); i += step) kept.push(i);
  return kept;
}

/** Where element i of a padded dimension comes from; −1: nowhere. */
function padded(i: number, size: number, mode: 'constant' | 'edge' | 'reflect' | 'wrap'): number {
  if (i >= 0 && i < size) return i;
  switch (mode) {
    case 'constant':
      return -1;
    case 'edge':
      return i < 0 ? 0 : size - 1;
    case 'reflect':
      return i < 0 ? -i : 2 * (size - 1) - i;
    case 'wrap':
      return (i + size) % size;
  }
}
