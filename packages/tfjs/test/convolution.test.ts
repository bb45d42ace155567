/** Convolutions with windows, on request: graph models and layers, beside stock tfjs. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { conv2d, depthwiseConv2d } from '../src/convolution/conv2d.ts';
import { prepareConvolutions } from '../src/convolution/kernels.ts';
import { type ConvolutionWindow, stockPadding } from '../src/convolution/window.ts';
import {
  accelerate,
  formatReport,
  layersModelHandler,
  loadGraphModel,
  loadLayersModel,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import { packMatrices, transpose } from '../src/pack.ts';
import { QuantizedTensor } from '../src/quantized-tensor.ts';
import { artifactsOf, b64, floats, type GraphEntry, handlerOf, type NodeEntry, placeholder } from './graph.ts';
import { saved } from './layers.ts';
import { BACKENDS, gaussian, relativeL2, tensor, tf, tidied, useBackend, withoutLeaks } from './tf.ts';

beforeAll(async () => {
  register(tf);
  await prepareConvolutions(); // models wait for it by themselves
});
afterAll(() => unregister(tf));

type Values = Float32Array;
const valuesOf = (run: () => tf.Tensor): Values => tidied(() => run().dataSync().slice() as Values);

const strings = (...texts: string[]) => ({ list: { s: texts.map((text) => btoa(text)) } });
const sizes = (...values: number[]) => ({ list: { i: values } });

interface ConvolutionEntry {
  readonly op: string;
  readonly filter: readonly [number, number, number, number];
  readonly strides?: readonly [number, number];
  readonly dilations?: readonly [number, number];
  /** Or zeros at the top, the bottom, the left and the right. */
  readonly padding?: 'SAME' | 'VALID' | readonly number[];
  readonly fused?: readonly string[];
  readonly stored?: 'uint8' | 'uint16' | 'float16';
}

/** x -> a convolution -> y, with a bias where one is fused. */
function modelOf({ op, filter, strides = [1, 1], dilations = [1, 1], ...rest }: ConvolutionEntry): GraphEntry {
  const { padding = 'SAME', fused = [], stored } = rest;
  const hasBias = fused[0] === 'BiasAdd';
  const isDepthwise = op.includes('Depthwise');
  const channels = isDepthwise ? filter[2] * filter[3] : filter[3];
  const more = fused.includes('Prelu') ? ['slopes'] : [];
  return {
    nodes: [
      placeholder('x'),
      {
        name: 'y',
        op,
        input: ['x', 'w', ...(hasBias ? ['bias'] : []), ...more],
        attr: {
          strides: sizes(1, ...strides, 1),
          dilations: sizes(1, ...dilations, 1),
          data_format: b64('NHWC'),
          ...(typeof padding === 'string'
            ? { padding: b64(padding) }
            : { padding: b64('EXPLICIT'), explicit_paddings: sizes(0, 0, ...padding, 0, 0) }),
          ...(fused.length && { fused_ops: strings(...fused), num_args: { i: String(1 + more.length) } }),
        },
      },
    ],
    weights: [
      floats('w', [...filter], stored),
      ...(hasBias ? [floats('bias', [channels])] : []),
      ...(more.length ? [floats('slopes', [channels])] : []),
    ],
    outputs: ['y'],
  };
}

/**
 * What a result may be off by: each integer of x by half a step, each sum by its roundings. Of float windows only the roundings.
 *
 * @param largest magnitude of x
 * @param sums of magnitudes of the weights, by channel
 */
function boundsOf(largest: number, sums: readonly number[], K: number, isFloat: boolean): number[] {
  const step = isFloat ? 0 : (1 + 2 ** -6) / 64516;
  return sums.map((sum) => largest * sum * (step + 2 * (K + 4) * 2 ** -24));
}

/** Sums of |w| over all but the last dimension. */
function columnSums(w: ArrayLike<number>, channels: number): number[] {
  const sums = new Array<number>(channels).fill(0);
  for (let i = 0; i < w.length; i++) sums[i % channels]! += Math.abs(w[i]!);
  return sums;
}

