/** Every function of the table in every form: the kernel's bits, and how far they are from the mathematics. */
import { describe, expect, it } from 'vitest';
import { deriveCoefficients } from '../../../test/derive-nn.ts';
import { expectBits, referenceOp, tensor } from '../../../test/ops.ts';
import { type Random, random } from '../../../test/random.ts';
import { errorInUlps, samples } from '../../../test/ulp.ts';
import { type DType, elementCount, type Tensor } from '../../ops/op.ts';
import { elementwise } from './elementwise.ts';
import type { Form } from './forms.ts';
import { hasMathematics, ulpsOf } from './functions.reference.ts';
import { type FunctionId, functionIds, functionOf } from './functions.ts';
import * as coefficients from './math/coefficients.ts';

/** Distance between bit patterns; odd, so that all exponents and signs occur. */
const DENSE = process.env.MSD_TEST_ALL === '1' ? 6007 : 160_033;

/** What functions take besides their arguments, as models have it. */
const VALUES: Partial<Record<FunctionId, readonly (readonly number[])[]>> = {
  PowConstant: [[0], [1], [2], [3], [-1], [0.5], [-0.5], [1.7], [-3], [0.3333333333333333]],
  QuickGelu: [[1.702], [1], [0.01]],
  LeakyRelu: [[0.01], [-0.5]],
  Elu: [[1], [0.3]],
  HardSigmoid: [
    [0.2, 0.5],
    [1 / 6, 0.5],
  ],
  ConstantF32: [[0.1], [-0], [Number.NaN], [Infinity], [2 ** -149]],
  ConstantI32: [[0], [2 ** 31 - 1], [-(2 ** 31)]],
  ConstantBool: [[0], [1]],
};

const FLOATS = [0, 2 ** -149, 2 ** -127, 2 ** -126, 2 ** -24, 0.25, 0.5, 0.625, 0.9, 1, 1.5, 2, 2.5, 3, Math.PI, 4, 10]
  .concat([15.5, 87.3, 88.7, 88.73, 89, 103.9, 104, 112, 120, 12866, 12867, 1e6, 2 ** 22 + 0.5, 2 ** 23 + 1, 2 ** 24])
  .concat([2 ** 31, 2 ** 31 - 128, 1e20, 3.4028234663852886e38, Infinity])
  .flatMap((x) => [x, -x])
  .concat(Number.NaN);
const INTS = [0, 1, 2, 3, 7, 100, 46341, 2 ** 16, 2 ** 24 + 1, 2 ** 31 - 1].flatMap((x) => [x, -x]).concat(-(2 ** 31));

/** Bit patterns, near neighbours and special values. */
const draw: Record<DType, (next: Random) => number> = {
  f32: (next) => {
    const kind = next();
    if (kind < 0.25) return FLOATS[Math.floor(next() * FLOATS.length)];
    if (kind < 0.5) return (next() - 0.5) * 2 ** Math.floor(next() * 20 - 8);
    if (kind < 0.6) return Math.floor(next() * 40 - 20);
    return new Float32Array(Uint32Array.of(next() * 2 ** 32).buffer)[0];
  },
  i32: (next) => {
    const kind = next();
    if (kind < 0.3) return INTS[Math.floor(next() * INTS.length)];
    return kind < 0.6 ? Math.floor(next() * 40 - 20) : Math.floor((next() - 0.5) * 2 ** 32);
  },
  bool: (next) => Math.floor(next() * 2),
};

const drawn = (next: Random, dtype: DType, length: number): Tensor =>
  tensor(
    dtype,
    [length],
    Array.from({ length }, () => draw[dtype](next)),
  );

const isDense = ({ args, result }: Form) => args.length === 1 && args[0] === 'f32' && result === 'f32';

const cases = functionIds.flatMap((fn) =>
  functionOf(fn).forms.flatMap((form) =>
    (VALUES[fn] ?? [[]]).map((values) => ({
      fn,
      form,
      values,
      name: `${fn}(${form.args})${values.length ? ` by ${values}` : ''}`,
    })),
  ),
);

describe('elementwise functions', () => {
  it('have the coefficients that the derivation gives', () => {
    const { ERFC_STEP, ERFC_LIMIT, ...polynomials } = coefficients;
    expect(deriveCoefficients()).toEqual(polynomials);
  });

  it('of floats have a mathematics of their own', () => {
    const ofFloats = cases.filter(({ form: { args, result } }) => [...args, result].every((type) => type === 'f32'));
    expect(ofFloats.map(({ fn }) => fn).filter((fn) => !hasMathematics(fn))).toEqual([]);
  });

  it.each(cases)(
    '$name: bits of the contract, within the stated ulps',
    { timeout: 600_000 },
    ({ fn, form, values }) => {
      const op = { nodes: [{ fn, args: form.args.map((_, i) => i), values }], outputs: [form.args.length] };
      const next = random(17);
      const dense = isDense(form) ? samples(FLOATS, 16_384, DENSE) : [];
      const groups = [...dense].map((x) => [tensor('f32', [x.length], x)]);
      groups.push(form.args.map((type) => drawn(next, type, 10_000)));
      const ulps = ulpsOf(fn);
      for (const inputs of groups) {
        const [got] = expectBits(elementwise, op, inputs);
        const [exact] = referenceOp(elementwise, op, inputs, 'float64');
        for (let i = 0; i < elementCount(got.dims); i++) {
          const args = inputs.map(({ data }) => data[i]);
          if (form.result !== 'f32') {
            if (got.data[i] !== exact.data[i])
              throw new Error(`${fn}(${args}) expected ${exact.data[i]}, got ${got.data[i]}`);
          } else if (ulps && args.every(Number.isFinite)) {
            const [error, limit] = [errorInUlps(got.data[i], exact.data[i]), ulps(args, values)];
            if (!(error <= limit))
              throw new Error(
                `${fn}(${args}) expected ${exact.data[i]}, got ${got.data[i]}: ${error} ulp, stated ${limit}`,
              );
          } else if (ulps && !sameLimit(got.data[i], exact.data[i]))
            throw new Error(`${fn}(${args}) expected ${exact.data[i]}, got ${got.data[i]}`);
        }
      }
    },
  );
});

/** Of arguments that aren't finite: the same limit, to the bit where it is no number of its own. */
const sameLimit = (got: number, exact: number): boolean => errorInUlps(got, exact) <= 4;
