/** One bad weight is one layer's affair: it stays tfjs's, with the reason in the report, and everything else is accelerated. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accelerate,
  loadGraphModel,
  loadLayersModel,
  type ModelReport,
  quantize,
  quantizeAsync,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import {
  artifactsOf,
  encodeWeight,
  floats,
  type GraphEntry,
  handlerOf,
  ints,
  join,
  placeholder,
  type WeightEntry,
} from './graph.ts';
import { saved } from './layers.ts';
import { BACKENDS, gaussian, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const LARGE = 2 ** 90;
const TAIL = 'where MSD takes numbers below 2^90';
/** What may be in a constant, and what the report says of it. */
const BAD: readonly (readonly [value: number, reason: string])[] = [
  [Number.NaN, 'the weights hold NaN'],
  [Number.POSITIVE_INFINITY, 'the weights hold Infinity'],
  [Number.NEGATIVE_INFINITY, 'the weights hold -Infinity'],
  [-3.4e38, `the weights hold ${(-3.4e38).toPrecision(3)}, ${TAIL}`],
  [LARGE, `the weights hold ${LARGE.toPrecision(3)}, ${TAIL}`],
];

/** Two products and a look-up; `w2` is the second product's. */
const graphWith = (weights: readonly WeightEntry[]): GraphEntry => ({
  nodes: [
    placeholder('ids', 'DT_INT32'),
    { name: 'x', op: 'GatherV2', input: ['table', 'ids', 'axis'] },
    { name: 'y1', op: 'MatMul', input: ['x', 'w1'] },
    { name: 'y2', op: 'MatMul', input: ['y1', 'w2'] },
    { name: 'y3', op: 'MatMul', input: ['x', 'w3'] },
  ],
  weights: [floats('table', [64, 48]), ints('axis', [0], []), ...weights],
  outputs: ['y2', 'y3'],
});

const withOne = (entry: WeightEntry, at: number, value: number): WeightEntry => {
  const values = entry.values.slice();
  values[at] = value;
  return { ...entry, values };
};

const places = ({ nodes }: ModelReport): Record<string, string> =>
  Object.fromEntries(nodes.map(({ name, where, reason }) => [name, reason ?? where]));

const idsOf = () => tf.tensor1d([0, 5, 63], 'int32');
const outputsOf = (model: tf.GraphModel): Float32Array[] =>
  tf.tidy(() =>
    (model.execute({ ids: idsOf() }, ['y2', 'y3']) as tf.Tensor[]).map((y) => y.dataSync().slice()),
  ) as never;

/** The same numbers that are none, and near enough where both are. */
function expectLike(got: readonly Float32Array[], want: readonly Float32Array[], error: number): void {
  for (const [i, values] of want.entries()) {
    const other = got[i]!;
    const [finite, rest] = [true, false].map((is) =>
      [...values.keys()].filter((at) => Number.isFinite(values[at]) === is),
    );
    expect(rest!.map((at) => other[at])).toEqual(rest!.map((at) => values[at]));
    if (finite!.length === 0) continue;
    const pair = [other, values].map((own) => finite!.map((at) => own[at]!)) as [number[], number[]];
    expect(relativeL2(...pair)).toBeLessThan(error);
  }
}

