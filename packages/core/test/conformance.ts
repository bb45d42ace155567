/**
 * One suite for every backend: what `matmul` has to give, whatever it runs on.
 *
 *   conformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { activation64 } from '../src/activations/activations.reference.ts';
import { activationIds } from '../src/activations/contract.ts';
import type { WeightFormat } from '../src/formats/format.ts';
import { formatIds, formats } from '../src/formats/index.ts';
import {
  type ActivationId,
  activationUlps,
  type DecompositionOptions,
  type DeviceName,
  dequantizeWeights,
  errorBound,
  msdMatmul,
  type PreparedMatrix,
  type QuantizedWeights,
} from '../src/index.ts';
import {
  extremes,
  extremeWeights,
  firstDifference,
  gaussians,
  random,
  randomWeights,
  rawWeights,
  type WeightShape,
} from './random.ts';

type CheckOptions = DecompositionOptions & {
  bias?: Float32Array;
  activation?: ActivationId | undefined;
  multiply?: Float32Array;
  residual?: Float32Array;
  out?: Float32Array;
  M?: number;
};

/** What the suite asks of a backend: CPUs answer at once, GPUs later. */
export interface Conforming<P extends PreparedMatrix = PreparedMatrix> {
  prepare(weights: QuantizedWeights): P | Promise<P>;
  matmul(x: Float32Array, prepared: P, options?: CheckOptions): unknown;
  dispose(): void;
}

export interface ConformanceOptions {
  /** 'exact': the bits of the f32 contract. 'bound': within the proved bound. */
  readonly bits: 'exact' | 'bound';
  /** Whose arithmetic the bound allows for. */
  readonly device?: DeviceName;
  /** Share of the generated cases to run: software GPUs are slow. Default 1. */
  readonly share?: number;
}

/** Every block size of a format up to 1024, and one scale per channel. */
function blockSizesOf({ blockSizes: [min, max], perChannel }: WeightFormat): (number | null)[] {
  const sizes: (number | null)[] = perChannel ? [null] : [];
  for (let size = min; size <= Math.min(max, 1024); size *= 2) sizes.push(size);
  return sizes;
}

/** Every shape class and its neighbours: tiles of 2 rows x 16 columns, slices of 256 rows, K-blocks of 256, steps of 32. */
const M_VALUES = [1, 2, 3, 7, 8, 9, 33];
const N_VALUES = [1, 15, 16, 17, 48, 65, 200];
/** No activation is steeper (gelu: 1.129). */
const STEEPEST = 1.13;
/** Largest finite f32. */
const FLOAT_MAX = 3.4028234663852886e38;
const K_VALUES = [1, 31, 32, 33, 224, 255, 256, 257, 320, 513, 777];

export const weightShapes: fc.Arbitrary<WeightShape> = fc.constantFrom(...formatIds).chain((format) =>
  fc.record({
    format: fc.constant(format),
    blockSize: fc.constantFrom(...blockSizesOf(formats[format])),
    N: fc.constantFrom(...N_VALUES),
    K: fc.constantFrom(...K_VALUES),
    asymmetric: formats[format].asymmetric ? fc.boolean() : fc.constant(false),
    scale: fc.constantFrom('f32' as const, 'f16' as const),
  }),
);