/** Of a graph model's convolution with these weights. */
function boundsFor({ op, filter, stored }: ConvolutionEntry, real: Values, x: ArrayLike<number>): number[] {
  const isFloat = op.includes('Depthwise');
  const channels = isFloat ? filter[2] : filter[3];
  const K = real.length / channels;
  // Halves become integers of 16 bits: half a step of the largest of each column.
  const more = stored === 'float16' ? 2 ** -16 * K * largestOf(real) * largestOf(x) : 0;
  return boundsOf(largestOf(x), columnSums(real, channels), K, isFloat).map((bound) => bound + more);
}

function expectWithin(got: ArrayLike<number>, want: ArrayLike<number>, bounds: readonly number[], what: string): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    const bound = bounds[i % bounds.length]! + 2 ** -23 * Math.abs(want[i]!);
    if (!(Math.abs(got[i]! - want[i]!) <= bound) && !Object.is(got[i], want[i]))
      expect.fail(`${what}: element ${i}, expected ${want[i]} within ${bound}, got ${got[i]}.`);
  }
}

const largestOf = (x: ArrayLike<number>): number =>
  Array.from(x).reduce((most, value) => Math.max(most, Math.abs(value)), 0);

const pair = (min: number, max: number) => fc.tuple(fc.integer({ min, max }), fc.integer({ min, max }));

/** tfjs 4.22's wasm backend gives zeros where windows are smaller than their strides: there they are as large at least. */
const windowsOf = (backend: string, most: number): fc.Arbitrary<ConvolutionWindow> =>
  fc
    .record({
      kernel: pair(1, most),
      strides: pair(1, 3),
      dilations: pair(1, 3),
      padding: fc.oneof(
        fc.constantFrom('same' as const, 'valid' as const),
        fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 4, maxLength: 4 }),
      ),
    })
    // tfjs takes strides or dilations, not both.
    .map((window) => (Math.max(...window.strides) > 1 ? { ...window, dilations: [1, 1] as const } : window))
    .filter(({ kernel, strides }) => backend === 'cpu' || kernel.every((size, d) => size >= strides[d]!));

/** Height and width with room for some windows. */
const imageOf = ({ kernel, dilations }: ConvolutionWindow, more: readonly number[]): number[] =>
  kernel.map((size, d) => (size - 1) * dilations[d]! + 1 + more[d]!);

/** int8 [taps · channels, N], and the floats that it stands for. */
function packed(filter: Values, K: number, N: number): { w: QuantizedTensor; real: Values } {
  const { spec, data } = packMatrices(
    transpose(filter, K, N, new Float32Array(filter.length)),
    { batchShape: [], N, K },
    { format: 'int8', blockSize: 32 },
  );
  const w = new QuantizedTensor(tf.tensor1d(data, 'int32'), spec);
  return {
    w,
    real: valuesOf(() => tf.engine().runKernel('MsdDequantize', { w: w.packed }, { spec: spec as never }) as tf.Tensor),
  };
}