describe.each(BACKENDS)('a graph model on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(BAD)('with %d in one matrix', async (value, reason) => {
    const weights = [floats('w1', [48, 32]), withOne(floats('w2', [32, 40]), 41, value), floats('w3', [48, 32])];
    const entry = graphWith(weights);
    const want = { table: 'msd', y1: 'msd', y2: reason, y3: 'msd' };
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const expected = outputsOf(stock);
    await withoutLeaks(async () => {
      const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
      const { x: table, ...others } = places(reportOf(model)!);
      expect({ table, ...others }).toEqual(want);
      expectLike(outputsOf(model), expected, 0.02);
      model.dispose();
    });
    const { report } = await accelerate(stock);
    const { x: table, ...others } = places(report);
    expect({ table, ...others }).toEqual(want);
    expectLike(outputsOf(stock), expected, 0.02);
    stock.dispose();
  });

  it('with an infinite half float in a matrix, and in a table, which is kept as it is', async () => {
    const half = (name: string, shape: number[]) => withOne(floats(name, shape), 41, 0);
    const entry = graphWith([
      { ...half('w1', [48, 32]), stored: 'float16' },
      floats('w2', [32, 40]),
      floats('w3', [48, 32]),
    ]);
    const table = { ...half('table', [64, 48]), stored: 'float16' as const };
    const artifacts = artifactsOf({ ...entry, weights: [table, ...entry.weights.slice(1)] });
    const codes = new Uint16Array(artifacts.weightData as ArrayBuffer, 0, 64 * 48);
    codes[41] = 0xfc00;
    const matrixAt = 2 * 64 * 48 + 4;
    new Uint16Array(artifacts.weightData as ArrayBuffer, matrixAt, 48 * 32)[41] = 0x7e00;
    const stock = await tf.loadGraphModel(handlerOf(artifacts));
    const model = await loadGraphModel(handlerOf(artifacts));
    expect(places(reportOf(model)!)).toEqual({ x: 'msd', y1: 'the weights hold NaN', y2: 'msd', y3: 'msd' });
    const rowsOf = (own: tf.GraphModel) =>
      tf.tidy(() => (own.execute({ ids: idsOf() }, 'x') as tf.Tensor).dataSync().slice());
    expect([...rowsOf(model)]).toEqual([...rowsOf(stock)]);
    stock.dispose();
    model.dispose();
  });

  it.each([
    ['uint8', 1e30, 0, 'the weights hold'],
    ['uint8', 1e38, -4e38, 'the weights hold -Infinity'],
    ['uint16', 2 ** 83, 0, 'a scale of'],
  ] as const)('with a %s manifest of scale %d and minimum %d', async (dtype, scale, min, reason) => {
    const Codes = dtype === 'uint8' ? Uint8Array : Uint16Array;
    const codes = new Codes(48 * 32).map((_, i) => i % 2);
    const entry = graphWith([floats('w2', [32, 40]), floats('w3', [48, 32])]);
    const w1 = { name: 'w1', shape: [48, 32], codes, quantization: { dtype, scale, min } };
    const model = await loadGraphModel(handlerOf(artifactsOf({ ...entry, weights: [w1, ...entry.weights] })));
    const { y1, ...others } = places(reportOf(model)!);
    expect(others).toEqual({ x: 'msd', y2: 'msd', y3: 'msd' });
    expect(y1).toContain(reason);
    model.dispose();
  });

  it('with a causal mask of 0 and -Infinity, looked up and added to the scores of an attention', async () => {
    const T = 40;
    const mask = Float32Array.from({ length: T * T }, (_, i) => (i % T > Math.floor(i / T) ? -Infinity : 0));
    const adjY = { adj_y: { b: true } };
    const entry: GraphEntry = {
      nodes: [
        placeholder('q'),
        placeholder('rows', 'DT_INT32'),
        { name: 'm', op: 'GatherV2', input: ['mask', 'rows', 'axis'] },
        { name: 'p', op: 'BatchMatMulV2', input: ['q', 'w'] },
        { name: 's', op: 'BatchMatMulV2', input: ['p', 'q'], attr: adjY },
        { name: 'added', op: 'AddV2', input: ['s', 'm'] },
        { name: 'soft', op: 'Softmax', input: ['added'] },
        { name: 'y', op: 'BatchMatMulV2', input: ['soft', 'q'] },
      ],
      weights: [{ name: 'mask', shape: [T, T], values: mask }, floats('w', [32, 32]), ints('axis', [0], [])],
      outputs: ['y'],
    };
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const model = await loadGraphModel(handlerOf(artifactsOf(entry)), { minElements: 0 });
    expect(places(reportOf(model)!)).toMatchObject({ m: 'the weights hold -Infinity', p: 'msd', s: 'msd' });
    const run = (own: tf.GraphModel) =>
      tf.tidy(() =>
        (own.execute({ q: tensor(3, [1, T, 32]), rows: tf.range(0, T, 1, 'int32') }) as tf.Tensor).dataSync().slice(),
      );
    expectLike([run(model) as Float32Array], [run(stock) as Float32Array], 0.02);
    stock.dispose();
    model.dispose();
  });

  it.each([
    ['filled with -Infinity', 'SelectV2', Number.NEGATIVE_INFINITY, 'the scores are replaced by -Infinity'],
    ['multiplied by NaN', 'Mul', Number.NaN, 'the scores are multiplied by NaN'],
    ['divided by 0', 'RealDiv', 0, 'the scores are multiplied by Infinity'],
  ])('with scores that are %s', async (_, op, value, reason) => {
    const input = op === 'SelectV2' ? ['where', 's', 'by'] : ['s', 'by'];
    const entry: GraphEntry = {
      nodes: [
        placeholder('q'),
        ...(op === 'SelectV2' ? [placeholder('where', 'DT_BOOL')] : []),
        { name: 's', op: 'BatchMatMulV2', input: ['q', 'q'], attr: { adj_y: { b: true } } },
        { name: 'scaled', op, input },
        { name: 'soft', op: 'Softmax', input: ['scaled'] },
        { name: 'y', op: 'BatchMatMulV2', input: ['soft', 'q'] },
      ],
      weights: [{ name: 'by', shape: [], values: Float32Array.of(value) }],
      outputs: ['y'],
    };
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
    expect(places(reportOf(model)!).s).toBe(reason);
    const run = (own: tf.GraphModel) =>
      tf.tidy(() => {
        const where = tf.tensor([1, 0, 1, 0, 0, 0, 1, 1, 1], [1, 3, 3], 'bool');
        const inputs = { q: tensor(3, [1, 3, 32]), ...(op === 'SelectV2' && { where }) };
        return (own.execute(inputs) as tf.Tensor).dataSync().slice();
      });
    expect([...run(model)]).toEqual([...run(stock)]);
    stock.dispose();
    model.dispose();
  });
});

