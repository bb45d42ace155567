/** Convolutions as products of rows: against float64 and its bounds, onnxruntime-web alongside. */
import { dequantizeWeights, errorBound, type QuantizedWeights, quantizeWeights } from '@msd/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MsdOptions } from '../src/execute/options.ts';
import { reportOf } from '../src/register.ts';
import type { GraphSpec, NodeSpec, TensorSpec } from '../src/write/index.ts';
import { attributesOf, type ConvShape, imagesOf, outOf, weightRows, windowRows } from './images.ts';
import { firstMiss, gaussian, model, random } from './models.ts';
import { floats, session, tensor } from './ort.ts';

const count = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);
const open = (rank: number): string[] => Array.from({ length: rank }, (_, i) => `d${i}`);

interface Case {
  readonly shape: ConvShape;
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly bias: Float32Array | undefined;
}

function makeCase(shape: ConvShape, seed: number, hasBias: boolean): Case {
  const next = random(seed);
  const { batch, channels, spatial, outs, kernel } = shape;
  const x = gaussian(next, batch * channels * count(spatial));
  const w = gaussian(next, outs * channels * count(kernel));
  return { shape, x, w, bias: hasBias ? gaussian(next, outs) : undefined };
}

function convModel({ shape, w, bias }: Case, extra: NodeSpec[] = [], more: TensorSpec[] = []): Uint8Array {
  const { channels, outs, kernel, spatial } = shape;
  const last = extra.at(-1)?.outputs[0] ?? 'y';
  const graph: GraphSpec = {
    nodes: [
      {
        opType: 'Conv',
        name: 'conv',
        inputs: ['x', 'w', ...(bias ? ['b'] : [])],
        outputs: ['y'],
        attributes: attributesOf(shape),
      },
      ...extra,
    ],
    initializers: [
      { name: 'w', dtype: 'float32', dims: [outs, channels, ...kernel], data: w },
      ...(bias ? [{ name: 'b', dtype: 'float32' as const, dims: [outs], data: bias }] : []),
      ...more,
    ],
    inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', channels, ...open(spatial.length)] }],
    outputs: [
      { name: last, dtype: 'float32', dims: ['batch', outs, ...open(spatial.length).map((name) => `${name}out`)] },
    ],
  };
  return model(graph);
}

async function run(bytes: Uint8Array, { shape, x }: Case, provider: Parameters<typeof session>[1]) {
  const s = await session(bytes, provider);
  const results = await s.run({ x: tensor(x, [shape.batch, shape.channels, ...shape.spatial]) });
  const report = reportOf(s);
  await s.release();
  return { y: Object.values(results)[0]!, report };
}

const msd = (options: MsdOptions = {}) => ({ name: 'msd' as const, claim: 'all' as const, debug: true, ...options });

/** What quantized weights [outs, K] give, in the order of the result. */
function exact({ shape, x, bias }: Case, weights: QuantizedWeights): { y: Float64Array; bound: Float64Array } {
  const { rows, out, K } = windowRows(shape, x);
  const { outs } = shape;
  const real = dequantizeWeights(weights);
  const y = new Float64Array((rows.length / K) * outs);
  for (let i = 0; i < y.length; i++) {
    const [m, n] = [Math.floor(i / outs), i % outs];
    y[i] = bias?.[n] ?? 0;
    for (let k = 0; k < K; k++) y[i]! += rows[m * K + k]! * real[n * K + k]!;
  }
  const bound = errorBound(rows, weights, { bias });
  const images = (values: Float64Array) => imagesOf(values, count(out), outs);
  return { y: images(y), bound: images(bound) };
}

/** The same with float weights: one rounding per operation. */
function exactFloats({ shape, x, w, bias }: Case): { y: Float64Array; bound: Float64Array } {
  const { rows, out, K } = windowRows(shape, x);
  const { outs } = shape;
  const real = weightRows(shape, w);
  const y = new Float64Array((rows.length / K) * outs);
  const bound = new Float64Array(y.length);
  for (let i = 0; i < y.length; i++) {
    const [m, n] = [Math.floor(i / outs), i % outs];
    let magnitude = Math.abs(bias?.[n] ?? 0);
    y[i] = bias?.[n] ?? 0;
    for (let k = 0; k < K; k++) {
      const term = rows[m * K + k]! * real[n * K + k]!;
      y[i]! += term;
      magnitude += Math.abs(term);
    }
    bound[i] = (K + 2) * 2 ** -24 * (1 + 2 ** -10) * magnitude;
  }
  const images = (values: Float64Array) => imagesOf(values, count(out), outs);
  return { y: images(y), bound: images(bound) };
}

const shapes: fc.Arbitrary<ConvShape> = fc.integer({ min: 1, max: 2 }).chain((rank) => {
  const each = (min: number, max: number) => fc.array(fc.integer({ min, max }), { minLength: rank, maxLength: rank });
  const auto = fc.constantFrom('SAME_UPPER' as const, 'SAME_LOWER' as const, 'VALID' as const);
  return fc
    .record({
      batch: fc.integer({ min: 1, max: 3 }),
      channels: fc.integer({ min: 1, max: 9 }),
      spatial: each(1, 9),
      outs: fc.integer({ min: 1, max: 20 }),
      kernel: each(1, 4),
      strides: each(1, 3),
      dilations: each(1, 2),
      pads: fc.oneof(auto, fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 2 * rank, maxLength: 2 * rank })),
    })
    .filter((shape) => {
      // onnxruntime-web has SAME for dilations of 1 only.
      if (typeof shape.pads === 'string' && shape.pads !== 'VALID' && shape.dilations.some((each) => each > 1))
        return false;
      return outOf(shape).out.every((size) => size > 0);
    });
});

describe('Conv', () => {
  it('is what onnxruntime-web gives, within the bounds of both forms, whatever its windows are', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(), fc.boolean(), async (shape, seed, hasBias) => {
        const one = makeCase(shape, seed, hasBias);
        const bytes = convModel(one);
        const inFloats = exactFloats(one);
        const plain = await run(bytes, one, 'wasm');
        expect(firstMiss(floats(plain.y), inFloats)).toBeUndefined();
        const own = await run(bytes, one, msd());
        expect(own.report!.foreignSessions).toBe(0);
        expect(own.y.dims).toEqual(plain.y.dims);
        expect(firstMiss(floats(own.y), inFloats)).toBeUndefined();
        const quantized = await run(bytes, one, msd({ quantize: 'int8' }));
        const { outs: N } = shape;
        const real = weightRows(shape, one.w);
        const weights = quantizeWeights(real, { N, K: real.length / N, format: 'int8' });
        expect(quantized.y.dims).toEqual(plain.y.dims);
        expect(firstMiss(floats(quantized.y), exact(one, weights))).toBeUndefined();
        expect(quantized.report!.nodes[0]!.quantized?.format).toBe('int8');
      }),
      { numRuns: 60 },
    );
  }, 120_000);
});