describe.each(BACKENDS)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('a product of windows is what tf.conv2d gives, whatever the windows are', async () => {
    const runs = fc.asyncProperty(
      windowsOf(backend, 4),
      pair(0, 9),
      fc.integer({ min: 0, max: 3 }),
      fc.constantFrom(1, 3, 4, 17, 32),
      fc.constantFrom(1, 5, 16, 33),
      fc.boolean(),
      fc.constantFrom('linear' as const, 'relu' as const, 'relu6' as const, 'elu' as const),
      fc.nat(),
      (window, more, batch, C, N, hasBias, activation, seed) =>
        withoutLeaks(() => {
          const x = tensor(seed, [batch, ...imageOf(window, more), C]) as tf.Tensor4D;
          const K = window.kernel[0] * window.kernel[1] * C;
          const { w, real } = packed(gaussian(seed + 1, K * N), K, N);
          const bias = hasBias ? tensor(seed + 2, [N]) : undefined;
          const filter = tf.tensor4d(real, [...window.kernel, C, N]);
          const want = valuesOf(() => {
            const y = tf.conv2d(x, filter, [...window.strides], stockPadding(window) as never, 'NHWC', [
              ...window.dilations,
            ]);
            const sum = bias ? tf.add(y, bias) : y;
            return activation === 'linear' ? sum : tf[activation](sum);
          });
          const got = valuesOf(() => conv2d(x, w, window, { bias, activation }));
          const bounds = boundsOf(largestOf(x.dataSync()), columnSums(real, N), K, false);
          expectWithin(got, want, bounds, JSON.stringify(window));
          w.dispose();
          tf.dispose([x, filter, ...(bias ? [bias] : [])]);
        }),
    );
    await fc.assert(runs, { numRuns: 60 });
  });

  it('sums over windows are what tf.depthwiseConv2d gives, whatever the windows are', async () => {
    const runs = fc.asyncProperty(
      windowsOf(backend, 5),
      pair(0, 9),
      fc.integer({ min: 0, max: 3 }),
      fc.constantFrom(1, 3, 4, 17, 32),
      fc.boolean(),
      fc.constantFrom('linear' as const, 'relu' as const, 'relu6' as const, 'tanh' as const),
      fc.nat(),
      (window, more, batch, C, hasBias, activation, seed) =>
        withoutLeaks(() => {
          const x = tensor(seed, [batch, ...imageOf(window, more), C]) as tf.Tensor4D;
          const filter = tensor(seed + 1, [...window.kernel, C, 1]) as tf.Tensor4D;
          const bias = hasBias ? tensor(seed + 2, [C]) : undefined;
          const want = valuesOf(() => {
            const pad = stockPadding(window) as never;
            const y = tf.depthwiseConv2d(x, filter, [...window.strides], pad, 'NHWC', [...window.dilations]);
            const sum = bias ? tf.add(y, bias) : y;
            return activation === 'linear' ? sum : tf[activation](sum);
          });
          const got = valuesOf(() => depthwiseConv2d(x, filter, window, { bias, activation }));
          const taps = window.kernel[0] * window.kernel[1];
          expectWithin(
            got,
            want,
            boundsOf(largestOf(x.dataSync()), columnSums(filter.dataSync(), C), taps, true),
            JSON.stringify(window),
          );
          tf.dispose([x, filter, ...(bias ? [bias] : [])]);
        }),
    );
    await fc.assert(runs, { numRuns: 60 });
  });

  const forms: Readonly<
    Record<string, ConvolutionEntry & { readonly image: readonly number[]; readonly taken?: string }>
  > = {
    '3x3, today refused as no matrix product': { op: 'Conv2D', filter: [3, 3, 16, 32], image: [1, 8, 9] },
    'strides, valid': { op: 'Conv2D', filter: [3, 2, 32, 48], strides: [2, 1], padding: 'VALID', image: [2, 9, 7] },
    dilations: { op: 'Conv2D', filter: [3, 3, 32, 32], dilations: [2, 3], image: [1, 9, 11] },
    'explicit padding': { op: 'Conv2D', filter: [3, 3, 32, 32], padding: [2, 0, 1, 3], image: [1, 6, 5] },
    'a bias and Relu6': { op: '_FusedConv2D', filter: [5, 5, 8, 32], fused: ['BiasAdd', 'Relu6'], image: [1, 9, 9] },
    'a bias and Prelu': { op: '_FusedConv2D', filter: [3, 3, 32, 32], fused: ['BiasAdd', 'Prelu'], image: [1, 7, 7] },
    'no bias, Elu': { op: '_FusedConv2D', filter: [3, 3, 32, 48], fused: ['NoOp', 'Elu'], image: [1, 7, 7] },
    '1x1 with strides': {
      op: '_FusedConv2D',
      filter: [1, 1, 64, 64],
      strides: [2, 2],
      fused: ['BiasAdd', 'Relu'],
      image: [1, 7, 9],
    },
    uint16: { op: 'Conv2D', filter: [3, 3, 32, 32], stored: 'uint16', image: [1, 7, 7] },
    float16: { op: 'Conv2D', filter: [3, 3, 32, 32], stored: 'float16', image: [1, 7, 7] },
    'no images': { op: '_FusedConv2D', filter: [3, 3, 32, 32], fused: ['BiasAdd', 'Relu'], image: [0, 7, 7] },
    'depthwise 5x5': {
      op: 'DepthwiseConv2dNative',
      filter: [5, 5, 64, 1],
      image: [2, 9, 7],
      taken: 'MsdDepthwiseConv2D',
    },
    'depthwise 3x3, valid, a bias and Relu6': {
      op: 'FusedDepthwiseConv2dNative',
      filter: [3, 3, 128, 1],
      padding: 'VALID',
      fused: ['BiasAdd', 'Relu6'],
      image: [1, 9, 7],
      taken: 'MsdDepthwiseConv2D',
    },
    'depthwise 5x5, dilated, a bias and Prelu': {
      op: 'FusedDepthwiseConv2dNative',
      filter: [5, 5, 64, 1],
      dilations: [2, 2],
      fused: ['BiasAdd', 'Prelu'],
      image: [1, 11, 12],
      taken: 'MsdDepthwiseConv2D',
    },
  };

  it.each(Object.entries(forms))(
    '%s: is taken, as a graph model has it',
    async (_, { image, taken = 'MsdConv2D', ...form }) => {
      // Weights on a grid: the model's integers are the file's, and what is left are the activations.
      const entry = modelOf({ stored: taken === 'MsdConv2D' ? 'uint8' : undefined, ...form } as ConvolutionEntry);
      const [, , C] = form.filter;
      const x = tensor(5, [...image, C]);
      const run = (model: tf.GraphModel) => valuesOf(() => model.execute(x, 'y') as tf.Tensor);
      const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
      const want = run(stock);
      const real = (stock.weights.w as tf.Tensor[])[0]!.dataSync().slice() as Values;
      await withoutLeaks(async () => {
        for (const how of ['loaded', 'accelerated', 'restored']) {
          const model =
            how === 'loaded'
              ? await loadGraphModel(handlerOf(artifactsOf(entry)), { convolutions: true })
              : await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
          const accelerated =
            how === 'loaded' ? undefined : await accelerate(model, { convolutions: true, restorable: true });
          const [node] = reportOf(model)!.nodes;
          expect(node).toMatchObject({ name: 'y', op: form.op, where: 'msd', msdOp: taken });
          expect(node!.predictedGain).toBeGreaterThanOrEqual(1.2);
          if (how === 'restored') {
            await accelerated!.restore();
            expect(run(model)).toEqual(want);
          } else {
            const got = run(model);
            // Of a model that is loaded already, 16-bit weights are floats like others.
            if (how === 'accelerated' && /16/.test(form.stored ?? '')) expect(relativeL2(got, want)).toBeLessThan(0.02);
            else expectWithin(got, want, boundsFor(form, real, x.dataSync()), how);
            expect(run(model)).toEqual(got);
          }
          model.dispose();
        }
      });
      stock.dispose();
      x.dispose();
    },
  );
});

