import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, expectTrials, kernelHashes, referenceOp, tensor } from '../../../test/ops.ts';
import { random } from '../../../test/random.ts';
import { LENGTHS, VALUE_KINDS, type ValueKind, values } from '../../../test/values.ts';
import { elementCount, type TensorType } from '../../ops/op.ts';
import { normBound } from './bound.ts';
import type { NormOp } from './contract.ts';
import { norm } from './norm.ts';
import { type NormKernel, normKernels, normVariants } from './norm.wasm.ts';

const f32 = (...dims: number[]): TensorType => ({ dtype: 'f32', dims });

interface Example {
  readonly kernel: NormKernel;
  readonly seed: number;
  readonly kind: ValueKind;
  readonly n: number;
  readonly batch: number;
  readonly rows: number;
  readonly skipBatch: boolean;
  readonly extras: Pick<NormOp, 'mean' | 'invStdDev' | 'sum'>;
  readonly epsilon: number;
}

const cases = fc.record<Example>({
  kernel: fc.constantFrom(...normVariants()),
  seed: fc.integer(),
  kind: fc.constantFrom<ValueKind>(...VALUE_KINDS),
  n: fc.constantFrom(...LENGTHS, 896),
  batch: fc.constantFrom(0, 1, 2, 3),
  rows: fc.constantFrom(1, 2, 5),
  skipBatch: fc.boolean(),
  extras: fc.record({ mean: fc.boolean(), invStdDev: fc.boolean(), sum: fc.boolean() }),
  epsilon: fc.constantFrom(0, 1e-12, 1e-5, 0.5),
});

const opOf = ({ kernel, extras, epsilon }: Example): NormOp => ({
  kind: kernel.kind,
  epsilon,
  mean: extras.mean && kernel.kind === 'layer',
  invStdDev: extras.invStdDev,
  sum: extras.sum && kernel.skip,
});

function inputsOf({ kernel, seed, kind, n, batch, rows, skipBatch }: Example) {
  const next = random(seed);
  const make = (there: boolean, dims: number[], of: ValueKind = 'gaussian') =>
    there ? tensor('f32', dims, values(next, of, elementCount(dims))) : undefined;
  return [
    make(true, [batch, rows, n], kind),
    make(kernel.scale, [n]),
    make(kernel.bias, [n]),
    make(kernel.skip, skipBatch ? [batch, rows, n] : [rows, n], kind),
    make(kernel.skipBias, [n]),
  ];
}

