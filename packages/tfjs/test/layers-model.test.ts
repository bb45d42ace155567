import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, loadLayersModel, register, reportOf, unregister } from '../src/index.ts';
import { encodeWeight, join, type WeightEntry } from './graph.ts';
import { saved } from './layers.ts';
import { BACKENDS, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

/** Two Dense on sequences, a nested model, an activation that is not fused, and one that is too small. */
function build(): tf.LayersModel {
  const inner = tf.sequential({
    name: 'inner',
    layers: [tf.layers.dense({ units: 40, activation: 'gelu' as never, inputShape: [6, 64], name: 'third' })],
  });
  const input = tf.input({ shape: [6, 32] });
  let x = tf.layers.dense({ units: 48, activation: 'relu', name: 'first' }).apply(input) as tf.SymbolicTensor;
  x = tf.layers.dense({ units: 64, useBias: false, name: 'second' }).apply(x) as tf.SymbolicTensor;
  x = inner.apply(x) as tf.SymbolicTensor;
  x = tf.layers.globalAveragePooling1d({}).apply(x) as tf.SymbolicTensor;
  const y = tf.layers.dense({ units: 3, activation: 'softmax', name: 'last' }).apply(x) as tf.SymbolicTensor;
  const model = tf.model({ inputs: input, outputs: y });
  tf.tidy(() => {
    const sizes = model.getWeights().map(({ shape }) => shape);
    model.setWeights(sizes.map((shape, seed) => tf.div(tensor(seed + 1, shape), 6)));
  });
  return model;
}

/** Every class that MSD takes, and Dense in a wrapper. */
function buildOther(): tf.LayersModel {
  const input = tf.input({ shape: [8], dtype: 'int32' });
  const layers = [
    tf.layers.embedding({ inputDim: 200, outputDim: 32, name: 'words' }),
    tf.layers.timeDistributed({
      layer: tf.layers.dense({ units: 48, activation: 'relu', name: 'inner' }),
      name: 'each',
    }),
    tf.layers.conv1d({ filters: 64, kernelSize: 1, activation: 'swish' as never, name: 'narrow' }),
    tf.layers.reshape({ targetShape: [2, 4, 64] }),
    tf.layers.conv2d({ filters: 40, kernelSize: [1, 1], padding: 'same', useBias: false, name: 'wide' }),
    tf.layers.flatten({}),
    tf.layers.dense({ units: 2, name: 'head' }),
  ];
  const y = layers.reduce<tf.SymbolicTensor>((x, layer) => layer.apply(x) as tf.SymbolicTensor, input);
  const model = tf.model({ inputs: input, outputs: y });
  tf.tidy(() => model.setWeights(model.getWeights().map(({ shape }, seed) => tf.div(tensor(seed + 1, shape), 6))));
  return model;
}

const IDS = [1, 7, 199, 0, 0, 42, 100, 3, 5, 6, 7, 8, 9, 10, 11, 12];
const values = (run: () => tf.Tensor) => tf.tidy(() => run().dataSync().slice()) as Float32Array;
const predictIds = (model: tf.LayersModel) =>
  values(() => model.predict(tf.tensor2d(IDS, [2, 8], 'int32')) as tf.Tensor);

/** The same model with a manifest as the converter quantizes it. */
function stored(artifacts: tf.io.ModelArtifacts, form: NonNullable<WeightEntry['stored']>): tf.io.ModelArtifacts {
  const tensors = tf.io.decodeWeights(artifacts.weightData as ArrayBuffer, artifacts.weightSpecs!);
  const weights = Object.entries(tensors).map(([name, own]) =>
    encodeWeight({ name, shape: own.shape, values: own.dataSync() as Float32Array, stored: form }),
  );
  tf.dispose(tensors);
  return {
    ...artifacts,
    weightSpecs: weights.map(({ spec }) => spec),
    weightData: join(weights.map(({ bytes }) => bytes)),
  };
}

const lines = (report: { nodes: readonly { name: string; op: string; reason?: string; msdOp?: string }[] }) =>
  report.nodes.map(({ name, op, reason, msdOp }) => [name, op, msdOp ?? reason]);

const predict = (model: tf.LayersModel) =>
  tf.tidy(() => (model.predict(tensor(9, [2, 6, 32])) as tf.Tensor).dataSync().slice() as Float32Array);

describe.each(BACKENDS)('layers models on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('load with packed Dense layers of every rank and activation, run twice, save and load again', async () => {
    const stock = build();
    const want = predict(stock);
    const artifacts = await saved(stock);
    stock.dispose();
    await withoutLeaks(async () => {
      const model = await loadLayersModel(tf.io.fromMemory(artifacts));
      const { nodes, weightBytes, stockBytes } = reportOf(model)!;
      expect(nodes.map(({ name, where }) => [name, where])).toEqual([
        ['first', 'msd'],
        ['second', 'msd'],
        ['third', 'msd'],
        ['last', 'tfjs'],
      ]);
      expect(weightBytes / stockBytes).toBeLessThan(0.36);
      const got = predict(model);
      expect(relativeL2(got, want)).toBeLessThan(0.01);
      expect(predict(model)).toEqual(got);
      const again = await tf.loadLayersModel(tf.io.fromMemory(await saved(model)));
      expect(predict(again)).toEqual(got);
      again.dispose();
      model.dispose();
    });
  });

  it('accelerate in place, save, and restore exactly', async () => {
    await withoutLeaks(async () => {
      const model = build();
      const bytes = tf.memory().numBytes;
      const want = predict(model);
      const { report, restore } = await accelerate(model, { restorable: true });
      expect(report.nodes.filter(({ where }) => where === 'msd')).toHaveLength(3);
      expect(tf.memory().numBytes).toBeLessThan(bytes);
      const got = predict(model);
      expect(relativeL2(got, want)).toBeLessThan(0.01);
      const again = await tf.loadLayersModel(tf.io.fromMemory(await saved(model)));
      expect(predict(again)).toEqual(got);
      again.dispose();
      await restore();
      await restore();
      expect(predict(model)).toEqual(want);
      expect(tf.memory().numBytes).toBe(bytes);
      model.dispose();
    });
  });

  it('load with embeddings, 1x1 convolutions and wrapped layers, save and load again', async () => {
    const stock = buildOther();
    const want = predictIds(stock);
    const artifacts = await saved(stock);
    stock.dispose();
    await withoutLeaks(async () => {
      const model = await loadLayersModel(tf.io.fromMemory(artifacts));
      const report = reportOf(model)!;
      expect(lines(report)).toEqual([
        ['words', 'Embedding', 'MsdEmbedding'],
        ['each/inner', 'Dense', 'MsdDense'],
        ['narrow', 'Conv1D', 'MsdConv1D'],
        ['wide', 'Conv2D', 'MsdConv2D'],
        ['head', 'Dense', 'fewer than 1024 weights'],
      ]);
      expect(report.weightBytes / report.stockBytes).toBeLessThan(0.35);
      const got = predictIds(model);
      expect(relativeL2(got, want)).toBeLessThan(0.02);
      expect(predictIds(model)).toEqual(got);
      const again = await tf.loadLayersModel(tf.io.fromMemory(await saved(model)));
      expect(predictIds(again)).toEqual(got);
      const noRow = tf.tensor2d(Array(8).fill(200), [1, 8], 'int32');
      expect(() => again.predict(noRow)).toThrow(/indices\[0\], expected 0 … 199, got 200/);
      tf.dispose(noRow);
      again.dispose();
      model.dispose();
    });
  });

  it('accelerate and restore embeddings, 1x1 convolutions and wrapped layers', async () => {
    await withoutLeaks(async () => {
      const free = tf.memory().numBytes;
      const model = buildOther();
      const bytes = tf.memory().numBytes;
      const want = predictIds(model);
      const { report, restore } = await accelerate(model, { restorable: true });
      expect(report.nodes.filter(({ where }) => where === 'msd')).toHaveLength(4);
      expect((tf.memory().numBytes - free) / (bytes - free)).toBeLessThan(0.35);
      const got = predictIds(model);
      expect(relativeL2(got, want)).toBeLessThan(0.02);
      const again = await tf.loadLayersModel(tf.io.fromMemory(await saved(model)));
      expect(predictIds(again)).toEqual(got);
      again.dispose();
      await restore();
      expect(predictIds(model)).toEqual(want);
      expect(tf.memory().numBytes).toBe(bytes);
      model.dispose();
    });
  });

  it.each(['uint8', 'uint16', 'float16'] as const)(
    'keep a manifest of %s: rows exact, products nearly',
    async (form) => {
      const stock = buildOther();
      const artifacts = stored(await saved(stock), form);
      stock.dispose();
      await withoutLeaks(async () => {
        const [want, got] = [
          await tf.loadLayersModel(tf.io.fromMemory(artifacts)),
          await loadLayersModel(tf.io.fromMemory(artifacts)),
        ];
        const { nodes, weightBytes, stockBytes } = reportOf(got)!;
        for (const { weights } of nodes.slice(0, 4))
          expect(weights!.how).toMatch(form === 'float16' ? /stored/ : /^stored integers kept$/);
        expect(weightBytes / stockBytes).toBeLessThan(form === 'uint8' ? 0.35 : 0.61);
        const [rows, same] = [want, got].map((model) =>
          values(() => model.getLayer('words').apply(tf.tensor2d(IDS, [2, 8], 'int32')) as tf.Tensor),
        );
        expect(same).toEqual(rows);
        expect(relativeL2(predictIds(got), predictIds(want))).toBeLessThan(2e-4);
        want.dispose();
        got.dispose();
      });
    },
  );

  it("take a CNN's 1x1 convolutions on request only, with scales per block", async () => {
    const build = () =>
      tf.sequential({
        layers: [
          tf.layers.conv2d({ filters: 32, kernelSize: 3, inputShape: [6, 6, 3], name: 'spatial' }),
          tf.layers.conv2d({ filters: 64, kernelSize: 1, activation: 'relu6', name: 'pointwise' }),
          tf.layers.conv2d({ filters: 64, kernelSize: 1, strides: 2, name: 'strided' }),
        ],
      });
    const stock = build();
    const x = tensor(3, [1, 6, 6, 3]);
    const want = values(() => stock.predict(x) as tf.Tensor);
    const artifacts = await saved(stock);
    stock.dispose();
    const reasons: Record<string, string> = {
      auto: "a CNN's convolution: only on request, convolutions: true",
      false: 'convolutions are switched off',
    };
    await withoutLeaks(async () => {
      for (const convolutions of ['auto', false, true] as const) {
        const model = await loadLayersModel(tf.io.fromMemory(artifacts), { convolutions });
        expect(lines(reportOf(model)!)).toEqual([
          ['spatial', 'Conv2D', 'fewer than 1024 weights'],
          ['pointwise', 'Conv2D', reasons[String(convolutions)] ?? 'MsdConv2D'],
          ['strided', 'Conv2D', reasons[String(convolutions)] ?? 'MsdConv2D'],
        ]);
        const got = values(() => model.predict(x) as tf.Tensor);
        if (convolutions === true) {
          const { weights } = reportOf(model)!.nodes[1]!;
          expect(weights).toMatchObject({ spec: { blockSize: 32 }, how: 'quantized' });
          expect(relativeL2(got, want)).toBeLessThan(0.02);
        } else expect(got).toEqual(want);
        model.dispose();
      }
    });
    x.dispose();
  });

  it('leave what must not change, and say why', async () => {
    class Twice extends (tf.layers.dense({ units: 1, name: 'any' }).constructor as new (
      config: object,
    ) => tf.layers.Layer) {
      override call(inputs: tf.Tensor, kwargs: never) {
        return tf.tidy(() => tf.mul(super.call(inputs, kwargs) as tf.Tensor, 2));
      }
    }
    const dense = (name: string) => tf.layers.dense({ units: 32, name });
    const [own, patched, one, other] = [
      new Twice({ units: 32, name: 'own' }),
      dense('patched'),
      dense('one'),
      dense('other'),
    ];
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ units: 32, inputShape: [32], name: 'taken' }),
        own,
        patched,
        one,
        other,
        tf.layers.reshape({ targetShape: [8, 2, 2] }),
        tf.layers.conv2d({ filters: 256, kernelSize: 1, dataFormat: 'channelsFirst', name: 'first' }),
      ],
    });
    const { call } = patched;
    patched.call = (inputs, kwargs) => call.call(patched, inputs, kwargs);
    const [mine, shared] = [one, other] as unknown as { kernel: { dispose(): void }; _trainableWeights: object[] }[];
    shared!.kernel.dispose();
    shared!._trainableWeights[0] = shared!.kernel = mine!.kernel;
    const before = tf.memory();
    const { report } = await accelerate(model);
    expect(lines(report)).toEqual([
      ['taken', 'Dense', 'MsdDense'],
      ['own', 'Dense', 'a class of its own behind the name Dense'],
      ['patched', 'Dense', 'its call has been replaced'],
      ['one', 'Dense', 'shares its kernel with another layer'],
      ['other', 'Dense', 'shares its kernel with another layer'],
      ['first', 'Conv2D', 'data format channelsFirst'],
    ]);
    expect(tf.memory()).toMatchObject({ numTensors: before.numTensors, numBytes: before.numBytes - 3 * 1024 + 4 * 32 });
  });

  it('say what they cannot do', async () => {
    const model = build();
    await withoutLeaks(() => expect(accelerate(model, { blockSize: 48 })).rejects.toThrow(/blockSize of int8/));
    const { restore } = await accelerate(model);
    await expect(restore()).rejects.toThrow(/restorable: true/);
    model.dispose();
    await expect(accelerate(model)).rejects.toThrow(/disposed/);
    const small = build();
    await accelerate(small, { format: 'int4' });
    const artifacts = await saved(small);
    small.dispose();
    type Changeable = { config: { layers: { class_name: string; config: { packed?: unknown } }[] } };
    for (const [packed, message] of [
      [undefined, /packed, expected/],
      [
        { kind: 'matrix', inputs: 32, outputs: 480, format: 'int4', block: 32 },
        /first: packed tensor of int4 \[32,480\], expected 2400 int32 elements, got 240/,
      ],
      [{ kind: 'matrix', inputs: 32, outputs: 48, format: 'int5' }, /format/],
    ] as const) {
      const changed = structuredClone(artifacts.modelTopology) as Changeable;
      changed.config.layers.find(({ class_name }) => class_name === 'MsdDense')!.config.packed = packed;
      await withoutLeaks(() =>
        expect(loadLayersModel(tf.io.fromMemory({ ...artifacts, modelTopology: changed }))).rejects.toThrow(message),
      );
    }
    for (const topology of [undefined, {}, { class_name: 'Model' }])
      await expect(loadLayersModel({ load: async () => ({ modelTopology: topology }) } as never)).rejects.toThrow(
        /modelTopology, expected/,
      );
  });
});

describe('training', () => {
  beforeAll(() => useBackend('cpu'));

  it('goes on in layers that were not taken, and is not disturbed', async () => {
    const model = buildOther();
    const head = model.getLayer('head');
    model.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
    const [x, y] = [tf.tensor2d(IDS, [2, 8], 'int32'), tf.ones([2, 2])];
    const reasons = new Set<string | undefined>();
    await model.fit(x, y, {
      epochs: 1,
      verbose: 0,
      callbacks: {
        onBatchEnd: async () => {
          const { report } = await accelerate(model);
          for (const { reason } of report.nodes) reasons.add(reason);
        },
      },
    });
    expect([...reasons]).toEqual(['the model is being trained']);

    await accelerate(model);
    for (const layer of model.layers) layer.trainable = layer === head;
    model.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
    const before = head.getWeights()[0]!.dataSync().slice();
    const history = await model.fit(x, y, { epochs: 5, verbose: 0 });
    const losses = history.history.loss as number[];
    expect(losses.at(-1)!).toBeLessThan(losses[0]!);
    expect(head.getWeights()[0]!.dataSync()).not.toEqual(before);
    model.dispose();
    tf.dispose([x, y]);
  });
});