describe('convolutions on wasm', () => {
  beforeAll(() => useBackend('wasm'));

  const report = async (entry: GraphEntry, options: object) => {
    const model = await loadGraphModel(handlerOf(artifactsOf(entry)), options);
    const { nodes } = reportOf(model)!;
    const text = formatReport(reportOf(model)!);
    model.dispose();
    return { nodes: nodes.map(({ name, reason, msdOp }) => [name, reason ?? msdOp]), text };
  };
  const only = "a CNN's convolution: only on request, convolutions: true";

  it.each<[string, ConvolutionEntry, object, string]>([
    ['not asked for', { op: 'Conv2D', filter: [3, 3, 32, 32] }, {}, only],
    ['depthwise, not asked for', { op: 'DepthwiseConv2dNative', filter: [5, 5, 64, 1] }, {}, only],
    [
      'switched off',
      { op: 'Conv2D', filter: [3, 3, 32, 32] },
      { convolutions: false },
      'convolutions are switched off',
    ],
    [
      'the first of an image',
      { op: 'Conv2D', filter: [3, 3, 3, 40] },
      { convolutions: true },
      "predicted to run at 0.9 times the speed of tfjs's wasm backend, less than 1.2",
    ],
    [
      'depthwise, of three channels',
      { op: 'DepthwiseConv2dNative', filter: [3, 3, 3, 1] },
      { convolutions: true },
      "predicted to run at 0.6 times the speed of tfjs's wasm backend, less than 1.2",
    ],
    [
      'several results of each channel',
      { op: 'DepthwiseConv2dNative', filter: [5, 5, 64, 2] },
      { convolutions: true },
      '2 results of each channel',
    ],
  ])('%s: is left alone, with the reason and the bytes', async (_, form, options, reason) => {
    const { nodes, text } = await report(modelOf(form), options);
    expect(nodes).toEqual([['y', reason]]);
    expect(text).toMatch(/tfjs +\w*Conv2\w+ +y +[\d.]+ k?B, /);
  });

  it('bias and activation of their own are taken along', async () => {
    const around = (convolution: NodeEntry): NodeEntry[] => [
      { ...convolution, name: 'c' },
      { name: 'b', op: 'BiasAdd', input: ['c', 'bias'] },
      { name: 'y', op: 'Relu6', input: ['b'] },
    ];
    for (const form of [
      { op: 'Conv2D', filter: [3, 3, 32, 32] },
      { op: 'DepthwiseConv2dNative', filter: [5, 5, 32, 1] },
    ] satisfies ConvolutionEntry[]) {
      const { nodes, weights, outputs } = modelOf(form as unknown as ConvolutionEntry);
      const entry = {
        nodes: [nodes[0]!, ...around(nodes[1]!)],
        weights: [...weights, floats('bias', [32])],
        outputs: outputs!,
      };
      const x = tensor(7, [1, 8, 8, 32]);
      const models = [
        await tf.loadGraphModel(handlerOf(artifactsOf(entry))),
        await loadGraphModel(handlerOf(artifactsOf(entry)), { convolutions: true, minElements: 0 }),
      ];
      expect(reportOf(models[1]!)!.nodes[0]).toMatchObject({ name: 'c', where: 'msd', fused: ['BiasAdd', 'Relu6'] });
      const [want, got] = models.map((model) => valuesOf(() => model.execute(x, 'y') as tf.Tensor));
      expect(relativeL2(got!, want!)).toBeLessThan(0.02);
      for (const model of models) model.dispose();
      x.dispose();
    }
  });

  it('NaN and infinities stay in the windows that they are in', async () => {
    for (const form of [
      { op: '_FusedConv2D', filter: [3, 3, 32, 32], fused: ['BiasAdd', 'Relu6'], stored: 'uint8' },
      { op: 'FusedDepthwiseConv2dNative', filter: [5, 5, 32, 1], fused: ['BiasAdd', 'Relu6'] },
    ] as const) {
      const entry = modelOf(form as unknown as ConvolutionEntry);
      const model = await loadGraphModel(handlerOf(artifactsOf(entry)), { convolutions: true });
      const clean = gaussian(3, 9 * 9 * 32);
      const x = clean.slice();
      x[(4 * 9 + 0) * 32 + 5] = Number.NaN;
      const [want, got] = [clean, x].map((values) =>
        valuesOf(() => model.execute(tf.tensor4d(values, [1, 9, 9, 32]), 'y') as tf.Tensor),
      );
      const reach = (form.filter[0] - 1) / 2;
      for (let i = 0; i < want!.length; i++) {
        const [line, column, channel] = [Math.floor(i / (9 * 32)), Math.floor(i / 32) % 9, i % 32];
        const isReached = Math.abs(line - 4) <= reach && column <= reach;
        const isOther = form.op.includes('Depthwise') && channel !== 5;
        if (isReached && !isOther) expect(got![i], `${form.op} ${i}`).toBeNaN();
        else expect(got![i], `${form.op} ${i}`).toBe(want![i]);
      }
      model.dispose();
    }
  });
});