describe.each(BACKENDS)('a layers model on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(BAD)('with %d in a kernel and in a table', async (value, reason) => {
    const input = tf.input({ shape: [4], dtype: 'int32' });
    const layers = [
      tf.layers.embedding({ inputDim: 64, outputDim: 32, name: 'words' }),
      tf.layers.embedding({ inputDim: 64, outputDim: 32, name: 'bad_words' }),
      tf.layers.dense({ units: 40, name: 'good' }),
      tf.layers.dense({ units: 40, name: 'bad' }),
    ];
    const [words, badWords, good, bad] = layers as object[] as [
      tf.layers.Layer,
      tf.layers.Layer,
      tf.layers.Layer,
      tf.layers.Layer,
    ];
    const y = [good.apply(words.apply(input)), bad.apply(badWords.apply(input))] as tf.SymbolicTensor[];
    const model = tf.model({ inputs: input, outputs: y });
    for (const layer of [badWords, bad]) {
      const [first, ...rest] = layer.getWeights();
      const values = first!.dataSync().slice();
      values[37] = value;
      tf.tidy(() => layer.setWeights([tf.tensor(values, first!.shape), ...rest]));
    }
    const want = { words: 'msd', bad_words: reason, good: 'msd', bad: reason };
    const run = (own: tf.LayersModel) =>
      tf.tidy(() =>
        (own.predict(tf.tensor2d([1, 5, 63, 0], [1, 4], 'int32')) as tf.Tensor[]).map((one) => one.dataSync().slice()),
      ) as never as Float32Array[];
    const expected = run(model);
    const loaded = await loadLayersModel(handlerOf(await saved(model)));
    expect(places(reportOf(loaded)!)).toEqual(want);
    expectLike(run(loaded), expected, 0.02);
    const { report, restore } = await accelerate(model, { restorable: true });
    expect(places(report)).toEqual(want);
    expectLike(run(model), expected, 0.02);
    await restore();
    expect(run(model)).toEqual(expected);
    loaded.dispose();
    model.dispose();
  });
});