describe('norm', () => {
  it('has the kernels that were reviewed', () => {
    expect(kernelHashes(normKernels, normVariants)).toMatchSnapshot();
  });

  it('every kernel that ships gives the bits of the f32 contract, and can be tried', () => {
    const [extras, kind] = [{ mean: true, invStdDev: true, sum: true }, 'special'] as const;
    for (const kernel of normVariants())
      for (const n of [7, 130]) {
        const example = { kernel, seed: n, kind, n, batch: 2, rows: 2, skipBatch: false, extras, epsilon: 1e-5 };
        expectBits(norm, opOf(example), inputsOf(example));
      }
    expectTrials(normKernels, normVariants);
  });

  it('gives the bits of the f32 contract for any rows', () => {
    fc.assert(
      fc.property(cases, (example) => {
        expectBits(norm, opOf(example), inputsOf(example));
      }),
      { numRuns: 500 },
    );
  });

  it('is within its bound of the mathematics', () => {
    let finite = 0;
    fc.assert(
      fc.property(cases, (example) => {
        const { kernel, epsilon, batch, rows, n } = example;
        const op: NormOp = { kind: kernel.kind, epsilon };
        const inputs = inputsOf(example);
        const [got] = referenceOp(norm, op, inputs);
        const [want] = referenceOp(norm, op, inputs, 'float64');
        const [x, scale, bias, skip, skipBias] = inputs.map((input) => input?.data);
        for (let r = 0; r < batch * rows; r++) {
          const skipRow = skip && (r % (skip.length / n)) * n;
          const bound = normBound(op, {
            x: x!.subarray(r * n, (r + 1) * n),
            scale,
            bias,
            skip: skip?.subarray(skipRow, skipRow! + n),
            skipBias,
          });
          bound.forEach((most, k) => {
            const error = Math.abs(got.data[r * n + k] - want.data[r * n + k]);
            if (Number.isFinite(most)) finite++;
            if (most !== Number.POSITIVE_INFINITY && !Number.isNaN(most) && !(error <= most))
              throw new Error(
                `row ${r}, element ${k}: ${got.data[r * n + k]}, exactly ${want.data[r * n + k]}, bound ${most}`,
              );
          });
        }
      }),
      { numRuns: 500 },
    );
    expect(finite).toBeGreaterThan(1000);
  });

  it('has a bound of a few ulp for rows as networks have them', () => {
    for (const kind of ['layer', 'rms'] as const) {
      const x = values(random(1), 'gaussian', 896);
      const relative = normBound({ kind, epsilon: 1e-6 }, { x }).map((most, k) => most / Math.max(1, Math.abs(x[k])));
      expect(Math.max(...relative)).toBeLessThan(80 * 2 ** -24);
    }
  });

  it('normalizes over several axes', () => {
    const x = tensor('f32', [2, 3, 5], values(random(3), 'gaussian', 30));
    const scale = tensor('f32', [3, 5], values(random(4), 'gaussian', 15));
    const op: NormOp = { kind: 'layer', axes: 2, epsilon: 1e-5, mean: true, invStdDev: true };
    const [y, mean, invStdDev] = expectBits(norm, op, [x, scale]);
    expect([y.dims, mean.dims, invStdDev.dims]).toEqual([
      [2, 3, 5],
      [2, 1, 1],
      [2, 1, 1],
    ]);
    const [flat] = referenceOp(norm, { ...op, axes: 1 }, [
      { ...x, dims: [2, 15] },
      { ...scale, dims: [15] },
    ]);
    expect(y.data).toEqual(flat.data);
  });

  it('says what zero rows, infinities and overflow give', () => {
    const rows = [0, 0, 1, Number.POSITIVE_INFINITY, 1e30, -2e30];
    const x = tensor('f32', [3, 2], rows);
    const [rms] = expectBits(norm, { kind: 'rms', epsilon: 1e-5 }, [x]);
    expect([...rms.data]).toEqual([0, 0, 0, Number.NaN, 0, -0]);
    const [layer] = expectBits(norm, { kind: 'layer', epsilon: 1e-5 }, [x]);
    expect([...layer.data]).toEqual([0, 0, Number.NaN, Number.NaN, 0, -0]);
    const [bare] = expectBits(norm, { kind: 'rms', epsilon: 0 }, [x]);
    expect([...bare.data.slice(0, 2)]).toEqual([Number.NaN, Number.NaN]);
  });

  it('refuses what does not fit, and says what would', () => {
    const op: NormOp = { kind: 'rms', epsilon: 1e-5 };
    const x = f32(2, 3, 8);
    const refusals: [NormOp, (TensorType | undefined)[], string][] = [
      [op, [], 'norm: x expected a tensor, got none.'],
      [op, [{ dtype: 'i32', dims: [8] }], 'norm: x expected f32, got i32.'],
      [op, [x, f32(3, 8)], 'norm: scale expected [8] for x [2,3,8], got [3,8].'],
      [op, [x, f32(1)], 'norm: scale expected [8] for x [2,3,8], got [1].'],
      [op, [x, f32(8), f32(7)], 'norm: bias expected [8] for x [2,3,8], got [7].'],
      [
        op,
        [x, f32(8), undefined, f32(2, 8)],
        'norm: skip expected [2,3,8], or fewer or 1 of its leading axes, got [2,8].',
      ],
      [op, [x, f32(8), undefined, undefined, f32(8)], 'norm: skipBias expected none without skip, got [8].'],
      [{ ...op, axes: 4 }, [x], 'norm: axes expected 1..3 for x [2,3,8], got 4.'],
      [{ ...op, epsilon: -1 }, [x], 'norm: epsilon expected a finite number ≥ 0, got -1.'],
      [{ ...op, mean: true }, [x], "norm: mean expected false for 'rms', got true."],
      [{ ...op, sum: true }, [x], 'norm: sum expected false without skip, got true.'],
    ];
    for (const [wrong, inputs, message] of refusals)
      expect(() => norm.infer(wrong, inputs)).toThrow(new RangeError(message));
    expect(norm.infer(op, [x, f32(1, 8), f32(8), f32(1, 3, 8), f32(8)])).toEqual([x]);
  });

  it('may overwrite x with y or with the sum', () => {
    const op: NormOp = { kind: 'layer', epsilon: 0, mean: true, sum: true };
    expect([0, 1, 2].map((output) => norm.inPlace!(op, output, 0))).toEqual([true, false, true]);
    expect(norm.inPlace!(op, 0, 3)).toBe(false);
  });
});