describe.each(BACKENDS)('layers on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  const images = (): tf.LayersModel =>
    tf.sequential({
      layers: [
        tf.layers.conv2d({
          ...{ filters: 32, kernelSize: 3, inputShape: [13, 11, 16] },
          padding: 'same',
          name: 'same',
        }),
        tf.layers.conv2d({
          ...{ filters: 48, kernelSize: [3, 2], strides: [2, 1] },
          activation: 'relu6',
          name: 'strides',
        }),
        tf.layers.conv2d({ ...{ filters: 32, kernelSize: 3, dilationRate: 2 }, padding: 'same', name: 'dilated' }),
        tf.layers.conv2d({ ...{ filters: 64, kernelSize: 1, strides: 2 }, activation: 'selu', name: 'one' }),
        tf.layers.separableConv2d({
          ...{ filters: 64, kernelSize: 3 },
          activation: 'relu',
          name: 'both',
        }),
        tf.layers.depthwiseConv2d({ kernelSize: 1, name: 'depthwise' }),
      ],
    });
  const series = (): tf.LayersModel =>
    tf.sequential({
      layers: [
        tf.layers.conv1d({ ...{ filters: 32, kernelSize: 5, inputShape: [23, 32] }, padding: 'same', name: 'same' }),
        tf.layers.conv1d({
          ...{ filters: 64, kernelSize: 3, strides: 2 },
          activation: 'relu',
          useBias: false,
          name: 'strides',
        }),
        tf.layers.conv1d({ ...{ filters: 64, kernelSize: 3, dilationRate: 2 }, activation: 'tanh', name: 'dilated' }),
      ],
    });
  const convolutions = true;

  it.each<[string, () => tf.LayersModel, number[], Record<string, string>]>([
    [
      'images',
      images,
      [2, 13, 11, 16],
      {
        same: 'MsdConv2D',
        strides: 'MsdConv2D',
        dilated: 'MsdConv2D',
        one: 'MsdConv2D',
        both: 'MsdSeparableConv2D',
        depthwise: 'MsdDepthwiseConv2D',
      },
    ],
    ['series', series, [2, 23, 32], { same: 'MsdConv1D', strides: 'MsdConv1D', dilated: 'MsdConv1D' }],
  ])('%s: load, accelerate, restore, save', async (_, build, shape, taken) => {
    const stock = build();
    const x = tensor(3, shape);
    const run = (model: tf.LayersModel) => valuesOf(() => model.predict(x) as tf.Tensor);
    const want = run(stock);
    const artifacts = await saved(stock);
    await withoutLeaks(async () => {
      const model = await loadLayersModel(tf.io.fromMemory(artifacts), { convolutions });
      const { nodes } = reportOf(model)!;
      expect(Object.fromEntries(nodes.flatMap(({ name, msdOp }) => (msdOp ? [[name, msdOp]] : [])))).toEqual(taken);
      const got = run(model);
      expect(relativeL2(got, want)).toBeLessThan(0.02);
      const again = await loadLayersModel(tf.io.fromMemory(await saved(model)), { convolutions });
      expect(run(again)).toEqual(got);
      again.dispose();
      model.dispose();
    });
    await withoutLeaks(async () => {
      const { restore } = await accelerate(stock, { convolutions, restorable: true });
      expect(relativeL2(run(stock), want)).toBeLessThan(0.02);
      await restore();
      expect(run(stock)).toEqual(want);
    });
    stock.dispose();
    x.dispose();
  });
});