/** What a manifest may say, and what is left of it in JSON. */
const LEVELS: readonly (readonly [dtype: 'uint8' | 'uint16', scale: number | null, min: number | null])[] = [
  ['uint8', Number.NaN, 0],
  ['uint8', 0.01, Number.NaN],
  ['uint16', Number.POSITIVE_INFINITY, 0],
  ['uint16', 0.001, Number.NEGATIVE_INFINITY],
  ['uint8', Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY],
  ['uint8', null, 0.25],
  ['uint16', 0.001, null],
];

describe.each(BACKENDS)('manifests whose scale or minimum is no number on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  const coded = (name: string, shape: number[], [dtype, scale, min]: (typeof LEVELS)[number]) => {
    const Codes = dtype === 'uint8' ? Uint8Array : Uint16Array;
    const codes = new Codes(shape.reduce((a, b) => a * b, 1)).map((_, i) => (37 * i) % 251);
    return { name, shape, codes, quantization: { dtype, scale, min } as never };
  };
  const reasonOf = ([, scale, min]: (typeof LEVELS)[number]) =>
    scale === null || min === null ? 'msd' : `the manifest has a scale of ${scale} and a minimum of ${min}`;

  it.each(LEVELS)('a graph model with %s, %d, %d, of a matrix, a table, a bias', async (...level) => {
    const entry: GraphEntry = {
      nodes: [
        placeholder('ids', 'DT_INT32'),
        { name: 'x', op: 'GatherV2', input: ['table', 'ids', 'axis'] },
        { name: 'b', op: 'GatherV2', input: ['bad', 'ids', 'axis'] },
        { name: 'y1', op: 'MatMul', input: ['x', 'w1'] },
        { name: 'y2', op: 'MatMul', input: ['y1', 'w2'] },
        { name: 'y3', op: 'MatMul', input: ['x', 'w3'] },
        { name: 'y4', op: 'BiasAdd', input: ['y3', 'bias'] },
      ],
      weights: [
        floats('table', [64, 48], 'uint8'),
        coded('bad', [64, 48], level),
        ints('axis', [0], []),
        floats('w1', [48, 32], 'uint16'),
        coded('w2', [32, 40], level),
        floats('w3', [48, 32]),
        coded('bias', [32], level),
      ],
      outputs: ['y1', 'y2', 'b', 'y4'],
    };
    const run = (model: tf.GraphModel) =>
      tf.tidy(() =>
        (model.execute({ ids: idsOf() }, ['y1', 'y2', 'b', 'y4']) as tf.Tensor[]).map((y) => y.dataSync().slice()),
      ) as never as Float32Array[];
    const reason = reasonOf(level);
    const want = { x: 'msd', b: reason, y1: 'msd', y2: reason, y3: 'msd' };
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const expected = run(stock);
    await withoutLeaks(async () => {
      const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
      expect(places(reportOf(model)!)).toMatchObject(want);
      expectLike(run(model), expected, 0.02);
      model.dispose();
    });
    const { report, restore } = await accelerate(stock, { restorable: true });
    // Tensors know nothing of a manifest that nobody can follow: they hold what it came to.
    const hold = expect.stringMatching(/^the manifest has a scale|^the weights hold (NaN|-?Infinity)$/);
    expect(places(report)).toMatchObject(reason === 'msd' ? want : { ...want, b: hold, y2: hold });
    expectLike(run(stock), expected, 0.02);
    await restore();
    expect(run(stock)).toEqual(expected);
    stock.dispose();
  });

  it.each(LEVELS)('a layers model with %s, %d, %d, of a kernel, a table, a cell, a bias', async (...level) => {
    const input = tf.input({ shape: [4], dtype: 'int32' });
    const fast = { recurrentInitializer: 'glorotNormal' } as const;
    const kernelInitializer = tf.initializers.glorotNormal({ seed: 2 });
    const make = [
      // Above 0: sums of them are no small differences.
      tf.layers.embedding({
        inputDim: 64,
        outputDim: 32,
        name: 'words',
        embeddingsInitializer: tf.initializers.randomUniform({ minval: 0.1, maxval: 1, seed: 1 }),
      }),
      tf.layers.dense({ units: 40, name: 'good', biasInitializer: 'ones', kernelInitializer }),
      tf.layers.embedding({ inputDim: 64, outputDim: 32, name: 'bad_words' }),
      tf.layers.dense({ units: 40, name: 'bad' }),
      tf.layers.gru({ units: 32, name: 'cell', ...fast }),
      tf.layers.dense({ units: 40, name: 'biased', kernelInitializer }),
    ] as tf.layers.Layer[];
    const apply = (layer: tf.layers.Layer, x: tf.SymbolicTensor) => layer.apply(x) as tf.SymbolicTensor;
    const words = apply(make[0]!, input);
    const outputs = [make[1]!, make[3]!, make[4]!, make[5]!].map((layer) => apply(layer, words));
    const model = tf.model({ inputs: input, outputs: [...outputs, apply(make[2]!, input)] });
    const plain = await saved(model);
    model.dispose();
    const bad = new Set(['bad_words/embeddings', 'bad/kernel', 'cell/recurrent_kernel', 'biased/bias']);
    const names = plain.weightSpecs!.map(({ name }) => name);
    expect([...bad].every((name) => names.includes(name))).toBe(true);
    const data = new Uint8Array(plain.weightData as ArrayBuffer);
    let at = 0;
    const entries = plain.weightSpecs!.map((spec) => {
      const byteLength = 4 * spec.shape.reduce((a, b) => a * b, 1);
      const own = { spec, bytes: data.slice(at, at + byteLength) };
      at += byteLength;
      return bad.has(spec.name) ? encodeWeight(coded(spec.name, spec.shape, level)) : own;
    });
    const artifacts = {
      ...plain,
      weightSpecs: entries.map(({ spec }) => spec),
      weightData: join(entries.map(({ bytes }) => bytes)),
    };
    const run = (own: tf.LayersModel) =>
      tf.tidy(() =>
        (own.predict(tf.tensor2d([1, 5, 63, 0], [1, 4], 'int32')) as tf.Tensor[]).map((one) => one.dataSync().slice()),
      ) as never as Float32Array[];
    const reason = reasonOf(level);
    const want = { words: 'msd', good: 'msd', bad_words: reason, bad: reason, cell: reason, biased: 'msd' };
    const stock = await tf.loadLayersModel(handlerOf(artifacts));
    const expected = run(stock);
    const loaded = await loadLayersModel(handlerOf(artifacts));
    expect(places(reportOf(loaded)!)).toMatchObject(want);
    expectLike(run(loaded), expected, 0.02);
    const { report } = await accelerate(stock);
    const hold = expect.stringMatching(/^the weights hold (NaN|-?Infinity)$/);
    expect(places(report)).toMatchObject(reason === 'msd' ? want : { ...want, bad_words: hold, bad: hold, cell: hold });
    expectLike(run(stock), expected, 0.02);
    loaded.dispose();
    stock.dispose();
  });
});

describe('quantize', () => {
  beforeAll(() => useBackend('cpu'));

  it.each(BAD.slice(0, 3))('names the place of %d', async (value) => {
    await withoutLeaks(async () => {
      const values = gaussian(1, 2 * 40 * 24);
      values[40 * 24 + 3 * 24 + 7] = value;
      const w = tf.tensor(values, [2, 40, 24]);
      const message = `quantize: tensor[1,3,7], expected finite weights, got ${value}. Leave this one a float tensor.`;
      expect(() => quantize(w)).toThrow(message);
      expect(() => quantize(w, { transpose: true })).toThrow(message);
      await expect(quantizeAsync(w, { format: 'int4' })).rejects.toThrow(message);
      const table = tf.reshape(w, [80, 24]);
      expect(() => quantize(table, { use: 'gather' })).toThrow('tensor[43,7]');
      w.dispose();
      table.dispose();
    });
  });
});
