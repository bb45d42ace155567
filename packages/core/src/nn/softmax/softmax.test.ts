import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, expectTrials, kernelHashes, referenceOp, tensor } from '../../../test/ops.ts';
import { random } from '../../../test/random.ts';
import { LENGTHS, VALUE_KINDS, type ValueKind, values } from '../../../test/values.ts';
import { scalar } from '../../activations/activations.reference.ts';
import type { TensorType } from '../../ops/op.ts';
import { EXP_ERROR, EXP_LEAST, expOrZero } from '../exp.ts';
import { softmaxBound } from './bound.ts';
import { softmax } from './softmax.ts';
import { softmaxKernels, softmaxVariants } from './softmax.wasm.ts';

const cases = fc
  .record({
    op: fc.constantFrom(...softmaxVariants()),
    seed: fc.integer(),
    kind: fc.constantFrom<ValueKind>(...VALUE_KINDS),
    n: fc.constantFrom(...LENGTHS, 896),
    rows: fc.constantFrom(0, 1, 2, 5),
  })
  .map(({ op, seed, kind, n, rows }) => ({ op, x: tensor('f32', [rows, n], values(random(seed), kind, rows * n)) }));

describe('eˣ of x ≤ 0', () => {
  it('is as near as it says', () => {
    const step = process.env.MSD_TEST_ALL === '1' ? 251 : 40_009;
    const [bits, last] = [0x80000000, 0xc2b40000]; // −0 … −90
    const pattern = new Uint32Array(1);
    const x = new Float32Array(pattern.buffer);
    for (pattern[0] = bits; pattern[0] <= last; pattern[0] += step) {
      const want = Math.exp(x[0]);
      const bound = x[0] < EXP_LEAST ? 2 ** -126 : EXP_ERROR * want;
      const got = expOrZero(scalar, x[0]);
      if (!(Math.abs(got - want) <= bound)) throw new Error(`e^${x[0]} = ${want}, got ${got}, bound ${bound}`);
    }
    const inputs = [0, -0, -87.6, -87.7, -200, Number.NEGATIVE_INFINITY, Number.NaN].map(Math.fround);
    const outputs = inputs.map((value) => expOrZero(scalar, value));
    expect(outputs).toEqual([1, 1, expect.closeTo(0), 0, 0, 0, Number.NaN]);
    expect(outputs[2]).toBeGreaterThan(0);
  });
});

describe('softmax', () => {
  it('has the kernels that were reviewed', () => {
    expect(kernelHashes(softmaxKernels, softmaxVariants)).toMatchSnapshot();
  });

  it('every kernel that ships gives the bits of the f32 contract, and can be tried', () => {
    for (const op of softmaxVariants())
      for (const n of [7, 130]) expectBits(softmax, op, [tensor('f32', [4, n], values(random(n), 'special', 4 * n))]);
    expectTrials(softmaxKernels, softmaxVariants);
  });

  it('gives the bits of the f32 contract for any rows', () => {
    fc.assert(
      fc.property(cases, ({ op, x }) => {
        expectBits(softmax, op, [x]);
      }),
      { numRuns: 500 },
    );
  });

  it('is within its bound of the mathematics', () => {
    fc.assert(
      fc.property(cases, ({ op, x }) => {
        const [got] = referenceOp(softmax, op, [x]);
        const [want] = referenceOp(softmax, op, [x], 'float64');
        const [rows, n] = x.dims;
        for (let r = 0; r < rows; r++) {
          const row = x.data.subarray(r * n, (r + 1) * n);
          softmaxBound(row, op.kind).forEach((most, k) => {
            const [a, b] = [got.data[r * n + k], want.data[r * n + k]];
            if (Number.isNaN(b)) expect(a).toBeNaN();
            else if (b < -3.4e38) expect(a).toBe(Number.NEGATIVE_INFINITY);
            else if (!(Math.abs(a - b) <= most))
              throw new Error(`row ${r}, element ${k}: ${a}, exactly ${b}, bound ${most}`);
          });
        }
      }),
      { numRuns: 500 },
    );
  });

  it('says what infinities, NaN and masks give', () => {
    const [inf, nan] = [Number.POSITIVE_INFINITY, Number.NaN];
    const rows = [
      [-inf, -inf, -inf],
      [-inf, 2, -inf],
      [inf, 1, 2],
      [nan, 1, -inf],
      [0, -1e30, Math.log(3)],
      [3e38, -3e38, -3e38],
    ];
    const [y] = expectBits(softmax, { kind: 'softmax' }, [tensor('f32', [6, 3], rows.flat())]);
    const got = rows.map((_, r) => Array.from(y.data.subarray(3 * r, 3 * r + 3)));
    expect(got).toEqual([
      [nan, nan, nan],
      [0, 1, 0],
      [nan, nan, nan],
      [nan, nan, nan],
      [expect.closeTo(0.25), 0, expect.closeTo(0.75)],
      [1, 0, 0],
    ]);
    const [log] = expectBits(softmax, { kind: 'log_softmax' }, [tensor('f32', [6, 3], rows.flat())]);
    expect(rows.map((_, r) => Array.from(log.data.subarray(3 * r, 3 * r + 3)))).toEqual([
      [nan, nan, nan],
      [-inf, 0, -inf],
      [nan, nan, nan],
      [nan, nan, nan],
      [expect.closeTo(-Math.log(4)), expect.closeTo(-1e30, -24), expect.closeTo(Math.log(3 / 4))],
      [0, -inf, -inf],
    ]);
  });

  it('takes several axes as one row', () => {
    const x = tensor('f32', [2, 3, 5], values(random(3), 'gaussian', 30));
    const [y] = expectBits(softmax, { kind: 'softmax', axes: 2 }, [x]);
    const [flat] = referenceOp(softmax, { kind: 'softmax' }, [{ ...x, dims: [2, 15] }]);
    expect(y.dims).toEqual(x.dims);
    expect(y.data).toEqual(flat.data);
  });

  it('refuses what does not fit, and says what would', () => {
    const x: TensorType = { dtype: 'f32', dims: [2, 3] };
    expect(() => softmax.infer({ kind: 'softmax' }, [])).toThrow(
      new RangeError('softmax: x expected a tensor, got none.'),
    );
    expect(() => softmax.infer({ kind: 'softmax' }, [{ ...x, dtype: 'i32' }])).toThrow(
      new RangeError('softmax: x expected f32, got i32.'),
    );
    expect(() => softmax.infer({ kind: 'softmax', axes: 3 }, [x])).toThrow(
      new RangeError('softmax: axes expected 1..2 for x [2,3], got 3.'),
    );
  });
});