describe.each(BACKENDS)('depthwise layers on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('stay what they are, and run on the kernel of MSD where it is quicker', async () => {
    const depthwise = (name: string, config: object) => tf.layers.depthwiseConv2d({ kernelSize: 3, name, ...config });
    const stock = tf.sequential({
      layers: [
        depthwise('same', { padding: 'same', activation: 'relu6', inputShape: [9, 8, 32] }),
        depthwise('strides', { strides: 2, activation: 'selu', useBias: false }),
        depthwise('more', { kernelSize: 1, depthMultiplier: 2 }),
      ],
    });
    const x = tensor(3, [2, 9, 8, 32]);
    const run = (model: tf.LayersModel) => valuesOf(() => model.predict(x) as tf.Tensor);
    const want = run(stock);
    const artifacts = await saved(stock);
    const said = (model: tf.LayersModel) =>
      reportOf(model)!.nodes.map(({ name, reason, msdOp }) => [name, reason ?? msdOp]);
    const lines = [
      ['same', 'MsdDepthwiseConv2D'],
      ['strides', 'MsdDepthwiseConv2D'],
      ['more', '2 results of each channel'],
    ];
    await withoutLeaks(async () => {
      const model = await loadLayersModel(tf.io.fromMemory(artifacts), { convolutions: true });
      expect(said(model)).toEqual(lines);
      expect(relativeL2(run(model), want)).toBeLessThan(1e-6);
      expect((await saved(model)).modelTopology).toEqual(artifacts.modelTopology);
      model.dispose();
      const plain = await loadLayersModel(tf.io.fromMemory(artifacts));
      expect(said(plain)[0]).toEqual(['same', "a CNN's convolution: only on request, convolutions: true"]);
      plain.dispose();
      // The handler alone says and does the same, in the hands of stock's loader.
      const handler = await layersModelHandler(tf.io.fromMemory(artifacts), { convolutions: true });
      const handled = await tf.loadLayersModel(handler);
      expect(handler.report!.nodes.map(({ name, reason, msdOp }) => [name, reason ?? msdOp])).toEqual(lines);
      const values = run(handled);
      expect((await saved(handled)).modelTopology).toEqual(artifacts.modelTopology);
      const again = await accelerate(handled, { convolutions: true });
      expect(again.report.nodes).toEqual(handler.report!.nodes);
      expect(run(handled)).toEqual(values);
      await again.restore();
      expect(run(handled)).toEqual(values);
      handled.dispose();
      const first = await accelerate(stock, { convolutions: true });
      expect(first.report.nodes).toEqual(handler.report!.nodes);
      expect(run(stock)).toEqual(values);
      expect(said(stock)).toEqual(lines);
      expect(relativeL2(run(stock), want)).toBeLessThan(1e-6);
      await accelerate(stock, { convolutions: true });
      expect(said(stock)).toEqual(lines);
      await first.restore();
      expect(run(stock)).toEqual(want);
    });
    stock.dispose();
    x.dispose();
  });
});