export function conformance<P extends PreparedMatrix>(
  name: string,
  create: () => Promise<Conforming<P>>,
  { bits, device, share = 1 }: ConformanceOptions,
): void {
  const timeout = longTier() ? 900_000 : 120_000;
  describe(`conformance: ${name}`, () => {
    let backend: Conforming<P>;
    beforeAll(async () => {
      backend = await create();
    });
    afterAll(() => backend.dispose());

    async function check(x: Float32Array, weights: QuantizedWeights, M: number, options: CheckOptions = {}) {
      const want = bits === 'exact' && msdMatmul(x, weights, { M, ...options, arithmetic: 'float32' });
      const prepared = await backend.prepare(weights);
      const y = (await backend.matmul(x, prepared, options)) as Float32Array;
      prepared.dispose();
      if (want) {
        const at = firstDifference(y, want);
        if (at >= 0) throw new Error(`y[${at}] expected ${want[at]}, got ${y[at]}`);
      } else withinBound(y, x, weights, M, options);
      return y;
    }

    function withinBound(
      y: Float32Array,
      x: Float32Array,
      weights: QuantizedWeights,
      M: number,
      options: CheckOptions,
    ) {
      const { N, K } = weights;
      const { bias, activation, multiply, residual } = options;
      const real = dequantizeWeights(weights);
      const bound = errorBound(x, weights, { ...options, device });
      const [rounding, tiniest] = device === 'webgpu' ? [2 ** -23, 2 ** -126] : [2 ** -24, 2 ** -149];
      for (let m = 0; m < M; m++)
        for (let n = 0; n < N; n++) {
          let exact = bias ? bias[n] : 0;
          for (let k = 0; k < K; k++) exact += x[m * K + k] * real[n * K + k];
          if (!(Math.abs(exact) < FLOAT_MAX)) continue; // NaN rows and overflow are the tests' own business
          const at = m * N + n;
          let allowed = bound[at];
          if (allowed === Number.POSITIVE_INFINITY) continue; // a partial result may overflow
          if (activation) {
            // A GPU divides within 2.5 ulp and may contract: four times what the contract loses.
            const ulps = activationUlps(activation, Number.NEGATIVE_INFINITY) * (device === 'webgpu' ? 4 : 1);
            allowed *= STEEPEST;
            exact = activation64(activation, exact);
            allowed += ulps * 2 ** -23 * (Math.abs(exact) + allowed) + ulps * tiniest;
          }
          if (multiply) {
            exact *= multiply[at];
            allowed = allowed * Math.abs(multiply[at]) * (1 + 2 ** -24) + rounding * Math.abs(exact) + tiniest;
          }
          if (residual) {
            exact += residual[at];
            allowed = allowed * (1 + 2 ** -24) + rounding * Math.abs(exact) + tiniest;
          }
          const error = Math.abs(y[at] - exact);
          if (!(error <= allowed)) throw new Error(`y[${m},${n}] expected ${exact} ± ${allowed}, got ${y[at]}`);
        }
    }

    it('gives the contract’s bits on odd shapes, every format, components, bias', { timeout }, async () => {
      const cases = fc.record({
        shape: weightShapes,
        M: fc.constantFrom(...M_VALUES),
        components: fc.constantFrom(1 as const, 2 as const),
        split: fc.constantFrom<DecompositionOptions>(
          { activationBlock: 'row' },
          { activationBlock: 256 },
          { activationBlock: 32 },
          { decomposition: 'mxfp4' },
        ),
        withBias: fc.boolean(),
        seed: fc.nat(),
      });
      await fc.assert(
        fc.asyncProperty(cases, async ({ shape, M, components, split, withBias, seed }) => {
          const next = random(seed);
          const weights = randomWeights(next, shape);
          const x = gaussians(next, M * shape.K);
          const options = { components, ...split, ...(withBias && { bias: gaussians(next, shape.N) }) };
          const y = await check(x, weights, M, options);
          withinBound(y, x, weights, M, options);
        }),
        { numRuns: Math.ceil(share * (longTier() ? 5000 : 250)) },
      );
    });

    it('gives the contract’s bits for any codes, zero points and scales (negative, tiny, zero)', {
      timeout,
    }, async () => {
      await fc.assert(
        fc.asyncProperty(weightShapes, fc.constantFrom(1, 2, 9), fc.nat(), async (shape, M, seed) => {
          const next = random(seed);
          const scale = () => (next() < 0.1 ? 0 : (next() - 0.5) * 2 ** Math.floor(next() * 140 - 130));
          const x = Float32Array.from(
            { length: M * shape.K },
            () => (next() - 0.5) * 2 ** Math.floor(next() * 60 - 40),
          );
          await check(x, rawWeights(next, shape, scale), M, { activationBlock: next() < 0.5 ? 256 : 32 });
        }),
        { numRuns: Math.ceil(share * (longTier() ? 3000 : 150)) },
      );
    });

    it('keeps bits and bound at both ends of the exponent range, with every plan', { timeout }, async () => {
      const plans = fc.constantFrom<DecompositionOptions>(
        ...([1, 2] as const).flatMap((components) => [
          ...(['row', 256, 32] as const).map((activationBlock) => ({ components, activationBlock })),
          { components, decomposition: 'mxfp4' as const },
        ]),
      );
      await fc.assert(
        fc.asyncProperty(weightShapes, plans, fc.constantFrom(1, 2, 9), fc.nat(), async (shape, plan, M, seed) => {
          const next = random(seed);
          const weights = extremeWeights(next, shape);
          const x = extremes(next, M, shape.K);
          const y = await check(x, weights, M, plan);
          withinBound(y, x, weights, M, plan);
        }),
        { numRuns: Math.ceil(share * (longTier() ? 5000 : 250)) },
      );
    });

    it('ends with activation, multiply and residual, in this order', { timeout }, async () => {
      const cases = fc.record({
        shape: weightShapes,
        M: fc.constantFrom(...M_VALUES),
        activation: fc.constantFrom(undefined, ...activationIds),
        withBias: fc.boolean(),
        withMultiply: fc.boolean(),
        withResidual: fc.boolean(),
        seed: fc.nat(),
      });
      await fc.assert(
        fc.asyncProperty(cases, async ({ shape, M, activation, withBias, withMultiply, withResidual, seed }) => {
          const next = random(seed);
          const weights = randomWeights(next, shape);
          const x = gaussians(next, M * shape.K).map((value) => value / 4);
          const options = {
            activation,
            ...(withBias && { bias: gaussians(next, shape.N) }),
            ...(withMultiply && { multiply: gaussians(next, M * shape.N) }),
            ...(withResidual && { residual: gaussians(next, M * shape.N) }),
          };
          const y = await check(x, weights, M, options);
          withinBound(y, x, weights, M, options);
        }),
        { numRuns: Math.ceil(share * (longTier() ? 3000 : 150)) },
      );
    });

    it('takes out as its own residual or multiplier, over several slices', async () => {
      const next = random(12);
      const shape: WeightShape = { format: 'int4', blockSize: 32, N: 37, K: 320, asymmetric: false };
      const weights = randomWeights(next, shape);
      for (const M of share < 1 ? [300] : [1, 9, 300]) {
        const x = gaussians(next, M * shape.K);
        const other = gaussians(next, M * shape.N);
        for (const name of ['residual', 'multiply'] as const) {
          const apart = await check(x, weights, M, { activation: 'silu', [name]: other });
          const out = other.slice();
          const prepared = await backend.prepare(weights);
          expect(await backend.matmul(x, prepared, { activation: 'silu', [name]: out, out })).toBe(out);
          prepared.dispose();
          expect(firstDifference(out, apart)).toBe(-1);
        }
      }
    });

    it('is exact at the corner where sums are largest', async () => {
      // A software GPU compiles for a second whatever is new: one shape class per case is enough there.
      for (const { format, blockSize, fill, asymmetric } of [
        { format: 'int4', blockSize: 32, fill: 0x00, asymmetric: false },
        { format: 'int4', blockSize: 256, fill: 0xff, asymmetric: true },
        { format: 'int8', blockSize: null, fill: 0x00, asymmetric: false },
        { format: 'int8', blockSize: 256, fill: 0x00, asymmetric: true },
      ] as const)
        for (const M of share < 1 ? [asymmetric ? 8 : 1] : [1, 2, 8])
          for (const sign of [1, -1]) {
            const shape = { format, blockSize, N: 17, K: 512, asymmetric };
            const raw = rawWeights(random(1), shape, () => 1);
            raw.data.fill(fill);
            raw.zeroPoints?.fill(format === 'int4' ? 0x00 : 0xff);
            await check(new Float32Array(M * shape.K).fill(3.5 * sign), raw, M);
          }
    });

    it('confines NaN and Inf to their row', async () => {
      const next = random(9);
      const M = 9;
      const shape: WeightShape = { format: 'int4', blockSize: 32, N: 33, K: 300, asymmetric: false };
      const weights = randomWeights(next, shape);
      const clean = gaussians(next, M * shape.K);
      const x = clean.slice();
      x[2 * shape.K + 7] = Number.NaN;
      x[4 * shape.K + 299] = Number.POSITIVE_INFINITY;
      x[7 * shape.K + 256] = Number.NEGATIVE_INFINITY;
      const want = await check(clean, weights, M);
      const got = await check(x, weights, M);
      for (let m = 0; m < M; m++)
        for (let n = 0; n < shape.N; n++) {
          const at = m * shape.N + n;
          if (m === 2 || m === 4 || m === 7) expect(got[at]).toBeNaN();
          else expect(got[at]).toBe(want[at]);
        }
      for (const activation of share < 1 ? (['gelu'] as const) : activationIds) {
        const ended = await check(x, weights, M, { activation });
        for (const m of [2, 4, 7])
          expect(ended.subarray(m * shape.N, (m + 1) * shape.N).every(Number.isNaN), activation).toBe(true);
      }
    });

    it('treats zero rows, denormals and the largest floats as the contract says', async () => {
      const weights = randomWeights(random(3), { format: 'int8', blockSize: 32, N: 16, K: 64, asymmetric: true });
      const rows = [0, -0, 2 ** -149, 2 ** -101, 2 ** -100, 2 ** -99, FLOAT_MAX];
      const x = Float32Array.from(rows.flatMap((value) => Array<number>(64).fill(value)));
      const y = await check(x, weights, rows.length);
      expect(y.subarray(0, 16).every((value) => value === 0)).toBe(true);
    });

    it('gives an outlier no say outside its K-block', async () => {
      const next = random(4);
      const weights = randomWeights(next, { format: 'int8', blockSize: null, N: 8, K: 512, asymmetric: false });
      const x = gaussians(next, 512);
      x[3] = 1000;
      await check(x, weights, 1);
    });

    it('cuts many rows into slices without changing bits', async () => {
      const next = random(6);
      const shape: WeightShape = { format: 'int4', blockSize: 32, N: 20, K: 64, asymmetric: false };
      const weights = randomWeights(next, shape);
      const M = 515; // two slices of 256 and one of 3
      const x = gaussians(next, M * shape.K);
      const all = await check(x, weights, M);
      for (const m of [0, 255, 256, 514]) {
        const row = await check(x.slice(m * shape.K, (m + 1) * shape.K), weights, 1);
        if (bits === 'exact') expect(firstDifference(row, all.subarray(m * shape.N, (m + 1) * shape.N))).toBe(-1);
      }
    });

    it('takes one scale and one zero point for the whole matrix', async () => {
      const next = random(13);
      for (const asymmetric of [false, true])
        for (const unsigned of [false, true])
          for (const M of share < 1 ? [9] : [1, 3, 9]) {
            const shape: WeightShape = { format: 'int8', blockSize: null, N: 21, K: 300, asymmetric };
            const raw = rawWeights(next, shape, () => 0.01);
            const signed = (codes: Uint8Array | Int8Array) => Int8Array.from(codes, (code) => code - 128);
            const data = unsigned ? raw.data : signed(raw.data);
            const zeros = raw.zeroPoints && (unsigned ? raw.zeroPoints : signed(raw.zeroPoints)).subarray(0, 1);
            const tensor: QuantizedWeights = {
              ...raw,
              data,
              scales: Float32Array.of(-0.02),
              ...(zeros && { zeroPoints: zeros }),
            };
            const channels: QuantizedWeights = {
              ...tensor,
              scales: new Float32Array(shape.N).fill(-0.02),
              ...(zeros && { zeroPoints: new (unsigned ? Uint8Array : Int8Array)(shape.N).fill(zeros[0]) }),
            };
            const x = gaussians(next, M * shape.K);
            const y = await check(x, tensor, M);
            expect(firstDifference(y, await check(x, channels, M))).toBe(-1);
            withinBound(y, x, tensor, M, {});
          }
    });

    it('returns nothing for no rows', async () => {
      const prepared = await backend.prepare(
        randomWeights(random(1), { format: 'int8', blockSize: null, N: 4, K: 8, asymmetric: false }),
      );
      expect(await backend.matmul(new Float32Array(0), prepared)).toHaveLength(0);
      prepared.dispose();
    });

    it('refuses what does not fit, says what was expected, and stays usable', async () => {
      const weights = randomWeights(random(2), { format: 'int4', blockSize: 32, N: 8, K: 40, asymmetric: false });
      const prepared = await backend.prepare(weights);
      const x = new Float32Array(40).fill(1);
      const floats = new Float32Array(9);
      const bad: [() => unknown, RegExp][] = [
        [() => backend.matmul(new Float32Array(41), prepared), /x expected whole rows of K=40 values, got 41/],
        [() => backend.matmul(x, prepared, { M: 2 }), /x expected 80 values/],
        [() => backend.matmul(x, prepared, { M: -1 }), /M=-1/],
        [() => backend.matmul(new Float64Array(40) as never, prepared), /x expected a Float32Array.*Float64Array/],
        [() => backend.matmul(null as never, prepared), /got null/],
        [() => backend.matmul(x, prepared, { bias: new Float32Array(7) }), /bias expected 8 values, got 7/],
        [() => backend.matmul(x, prepared, { out: new Float32Array(9) }), /out expected 8 values .*got 9/],
        [
          () => backend.matmul(x, prepared, { activation: 'swish' as never }),
          /activation expected one of relu, relu6, silu, .*got swish/,
        ],
        [
          () => backend.matmul(x, prepared, { multiply: new Float32Array(9) }),
          /multiply expected 8 values for \[M=1,N=8\], got 9/,
        ],
        [() => backend.matmul(x, prepared, { residual: [1] as never }), /residual expected a Float32Array.*got Array/],
        [
          () => backend.matmul(x, prepared, { residual: floats.subarray(1, 9), out: floats.subarray(0, 8) }),
          /residual expected to be out itself or to lie apart/,
        ],
        [() => backend.matmul(x, prepared, { components: 3 as never }), /components expected 1 or 2, got 3/],
        [
          () => backend.matmul(x, prepared, { activationBlock: 64 as never }),
          /activationBlock expected 'row', 256 or 32, got 64/,
        ],
        [
          () => backend.matmul(x, prepared, { decomposition: 'mxfp4', activationBlock: 256 }),
          /expected 32 for the mxfp4/,
        ],
        [
          () => backend.prepare({ ...weights, data: weights.data.subarray(1) }),
          /weights\.data expected 256 bytes for int4 \[N=8,K=40\].*got 255/,
        ],
        [
          () => backend.prepare({ ...weights, data: new Float32Array(256) as never }),
          /expected a Uint8Array.*Float32Array/,
        ],
        [() => backend.prepare({ ...weights, scales: weights.scales.subarray(1) }), /scales expected 16 values/],
        [() => backend.prepare({ ...weights, scales: Float32Array.of(1) }), /scales expected 16 values/],
        [
          () => backend.prepare({ ...weights, scales: weights.scales.map(() => Number.NaN) }),
          /scales\[0\] expected a finite value/,
        ],
        [() => backend.prepare({ ...weights, scales: weights.scales.map(() => 2 ** 90) }), /scales\[0\]/],
        [() => backend.prepare({ ...weights, N: 0 }), /N expected a positive integer, got 0/],
        [() => backend.prepare({ ...weights, K: 0 }), /K expected a positive integer, got 0/],
        [() => backend.prepare({ ...weights, K: 2 ** 40 }), /K expected/],
        [
          () => backend.prepare({ ...weights, blockSize: 8 }),
          /blockSize of int4 expected a power of two from 16 up, got 8/,
        ],
        [() => backend.prepare({ ...weights, blockSize: 48 }), /blockSize of int4 expected a power of two/],
        [
          () => backend.prepare({ ...weights, blockSize: null }),
          /blockSize of int4 expected a power of two from 16 up, got null/,
        ],
        [
          () => backend.prepare({ ...weights, format: 'int3' as never }),
          /format expected one of int8, int4, mxfp4, int2, nf4, fp4, nf4low, fp4low, got int3/,
        ],
        [() => backend.prepare({ ...weights, zeroPoints: new Uint8Array(3) }), /zeroPoints expected 8 bytes/],
        [() => backend.prepare({ ...weights, zeroPoints: new Int8Array(8) }), /zeroPoints expected a Uint8Array/],
      ];
      // In a function of its own: what is thrown at once counts like what is rejected later.
      for (const [run, message] of bad) await expect((async () => run())()).rejects.toThrow(message);
      const y = await backend.matmul(x, prepared);
      expect(y).toHaveLength(8);
      prepared.dispose();
      prepared.dispose();
      await expect((async () => backend.matmul(x, prepared))()).rejects.toThrow(/disposed/);
    });
  });
}

/** Long tiers run when MSD_TEST_ALL is set; a page has it from vitest.config.ts. */
export function longTier(): boolean {
  const asked =
    typeof process === 'undefined'
      ? (import.meta as { env?: Record<string, string> }).env?.MSD_TEST_ALL
      : process.env.MSD_TEST_ALL;
  return asked === '1';
}
