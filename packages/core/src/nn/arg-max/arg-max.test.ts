import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, expectTrials, kernelHashes, tensor } from '../../../test/ops.ts';
import { random } from '../../../test/random.ts';
import { LENGTHS, VALUE_KINDS, type ValueKind, values } from '../../../test/values.ts';
import { elementCount, type Tensor, type TensorType } from '../../ops/op.ts';
import { argMax } from './arg-max.ts';
import { type ArgMaxKernel, argMaxKernels, argMaxVariants } from './arg-max.wasm.ts';
import type { ArgMaxOp } from './contract.ts';

const cases = fc
  .record({
    kernel: fc.constantFrom(...argMaxVariants()),
    seed: fc.integer(),
    kind: fc.constantFrom<ValueKind | 'few'>(...VALUE_KINDS, 'few'),
    n: fc.constantFrom(...LENGTHS.filter((n) => n > 0), 896),
    outer: fc.constantFrom(0, 1, 2, 3),
    inner: fc.constantFrom(0, 2, 3, 4, 5, 16, 17),
    keepDims: fc.boolean(),
  })
  .map(example);

interface Parameters {
  readonly kernel: ArgMaxKernel;
  readonly seed: number;
  readonly kind: ValueKind | 'few';
  readonly n: number;
  readonly outer: number;
  readonly inner: number;
  readonly keepDims: boolean;
}

function example({ kernel, seed, kind, n, outer, inner, keepDims }: Parameters) {
  const dims = kernel.layout === 'rows' ? [outer, n] : [outer, n, inner];
  const next = random(seed);
  const count = elementCount(dims);
  const few = () => Int32Array.from({ length: count }, () => Math.floor(next() * 3) - 1); // many equals
  const x: Tensor =
    kernel.dtype === 'f32'
      ? tensor('f32', dims, kind === 'few' ? few() : values(next, kind, count))
      : tensor('i32', dims, kind === 'few' ? few() : Int32Array.from({ length: count }, () => next() * 2 ** 32));
  const op: ArgMaxOp = { kind: kernel.kind, axis: 1, keepDims, last: kernel.last };
  return { op, x };
}

describe('arg_max', () => {
  it('has the kernels that were reviewed', () => {
    expect(kernelHashes(argMaxKernels, argMaxVariants)).toMatchSnapshot();
  });

  it('every kernel that ships finds what the reference finds, and can be tried', () => {
    for (const kernel of argMaxVariants())
      for (const n of [7, 130]) {
        const { op, x } = example({ kernel, seed: n, kind: 'special', n, outer: 2, inner: 5, keepDims: true });
        expectBits(argMax, op, [x]);
      }
    expectTrials(argMaxKernels, argMaxVariants);
  });

  it('finds what the reference finds in any extents', () => {
    fc.assert(
      fc.property(cases, ({ op, x }) => {
        expectBits(argMax, op, [x]);
      }),
      { numRuns: 1500 },
    );
  });

  it('takes the first of equals or the last, zeros of both signs are equal, and NaN wins', () => {
    const of = (op: Omit<ArgMaxOp, 'axis'>, row: number[]) =>
      expectBits(argMax, { ...op, axis: -1 }, [tensor('f32', [row.length], row)])[0];
    const row = [-1, 0, -0, 0, -1, -1];
    expect(of({ kind: 'arg_max' }, row)).toEqual(tensor('i32', [1], [1]));
    expect(of({ kind: 'arg_max', last: true, keepDims: false }, row)).toEqual(tensor('i32', [], [3]));
    expect(of({ kind: 'arg_min' }, row).data[0]).toBe(0);
    expect(of({ kind: 'arg_min', last: true }, row).data[0]).toBe(5);
    const withNaN = [1, Number.NaN, Number.POSITIVE_INFINITY, Number.NaN, 0];
    for (const kind of ['arg_max', 'arg_min'] as const) {
      expect(of({ kind }, withNaN).data[0]).toBe(1);
      expect(of({ kind, last: true }, withNaN).data[0]).toBe(3);
    }
  });

  it('refuses what does not fit, and says what would', () => {
    const x: TensorType = { dtype: 'f32', dims: [2, 0] };
    const infer = (op: ArgMaxOp, type?: TensorType) => () => argMax.infer(op, [type]);
    expect(infer({ kind: 'arg_max', axis: 0 })).toThrow(new RangeError('arg_max: x expected a tensor, got none.'));
    expect(infer({ kind: 'arg_min', axis: 1 }, { ...x, dtype: 'bool' })).toThrow(
      new RangeError('arg_min: x expected f32 or i32, got bool.'),
    );
    expect(infer({ kind: 'arg_max', axis: 2 }, x)).toThrow(
      new RangeError('arg_max: axes expected -2..1 for x [2,0], got [2].'),
    );
    expect(infer({ kind: 'arg_max', axis: 1 }, x)).toThrow(
      new RangeError('arg_max: x expected elements along axis 1, got [2,0].'),
    );
    expect(infer({ kind: 'arg_max', axis: 0 }, x)()).toEqual([{ dtype: 'i32', dims: [1, 0] }]);
  });
});