describe('layers in training', () => {
  beforeAll(() => useBackend('cpu')); // tfjs's wasm backend has no gradients of convolutions

  it('depthwise ones from a file are trained as in stock', async () => {
    const build = () =>
      tf.sequential({
        layers: [
          tf.layers.depthwiseConv2d({ kernelSize: 3, padding: 'same', activation: 'relu', inputShape: [5, 6, 32] }),
          tf.layers.flatten(),
          tf.layers.dense({ units: 1, kernelInitializer: 'ones', trainable: false }),
        ],
      });
    const made = build();
    const artifacts = await saved(made);
    made.dispose();
    const [model, stock] = [
      await loadLayersModel(tf.io.fromMemory(artifacts), { convolutions: true, minElements: 1e6 }),
      await tf.loadLayersModel(tf.io.fromMemory(artifacts)),
    ];
    expect(reportOf(model)!.nodes[0]!.where).toBe('msd');
    const losses: unknown[] = [];
    for (const each of [model, stock]) {
      each.compile({ optimizer: tf.train.sgd(1e-3), loss: 'meanSquaredError' });
      const [x, y] = [tensor(1, [8, 5, 6, 32]), tensor(2, [8, 1])];
      const { history } = await each.fit(x, y, { epochs: 3, shuffle: false, verbose: 0 });
      losses.push(history.loss);
      tf.dispose([x, y]);
    }
    expect(losses[0]).toEqual(losses[1]);
    expect((losses[0] as number[]).at(-1)).toBeLessThan((losses[0] as number[])[0]!);
    model.dispose();
    stock.dispose();
  });

  it('have the gradients of stock with respect to their inputs', async () => {
    const stock = tf.sequential({
      layers: [
        tf.layers.conv2d({ filters: 32, kernelSize: 3, inputShape: [6, 7, 32] }),
        tf.layers.conv2d({ filters: 64, kernelSize: [2, 3], padding: 'same' }),
      ],
    });
    const x = tensor(3, [1, 6, 7, 32]);
    const slope = (model: tf.LayersModel) => valuesOf(() => tf.grad((y) => tf.sum(model.apply(y) as tf.Tensor))(x));
    const want = slope(stock);
    await withoutLeaks(async () => {
      const { restore } = await accelerate(stock, { convolutions: true, restorable: true });
      expect(relativeL2(slope(stock), want)).toBeLessThan(0.02);
      await restore();
    });
    stock.dispose();
    x.dispose();
  });
});

