/**
 * Manifests as converters really write them: constant tensors, ranges far from zero, zeros that are no level. Stock's weights
 * are the reference, in float64; the bound is that of the activations alone (docs/tfjs.md, "Zeros and offsets").
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  loadGraphModel,
  loadLayersModel,
  matMul,
  QuantizedTensor,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import { encodeCodes, zeroOf } from '../src/weights/integers.ts';
import type { StoredCodes } from '../src/weights/source.ts';
import { artifactsOf, encodeWeight, handlerOf, join, placeholder } from './graph.ts';
import { saved } from './layers.ts';
import {
  any8,
  any16,
  CASES,
  decoded,
  expected,
  graphOf,
  K,
  N,
  rowsOf,
  stepOf,
  uint8,
  uint16,
  within,
} from './manifests.ts';
import { BACKENDS, gaussian, random, relativeL2, tf, useBackend } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const valuesOf = (run: () => tf.Tensor): Float32Array => tf.tidy(() => run().dataSync().slice()) as Float32Array;

describe.each(BACKENDS)('manifests on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(Object.entries(CASES))('%s', async (_, weight) => {
    const artifacts = graphOf(weight);
    const x = rowsOf(K);
    const model = await loadGraphModel(handlerOf(artifacts), { minElements: 0 });
    const y = valuesOf(() => model.execute(tf.tensor2d(x, [4, K])) as tf.Tensor);
    expect(reportOf(model)!.nodes[0]!.where).toBe('msd');
    within(y, expected(x, decoded(artifacts), K, N, stepOf(weight.quantization)));
    model.dispose();
  });

  it.each(Object.entries(CASES))('as a layer and as a 1x1 convolution: %s', async (_, weight) => {
    const x = rowsOf(K);
    const want = expected(x, decoded(graphOf(weight)), K, N, stepOf(weight.quantization));
    const dense = tf.sequential({
      layers: [tf.layers.dense({ units: N, useBias: false, inputShape: [K], name: 'd' })],
    });
    const { spec, bytes } = encodeWeight({ name: 'd/kernel', ...weight });
    const layers = await loadLayersModel(
      handlerOf({ ...(await saved(dense)), weightSpecs: [spec], weightData: join([bytes]) }),
      {
        minElements: 0,
      },
    );
    expect(reportOf(layers)!.nodes[0]!.where).toBe('msd');
    within(
      valuesOf(() => layers.predict(tf.tensor2d(x, [4, K])) as tf.Tensor),
      want,
    );
    const attr = { strides: { list: { i: ['1', '1', '1', '1'] } }, padding: { s: btoa('VALID') } };
    const convolution = artifactsOf({
      nodes: [placeholder('x'), { name: 'y', op: 'Conv2D', input: ['x', 'w'], attr }],
      weights: [{ name: 'w', ...weight, shape: [1, 1, K, N] }],
    });
    const conv = await loadGraphModel(handlerOf(convolution), { minElements: 0 });
    expect(reportOf(conv)!.nodes[0]!.where).toBe('msd');
    within(
      valuesOf(() => conv.execute(tf.tensor4d(x, [1, 2, 2, K])) as tf.Tensor),
      want,
    );
    dense.dispose();
    layers.dispose();
    conv.dispose();
  });

  it.each(Object.entries(CASES))('as a table, bit for bit; tied to a product, rounded: %s', async (_, weight) => {
    const table = { name: 'w', ...weight, shape: [N, K] };
    const gather = { name: 'rows', op: 'GatherV2', input: ['w', 'ids', 'axis'] };
    const product = { name: 'y', op: 'MatMul', input: ['x', 'w'], attr: { transpose_b: { b: true } } };
    const axis = { name: 'axis', shape: [], values: Int32Array.of(0) };
    const ids = tf.tensor1d([3, 0, N - 1], 'int32');
    for (const isTied of [false, true]) {
      const artifacts = artifactsOf({
        nodes: [placeholder('ids', 'DT_INT32'), placeholder('x'), gather, ...(isTied ? [product] : [])],
        weights: [table, axis],
        outputs: isTied ? ['rows', 'y'] : ['rows'],
      });
      const model = await loadGraphModel(handlerOf(artifacts), { minElements: 0 });
      expect(reportOf(model)!.nodes.map(({ where }) => where)).toEqual(isTied ? ['msd', 'msd'] : ['msd']);
      const rows = valuesOf(() => model.execute({ ids, ...(isTied && { x: tf.zeros([1, K]) }) }, 'rows') as tf.Tensor);
      const w = decoded(artifacts);
      const want = [3, 0, N - 1].flatMap((row) => [...w.subarray(row * K, (row + 1) * K)]);
      if (!isTied) expect([...rows]).toEqual(want);
      const step = stepOf(weight.quantization);
      rows.forEach((value, i) => {
        // Up to 256 levels, and whatever has been added to them, rounded to f32.
        expect(Math.abs(value - want[i]!)).toBeLessThanOrEqual(2 ** -22 * (2 * Math.abs(want[i]!) + 512 * step));
      });
      model.dispose();
    }
    ids.dispose();
  });

  it('uint8, uint16, float16 and float32 in one model', async () => {
    const names = ['w1', 'w2', 'w3', 'w4'];
    const floats = gaussian(9, K * K).map((value) => value / 10);
    const artifacts = artifactsOf({
      nodes: [
        placeholder('x'),
        ...names.map((name, i) => ({ name: `y${i + 1}`, op: 'MatMul', input: [i ? `y${i}` : 'x', name] })),
      ],
      weights: [
        { name: 'w1', ...uint8([K, K], 0.001, -0.1283, any8) },
        { name: 'w2', ...uint16([K, K], 1e-6, 0.01, any16) },
        { name: 'w3', shape: [K, K], values: floats, stored: 'float16' },
        { name: 'w4', shape: [K, K], values: floats },
      ],
      outputs: ['y4'],
    });
    const x = tf.tensor2d(rowsOf(K), [4, K]);
    const stock = await tf.loadGraphModel(handlerOf(artifacts));
    const model = await loadGraphModel(handlerOf(artifacts));
    const [want, got] = [stock, model].map((own) => valuesOf(() => own.execute(x) as tf.Tensor)) as [
      Float32Array,
      Float32Array,
    ];
    expect(reportOf(model)!.nodes.map(({ weights }) => weights!.how)).toEqual([
      'stored integers kept',
      'stored integers kept',
      'stored floats as 16-bit integers',
      'quantized',
    ]);
    // The float weights alone are further off: int8 per channel.
    expect(relativeL2(got, want)).toBeLessThan(2 * reportOf(model)!.nodes[3]!.weights!.error);
    for (const own of [stock, model]) own.dispose();
    x.dispose();
  });
});

/** Any scale, minimum and codes: what a converter, or anyone, may have written. */
const anyManifest = fc
  .record({
    is16: fc.boolean(),
    k: fc.integer({ min: 1, max: 300 }),
    n: fc.integer({ min: 1, max: 20 }),
    exponent: fc.integer({ min: -40, max: 30 }),
    mantissa: fc.double({ min: 1, max: 2, noNaN: true }),
    sign: fc.constantFrom(1, 1, 1, -1),
    /** Of the zero, in levels of the range: inside, near it, far away. */
    zero: fc.oneof(
      fc.double({ min: -0.1, max: 1.1, noNaN: true }),
      fc.double({ min: -2000, max: 2000, noNaN: true }),
      fc.constantFrom(0, 1),
    ),
    isNudged: fc.boolean(),
    /** Codes in use: [first, first + width]. */
    first: fc.double({ min: 0, max: 1, noNaN: true }),
    width: fc.constantFrom(0, 1, 2, 255, 65535),
    seed: fc.integer({ min: 1, max: 1e6 }),
    transposed: fc.boolean(),
  })
  .map(({ is16, k, n, exponent, mantissa, sign, zero, isNudged, first, width, seed, transposed }) => {
    const levels = is16 ? 65535 : 255;
    const low = Math.floor(first * levels);
    const high = Math.min(levels, low + width);
    const next = random(seed);
    const Type = is16 ? Uint16Array : Uint8Array;
    const codes = new Type(Array.from({ length: k * n }, () => low + Math.floor(next() * (high - low + 1))));
    const scale = sign * mantissa * 2 ** exponent;
    const at = isNudged ? Math.round(zero * levels) : zero * levels;
    return { kind: is16 ? 'uint16' : 'uint8', codes, scale, min: -at * scale, k, n, seed, transposed } as const;
  });

