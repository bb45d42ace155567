import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, expectTrials, kernelHashes, referenceOp, tensor } from '../../../test/ops.ts';
import { random } from '../../../test/random.ts';
import { LENGTHS, VALUE_KINDS, type ValueKind, values } from '../../../test/values.ts';
import { elementCount, type Tensor, type TensorType } from '../../ops/op.ts';
import { gamma, UNDERFLOW } from '../rounding.ts';
import { sumDepth } from '../rows.ts';
import type { ReduceOp } from './contract.ts';
import { reduce } from './reduce.ts';
import { type ReduceKernel, reduceKernels, reduceVariants } from './reduce.wasm.ts';

const cases = fc
  .record({
    kernel: fc.constantFrom(...reduceVariants()),
    seed: fc.integer(),
    kind: fc.constantFrom<ValueKind>(...VALUE_KINDS),
    n: fc.constantFrom(...LENGTHS, 896),
    outer: fc.constantFrom(0, 1, 2, 3),
    inner: fc.constantFrom(0, 2, 3, 4, 5, 16, 17),
    keepDims: fc.boolean(),
  })
  .map(example);

interface Parameters {
  readonly kernel: ReduceKernel;
  readonly seed: number;
  readonly kind: ValueKind;
  readonly n: number;
  readonly outer: number;
  readonly inner: number;
  readonly keepDims: boolean;
}

function example({ kernel, seed, kind, n, outer, inner, keepDims }: Parameters) {
  const dims = kernel.layout === 'rows' ? [outer, n] : [outer, n, inner];
  const next = random(seed);
  const count = elementCount(dims);
  const x: Tensor =
    kernel.dtype === 'f32'
      ? tensor('f32', dims, values(next, kind, count))
      : tensor(
          'i32',
          dims,
          Int32Array.from({ length: count }, () => next() * 2 ** (next() < 0.5 ? 4 : 32)),
        );
  const op: ReduceOp = { kind: kernel.kind, axes: [1], keepDims };
  return { op, x, outer, n, inner: kernel.layout === 'rows' ? 1 : inner };
}

describe('reduce', () => {
  it('has the kernels that were reviewed', () => {
    expect(kernelHashes(reduceKernels, reduceVariants)).toMatchSnapshot();
  });

  it('every kernel that ships gives the bits of the f32 contract, and can be tried', () => {
    for (const kernel of reduceVariants())
      for (const n of [7, 130]) {
        const { op, x } = example({ kernel, seed: n, kind: 'special', n, outer: 2, inner: 5, keepDims: true });
        expectBits(reduce, op, [x]);
      }
    expectTrials(reduceKernels, reduceVariants);
  });

  it('gives the bits of the f32 contract for any extents', () => {
    fc.assert(
      fc.property(cases, ({ op, x }) => {
        expectBits(reduce, op, [x]);
      }),
      { numRuns: 1000 },
    );
  });

  it('is within the bound of its sums', () => {
    fc.assert(
      fc.property(cases, ({ op, x, outer, n, inner }) => {
        if (x.dtype === 'i32' || ['prod', 'max', 'min'].includes(op.kind)) return;
        const [got] = referenceOp(reduce, op, [x]);
        const [want] = referenceOp(reduce, op, [x], 'float64');
        const square = op.kind === 'l2' || op.kind === 'sum_square';
        for (let o = 0; o < outer; o++)
          for (let i = 0; i < inner; i++) {
            let size = 0;
            for (let k = 0; k < n; k++) size += Math.abs(x.data[(o * n + k) * inner + i]) ** (square ? 2 : 1);
            if (!(size < 2 ** 127)) continue; // beyond f32, or not finite
            let bound = gamma(sumDepth(n) + 1) * size + n * UNDERFLOW;
            if (op.kind === 'mean') bound = bound / n + UNDERFLOW;
            const exact = want.data[o * inner + i];
            // |√a − √b| is at most √|a − b|, and |a − b| / √b
            if (op.kind === 'l2') bound = Math.min(bound / exact, Math.sqrt(bound)) + gamma(2) * exact;
            const error = Math.abs(got.data[o * inner + i] - exact);
            if (n > 0 && !(error <= bound)) throw new Error(`${op.kind} [${o},${i}]: off by ${error}, bound ${bound}`);
          }
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps or drops axes, next to each other or with ones between', () => {
    const x = tensor(
      'f32',
      [2, 1, 3, 4],
      Array.from({ length: 24 }, (_, i) => i),
    );
    const sum = (axes: number[], keepDims?: boolean) => expectBits(reduce, { kind: 'sum', axes, keepDims }, [x])[0];
    expect(sum([-1])).toEqual(tensor('f32', [2, 1, 3, 1], [6, 22, 38, 54, 70, 86]));
    expect(sum([2, 0], false)).toEqual(tensor('f32', [1, 4], [60, 66, 72, 78]));
    expect(sum([0, 1], false)).toEqual(tensor('f32', [3, 4], [12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34]));
    expect(sum([]).data).toEqual(x.data);
    expect(expectBits(reduce, { kind: 'mean', axes: [] }, [tensor('f32', [], [3])])).toEqual([tensor('f32', [], [3])]);
  });

  it('says what nothing, NaN and both zeros give', () => {
    const empty = tensor('f32', [1, 0], []);
    const of = (kind: ReduceOp['kind'], x: Tensor) => expectBits(reduce, { kind, axes: [1] }, [x])[0].data[0];
    const inf = Number.POSITIVE_INFINITY;
    expect((['sum', 'prod', 'mean', 'max', 'min', 'l2'] as const).map((kind) => of(kind, empty))).toEqual([
      0,
      1,
      Number.NaN,
      -inf,
      inf,
      0,
    ]);
    expect((['sum', 'prod', 'max', 'min'] as const).map((kind) => of(kind, tensor('i32', [1, 0], [])))).toEqual([
      0,
      1,
      -(2 ** 31),
      2 ** 31 - 1,
    ]);
    const mixed = tensor('f32', [1, 5], [-0, 0, -0, 0, -0]);
    expect([of('max', mixed), of('min', mixed), of('sum', mixed)]).toEqual([0, -0, 0]);
    expect(of('max', tensor('f32', [1, 3], [1, Number.NaN, inf]))).toBeNaN();
  });

  it('refuses what does not fit, and says what would', () => {
    const x: TensorType = { dtype: 'f32', dims: [2, 3, 4] };
    const refusals: [ReduceOp, TensorType | undefined, string][] = [
      [{ kind: 'sum', axes: [0] }, undefined, 'reduce_sum: x expected a tensor, got none.'],
      [{ kind: 'sum', axes: [0] }, { ...x, dtype: 'bool' }, 'reduce_sum: x expected f32 or i32, got bool.'],
      [{ kind: 'mean', axes: [0] }, { ...x, dtype: 'i32' }, 'reduce_mean: x expected f32, got i32.'],
      [{ kind: 'l1', axes: [3] }, x, 'reduce_l1: axes expected -3..2 for x [2,3,4], got [3].'],
      [
        { kind: 'max', axes: [0, 2] },
        x,
        'reduce_max: axes expected neighbours for x [2,3,4], or a reduction for each group of them, got [0,2].',
      ],
    ];
    for (const [op, type, message] of refusals) expect(() => reduce.infer(op, [type])).toThrow(new RangeError(message));
  });
});