describe('damaged convolutions', () => {
  beforeAll(() => useBackend('wasm'));

  const window = { kernel: [3, 3], strides: [1, 1], dilations: [1, 1], padding: 'same' };
  it.each<[unknown, string]>([
    [undefined, 'window.kernel, expected two positive integers, got undefined.'],
    [{ ...window, kernel: [3] }, 'window.kernel, expected two positive integers, got [3].'],
    [{ ...window, strides: [0, 1] }, 'window.strides, expected two positive integers, got [0,1].'],
    [{ ...window, dilations: [1, 1e9] }, 'window.dilations, expected two positive integers, got [1,1000000000].'],
    [{ ...window, padding: 'full' }, "window.padding, expected 'same', 'valid' or four counts, got \"full\"."],
    [{ ...window, padding: [1, 2, 3] }, "window.padding, expected 'same', 'valid' or four counts, got [1,2,3]."],
    [{ ...window, kernel: [7, 3] }, 'weights, expected a multiple of 21 rows for a window of [7,3], got 288.'],
  ])('%j: a typed error', async (damaged, message) => {
    const good = await loadGraphModel(handlerOf(artifactsOf(modelOf({ op: 'Conv2D', filter: [3, 3, 32, 32] }))), {
      convolutions: true,
    });
    let artifacts: tf.io.ModelArtifacts | undefined;
    await good.save({
      save: async (given) => {
        artifacts = given;
        return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
      },
    });
    good.dispose();
    const topology = structuredClone(artifacts!.modelTopology) as {
      node: { op: string; attr: Record<string, unknown> }[];
    };
    const node = topology.node.find(({ op }) => op === 'MsdConv2D')!;
    if (damaged) node.attr.window = b64(JSON.stringify(damaged));
    else delete node.attr.window;
    const before = tf.memory().numTensors;
    await expect(loadGraphModel(handlerOf({ ...artifacts!, modelTopology: topology as never }))).rejects.toThrow(
      message,
    );
    expect(tf.memory().numTensors).toBe(before);
  });

  it('images that do not fit are typed errors', async () => {
    const model = await loadGraphModel(
      handlerOf(artifactsOf(modelOf({ op: 'Conv2D', filter: [3, 3, 32, 32], padding: 'VALID' }))),
      { convolutions: true },
    );
    const run = (shape: number[]) => tf.tidy(() => model.execute(tf.zeros(shape), 'y') as tf.Tensor);
    expect(() => run([1, 5, 5, 31])).toThrow('conv2d: x, expected [batch, height, width, 32], got [1,5,5,31].');
    expect(() => run([1, 5, 2, 32])).toThrow(
      'conv2d: x, expected at least 3 elements along dimension 2, padding included, got 2 of [1,5,2,32].',
    );
    const { w } = packed(gaussian(1, 288 * 32), 288, 32);
    const ints = tf.zeros([1, 5, 5, 32], 'int32');
    const own: ConvolutionWindow = { kernel: [3, 3], strides: [1, 1], dilations: [1, 1], padding: 'same' };
    expect(() => conv2d(ints, w, own)).toThrow(new TypeError('conv2d: x, expected float32, got int32.'));
    tf.tidy(() => {
      const [x, filter] = [tf.zeros([1, 5, 5, 32]), tf.zeros([3, 3, 32, 1])];
      for (const size of [31, 33]) {
        const bias = tf.zeros([size]);
        const message = `bias, expected float32 [32], got float32 [${size}].`;
        expect(() => conv2d(x, w, own, { bias })).toThrow(new RangeError(`conv2d: ${message}`));
        expect(() => depthwiseConv2d(x, filter, own, { bias })).toThrow(new RangeError(`depthwiseConv2d: ${message}`));
      }
    });
    w.dispose();
    ints.dispose();
    model.dispose();
  });
});