describe.each(BACKENDS)('any manifest on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each([1, 2] as const)('keeps the bound of its activations, %i components', (components) => {
    fc.assert(
      fc.property(anyManifest, ({ kind, codes, scale, min, k, n, seed, transposed }) => {
        const view = { kind: 'matrix', batchShape: [], N: n, K: k, transposed } as const;
        const { spec, data } = encodeCodes({ kind, values: codes, scale, min } as StoredCodes, view);
        const x = gaussian(seed, 2 * k).map((value, i) => (i < k ? value + 3 : value));
        const y = valuesOf(() => {
          const w = new QuantizedTensor(tf.tensor1d(data, 'int32'), spec);
          return matMul(tf.tensor2d(x, [2, k]), w, { components });
        });
        const w = new Float32Array(k * n);
        for (let i = 0; i < k; i++)
          for (let j = 0; j < n; j++) w[i * n + j] = codes[transposed ? j * k + i : i * n + j]! * scale + min;
        within(y, expected(x, w, k, n, Math.abs(scale), { components }));
      }),
      { seed: 23, numRuns: 300 },
    );
  });
});

describe('zeroOf', () => {
  it.each<
    [string, [scale: number, min: number, low: number, high: number, levels?: number], zero: number, offset: number]
  >([
    ['a level', [0.5, -64, 0, 255], 128, 0],
    ['a level, written in f32', [Math.fround(0.01), Math.fround(-1.28), 0, 255], 128, 0],
    ['between two levels', [1, -0.3, 0, 9], 0, -0.3],
    ['one code', [1, 0.25, 0, 0], 0, 0.25],
    ['far below the codes', [1, 1000, 0, 255], 128, 1128],
    ['just below the codes', [1, 10.5, 0, 255], 10, 20.5],
    ['just above the codes', [1, -265.5, 0, 255], 245, -20.5],
    ['far above the codes', [1, -1000, 0, 255], 128, -872],
    ['of 16 bits', [0.5, -16000, 0, 65535, 65536], 32000, 0],
  ])('%s', (_, [scale, min, low, high, levels = 256], zero, offset) => {
    expect(zeroOf({ scale, min }, low, high, levels)).toEqual({ zero, offset });
  });

  it('never puts a larger number in place of a weight than its own, half a level aside', () => {
    fc.assert(
      fc.property(fc.double({ min: -5, max: 5, noNaN: true }), fc.nat(255), fc.nat(255), (ranges, a, b) => {
        const [low, high, min] = [Math.min(a, b), Math.max(a, b), ranges * 255];
        const { zero, offset } = zeroOf({ scale: 1, min }, low, high, 256);
        const isInside = -min > low && -min < high;
        for (let code = low; code <= high; code++) {
          const allowed = Math.abs(code + min) * (1 + 2 ** -20) + (isInside ? 0.5 : 0);
          if (Math.abs(code - zero) > allowed) return false;
          if (Math.abs(code - zero + offset - (code + min)) > 2 ** -21 * 1300) return false;
        }
        return zero >= 0 && zero <= 255;
      }),
      { seed: 23, numRuns: 2000 },
    );
  });
});
