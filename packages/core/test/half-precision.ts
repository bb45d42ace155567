/** One suite for backends that take f16 and bf16: x is widened exactly, y is what f32 gives, rounded once more. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Arithmetic } from '../src/decompose/decompose.reference.ts';
import { bitsOf, halves } from '../src/formats/half.ts';
import {
  type Backend,
  type FloatType,
  type HalfArray,
  type HalfType,
  type MatmulOptions,
  msdMatmul,
  type QuantizedWeights,
} from '../src/index.ts';
import { longTier, weightShapes } from './conformance.ts';
import { firstDifference, gaussians, random, randomWeights } from './random.ts';

/** Patterns of values in half precision, and what these are in f32. */
function halved(values: Float32Array, type: HalfType): [Uint16Array, Float32Array] {
  const bits = Uint16Array.from(values, halves[type].bits);
  return [bits, Float32Array.from(bits, halves[type].value)];
}

type Ends = Pick<MatmulOptions, 'activation'> & { bias?: Float32Array; residual?: Float32Array };

export function halfPrecision(name: string, create: () => Promise<Backend>, arithmetic: Arithmetic): void {
  describe(`half precision: ${name}`, () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await create();
    });
    afterAll(() => backend.dispose());

    function check(
      [x, xType]: [Float32Array | Uint16Array, FloatType],
      weights: QuantizedWeights,
      M: number,
      outType: FloatType,
      ends: Ends = {},
      out?: Float32Array | Uint16Array,
    ) {
      const values = xType === 'f32' ? (x as Float32Array) : Float32Array.from(x, halves[xType].value);
      const y = Float32Array.from(msdMatmul(values, weights, { M, ...ends, arithmetic }));
      const want = outType === 'f32' ? y : halved(y, outType)[0];
      const prepared = backend.prepare(weights);
      const got = backend.matmul(x, prepared, { ...ends, xType, outType, out }) as Float32Array | Uint16Array;
      prepared.dispose();
      expect(got).toBeInstanceOf(outType === 'f32' ? Float32Array : Uint16Array);
      if (out) expect(got).toBe(out);
      const at = firstDifference(got, want);
      if (at >= 0) throw new Error(`y[${at}] expected ${want[at]}, got ${got[at]}`);
    }

    it('gives the f32 result rounded once more, on odd shapes, with fused ends', {
      timeout: longTier() ? 900_000 : 120_000,
    }, () => {
      const cases = fc.record({
        shape: weightShapes,
        M: fc.constantFrom(1, 2, 3, 7, 9, 33, 257),
        xType: fc.constantFrom<FloatType>('f32', 'f16', 'bf16'),
        outType: fc.constantFrom<FloatType>('f32', 'f16', 'bf16'),
        activation: fc.constantFrom(undefined, 'relu' as const, 'silu' as const),
        withBias: fc.boolean(),
        withResidual: fc.boolean(),
        withOut: fc.boolean(),
        // Subnormal and infinite results in f16, too.
        magnitude: fc.constantFrom(1, 2 ** -12, 2 ** 10),
        seed: fc.nat(),
      });
      fc.assert(
        fc.property(cases, ({ shape, M, xType, outType, activation, magnitude, ...rest }) => {
          const next = random(rest.seed);
          const { K, N } = shape;
          const weights = randomWeights(next, shape);
          const drawn = gaussians(next, M * K).map((value) => value * magnitude);
          const x = xType === 'f32' ? drawn : halved(drawn, xType)[0];
          const ends = {
            activation,
            ...(rest.withBias && { bias: gaussians(next, N) }),
            ...(rest.withResidual && { residual: gaussians(next, M * N) }),
          };
          const out = rest.withOut ? new (outType === 'f32' ? Float32Array : Uint16Array)(M * N) : undefined;
          check([x, xType], weights, M, outType, ends, out);
        }),
        { numRuns: longTier() ? 2000 : 80 },
      );
    });

    it('takes every pattern, NaN and Inf among them', () => {
      const [M, K] = [256, 256];
      const weights = randomWeights(random(3), { format: 'int8', blockSize: null, N: 17, K, asymmetric: false });
      const patterns = Uint16Array.from({ length: M * K }, (_, i) => i);
      for (const type of ['f16', 'bf16'] as const)
        for (const outType of ['f32', type] as const) check([patterns, type], weights, M, outType);
    });

    it('knows a Float16Array by its class', (context) => {
      const Native = Reflect.get(globalThis, 'Float16Array') as (new (length: number) => HalfArray) | undefined;
      if (!Native) return context.skip('this engine has no Float16Array');
      const weights = randomWeights(random(5), { format: 'int4', blockSize: 32, N: 21, K: 96, asymmetric: false });
      const prepared = backend.prepare(weights);
      const [bits] = halved(gaussians(random(6), 3 * 96), 'f16');
      const [x, out] = [new Native(3 * 96), new Native(3 * 21)];
      bitsOf(x).set(bits);
      const want = backend.matmul(bits, prepared, { xType: 'f16', outType: 'f16' }) as Uint16Array;
      expect(backend.matmul(x, prepared, { out })).toBe(out);
      expect(firstDifference(bitsOf(out), want)).toBe(-1);
      expect(() => backend.matmul(x, prepared, { xType: 'bf16' })).toThrow(
        /x expected a Uint16Array of bits or an arena handle for xType 'bf16', got Float16Array/,
      );
      prepared.dispose();
    });

    it('refuses what does not fit, and says what was expected', () => {
      const weights = randomWeights(random(2), { format: 'int4', blockSize: 32, N: 8, K: 40, asymmetric: false });
      const prepared = backend.prepare(weights);
      const x = new Float32Array(40).fill(1);
      const bits = new Uint16Array(40);
      const floats = new Float32Array(8);
      const bad: [() => unknown, new (message: string) => Error, RegExp][] = [
        [() => backend.matmul(bits, prepared), TypeError, /got Uint16Array\. Are these bits\? Say xType: 'f16'/],
        [
          () => backend.matmul(x, prepared, { xType: 'f16' }),
          TypeError,
          /x expected a Uint16Array of bits, a Float16Array or an arena handle for xType 'f16', got Float32Array/,
        ],
        [() => backend.matmul(bits, prepared, { xType: 'f32' }), TypeError, /x expected a Float32Array.*got Uint16/],
        [() => backend.matmul(new Int16Array(40) as never, prepared, { xType: 'bf16' }), TypeError, /got Int16Array/],
        [() => backend.matmul(new Uint16Array(41), prepared, { xType: 'f16' }), RangeError, /whole rows of K=40.*41/],
        [() => backend.matmul(bits, prepared, { xType: 'f16', M: 2 }), RangeError, /x expected 80 values.*got 40/],
        [() => backend.matmul(x, prepared, { xType: 'fp8' as never }), RangeError, /xType expected f32, f16 or bf16/],
        [() => backend.matmul(x, prepared, { outType: 'toString' as never }), RangeError, /outType expected f32/],
        [() => backend.matmul(x, prepared, { out: new Uint16Array(8) }), TypeError, /Say outType: 'f16'/],
        [
          () => backend.matmul(x, prepared, { out: floats, outType: 'bf16' }),
          TypeError,
          /out expected a Uint16Array of bits or an arena handle for outType 'bf16', got Float32Array/,
        ],
        [
          () => backend.matmul(x, prepared, { out: new Uint16Array(9), outType: 'f16' }),
          RangeError,
          /out expected 8 values for \[M=1,N=8\], got 9/,
        ],
        [
          () => backend.matmul(x, prepared, { bias: new Uint16Array(8) as never }),
          TypeError,
          /bias expected a Float32Array .* got Uint16Array\. Only x and out may be half precision/,
        ],
        [
          () => {
            const out = new Uint16Array(floats.buffer, 0, 8);
            return backend.matmul(x, prepared, { residual: floats, out, outType: 'f16' });
          },
          RangeError,
          /residual expected to lie apart from an out of f16/,
        ],
      ];
      for (const [run, type, message] of bad) {
        expect(run).toThrow(message);
        expect(run).toThrow(type);
      }
      prepared.dispose();
    });
  });
}
