/** LSTM, GRU and SimpleRNN on packed kernels: as layers, in wrappers, as cells. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accelerate,
  loadLayersModel,
  type ModelOptions,
  type NodeReport,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import { encodeWeight, join, type WeightEntry } from './graph.ts';
import { saved } from './layers.ts';
import { type Cell, rowsOf, simulate } from './recurrent-reference.ts';
import { BACKENDS, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const KINDS = ['lstm', 'gru', 'simpleRNN'] as const;
type Kind = (typeof KINDS)[number];

/** Small enough for errors to fade from position to position: so does their bound. */
const seeded = (model: tf.LayersModel): tf.LayersModel => {
  tf.tidy(() => model.setWeights(model.getWeights().map(({ shape }, seed) => tf.div(tensor(seed + 1, shape), 10))));
  return model;
};
const read = (run: () => tf.Tensor | tf.Tensor[]): Float32Array[] => {
  const made = tf.tidy(run);
  const values = [made].flat().map((y) => y.dataSync().slice() as Float32Array);
  tf.dispose(made);
  return values;
};
const predict = (model: tf.LayersModel, x: tf.Tensor | tf.Tensor[]) =>
  read(() => model.predict(x) as tf.Tensor | tf.Tensor[]);

/** The default initializer decomposes matrices for minutes. */
const fast = { recurrentInitializer: 'glorotNormal' } as const;
const make = (kind: Kind, config: object): tf.layers.Layer => tf.layers[kind]({ ...fast, ...config } as never);

/** The cell of a model's only recurrent layer, with the real weights that its integers stand for. */
function cellOf(model: tf.LayersModel, kind: Kind, rest: Partial<Cell> = {}): Cell {
  const valuesOf = (leaf: string) => {
    const weight = model.weights.find(({ originalName }) => originalName.endsWith(`/${leaf}`));
    return weight?.read().dataSync().slice() as Float32Array | undefined;
  };
  const [kernel, recurrentKernel, bias] = ['kernel', 'recurrent_kernel', 'bias'].map(valuesOf);
  const gates = { lstm: 4, gru: 3, simpleRNN: 1 }[kind];
  const units = Math.sqrt(recurrentKernel!.length / gates);
  return { kind, kernel: kernel!, recurrentKernel: recurrentKernel!, bias, units, ...rest };
}

/** @returns got and the float64 values that it is more than the bound away from: none */
function beyond(got: Float32Array, want: readonly { value: Float64Array; error: Float64Array }[]): unknown[] {
  const [value, error] = (['value', 'error'] as const).map((name) => want.flatMap((one) => Array.from(one[name])));
  expect(got.length).toBe(value!.length);
  return Array.from(got, (y, i) => ({ i, y, want: value![i]!, bound: error![i]! })).filter(
    ({ y, want: w, bound }) => !(Math.abs(y - w) <= bound),
  );
}

const loadedFrom = async (model: tf.LayersModel, options?: ModelOptions) =>
  loadLayersModel(tf.io.fromMemory(await saved(model)), options);

/** A manifest as the converter quantizes it. */
function stored(artifacts: tf.io.ModelArtifacts, form: NonNullable<WeightEntry['stored']>): tf.io.ModelArtifacts {
  const tensors = tf.io.decodeWeights(artifacts.weightData as ArrayBuffer, artifacts.weightSpecs!);
  const weights = Object.entries(tensors).map(([name, own]) =>
    encodeWeight({ name, shape: own.shape, values: own.dataSync() as Float32Array, stored: form }),
  );
  tf.dispose(tensors);
  const [weightSpecs, weightData] = [weights.map(({ spec }) => spec), join(weights.map(({ bytes }) => bytes))];
  return { ...artifacts, weightSpecs, weightData };
}

const [BATCH, POSITIONS, K, UNITS] = [3, 7, 19, 34];

describe.each(BACKENDS)('recurrent layers on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(KINDS)('%s', (kind) => {
    const build = (config: Readonly<Record<string, unknown>>, before: tf.layers.Layer[] = []): tf.LayersModel => {
      const { batchInputShape = [null, POSITIONS, K], ...rest } = config;
      const input = tf.input({ batchShape: batchInputShape as number[] });
      const x = before.reduce((at, layer) => layer.apply(at) as tf.SymbolicTensor, input);
      const y = make(kind, { units: UNITS, name: 'own', ...rest }).apply(x) as tf.SymbolicTensor[];
      return seeded(tf.model({ inputs: input, outputs: y }));
    };

    it.each([
      ['plain', {}, {}],
      ['backwards', { goBackwards: true }, { isReversed: true }],
      ['without a bias', { useBias: false }, {}],
      [
        'as Keras exports it',
        { recurrentActivation: 'sigmoid', implementation: 1 },
        { recurrentActivation: 'sigmoid' },
      ],
      ['of a relu', { activation: 'relu', implementation: 2 }, { activation: 'relu' }],
      [
        'of others',
        { activation: 'softsign', recurrentActivation: 'relu6' },
        { activation: 'softsign', recurrentActivation: 'relu6' },
      ],
      [
        'linear',
        { activation: 'linear', recurrentActivation: 'linear' },
        { activation: 'linear', recurrentActivation: 'linear' },
      ],
      ['with dropout, which is none here', { dropout: 0.3, recurrentDropout: 0.2 }, {}],
    ])(
      '%s: within the bound of its real weights, in every form that it is asked for',
      async (_, config, { isReversed, ...cell }: Partial<Cell> & { isReversed?: boolean }) => {
        const stock = build({ ...config, returnSequences: true, returnState: true });
        const last = build(config);
        const x = tensor(5, [BATCH, POSITIONS, K]);
        await withoutLeaks(async () => {
          const [model, short] = [await loadedFrom(stock), await loadedFrom(last)];
          expect(reportOf(model)!.nodes).toMatchObject([{ name: 'own', where: 'msd', more: [{}] }]);
          const [sequence, h, c] = predict(model, x) as [Float32Array, Float32Array, Float32Array?];
          const own = cellOf(model, kind, cell);
          const rows = x.dataSync() as Float32Array;
          for (let b = 0; b < BATCH; b++) {
            const size = POSITIONS * K;
            const want = simulate(own, {
              x: rowsOf(rows.subarray(b * size, (b + 1) * size), K),
              ...(isReversed && { isReversed }),
            });
            const part = (y: Float32Array, width: number) => y.subarray(b * width, (b + 1) * width);
            expect(beyond(part(sequence, POSITIONS * UNITS), want.outputs)).toEqual([]);
            expect(beyond(part(h, UNITS), [want.h])).toEqual([]);
            if (c) expect(beyond(part(c, UNITS), [want.c])).toEqual([]);
          }
          expect(predict(short, x)).toEqual([h]);
          model.dispose();
          short.dispose();
        });
        tf.dispose([x, stock.weights.map((weight) => weight.read()), last.weights.map((weight) => weight.read())]);
      },
    );

    it('keeps its state where a mask says so', async () => {
      const config = { returnSequences: true, returnState: true };
      const stock = build(config, [tf.layers.masking({ maskValue: 0 })]);
      const masks = [
        [1, 1, 0, 1, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 0],
      ];
      const x = tf.tidy(() => tf.mul(tensor(5, [BATCH, POSITIONS, K]), tf.expandDims(tf.tensor2d(masks), -1)));
      const model = await loadedFrom(stock);
      const [sequence, h] = predict(model, x) as [Float32Array, Float32Array];
      const own = cellOf(model, kind);
      const rows = x.dataSync() as Float32Array;
      for (const [b, mask] of masks.entries()) {
        const size = POSITIONS * K;
        const sides = { x: rowsOf(rows.subarray(b * size, (b + 1) * size), K), mask: mask.map(Boolean) };
        const want = simulate(own, sides);
        const part = (y: Float32Array, width: number) => y.subarray(b * width, (b + 1) * width);
        expect(beyond(part(sequence, POSITIONS * UNITS), want.outputs)).toEqual([]);
        expect(beyond(part(h, UNITS), [want.h])).toEqual([]);
      }
      expect(relativeL2(sequence, predict(stock, x)[0]!)).toBeLessThan(0.03);
      model.dispose();
    });

    it.each([false, true])(
      'reads of a mask for more positions the first, as tfjs-layers, backwards %s',
      async (goBackwards) => {
        // tfjs-layers hands a mask on, also behind a layer that ends it: each encoder and decoder around a RepeatVector.
        const encoder = [
          tf.layers.masking({ maskValue: 0 }),
          make('gru', { units: 20 }),
          tf.layers.repeatVector({ n: 4 }),
        ];
        const stock = build({ goBackwards }, encoder);
        const mask = tf.tensor3d([1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1], [2, POSITIONS, 1]);
        const x = tf.tidy(() => tf.mul(tensor(5, [2, POSITIONS, K]), mask));
        const model = await loadedFrom(stock, { minElements: 1 });
        expect(reportOf(model)!.nodes.filter(({ where }) => where === 'msd')).toHaveLength(2);
        expect(relativeL2(predict(model, x)[0]!, predict(stock, x)[0]!)).toBeLessThan(0.03);
        model.dispose();
        tf.dispose([x, mask]);
      },
    );

    it('begins with the states that it gets, saved and loaded', async () => {
      const input = tf.input({ shape: [POSITIONS, K] });
      const states = Array.from({ length: kind === 'lstm' ? 2 : 1 }, () => tf.input({ shape: [UNITS] }));
      const y = make(kind, { units: UNITS, name: 'own' }).apply(input, { initialState: states } as never);
      const stock = seeded(tf.model({ inputs: [input, ...states], outputs: y as tf.SymbolicTensor }));
      const given = [tensor(5, [1, POSITIONS, K]), ...states.map((_, i) => tensor(8 + i, [1, UNITS]))];
      await withoutLeaks(async () => {
        const model = await loadedFrom(stock);
        const [h] = predict(model, given) as [Float32Array];
        const [rows, ...from] = given.map((one) => one.dataSync() as Float32Array);
        const want = simulate(cellOf(model, kind), { x: rowsOf(rows!, K), states: from });
        expect(beyond(h, [want.h])).toEqual([]);
        model.dispose();
      });
    });

    it('keeps its state between calls if it is stateful, until it is reset', async () => {
      const stock = build({ stateful: true, batchInputShape: [1, POSITIONS, K] });
      const model = await loadedFrom(stock);
      const x = tensor(5, [1, POSITIONS, K]);
      const own = cellOf(model, kind);
      const rows = rowsOf(x.dataSync() as Float32Array, K);
      const first = predict(model, x)[0]!;
      expect(beyond(first, [simulate(own, { x: rows }).h])).toEqual([]);
      const { numTensors } = tf.memory();
      expect(beyond(predict(model, x)[0]!, [simulate(own, { x: [...rows, ...rows] }).h])).toEqual([]);
      expect(tf.memory().numTensors).toBe(numTensors);
      model.resetStates();
      expect(predict(model, x)[0]).toEqual(first);
    });

    it('is the same when it is accelerated, saved by MSD, and loaded by tfjs; restore gives back the very weights', async () => {
      const model = build({ returnSequences: true });
      const x = tensor(5, [BATCH, POSITIONS, K]);
      const want = predict(model, x);
      const variables = [...model.weights];
      const loaded = await loadedFrom(model);
      const got = predict(loaded, x);
      const again = await tf.loadLayersModel(tf.io.fromMemory(await saved(loaded)));
      expect(predict(again, x)).toEqual(got);
      await withoutLeaks(async () => {
        const { report, restore } = await accelerate(model, { restorable: true });
        expect({ ...reportOf(loaded), peakBytes: undefined }).toEqual(report); // a file arrives in pieces
        expect(predict(model, x)).toEqual(got);
        const other = await loadLayersModel(tf.io.fromMemory(await saved(model)));
        expect(predict(other, x)).toEqual(got);
        other.dispose();
        await restore();
        await restore();
        expect(predict(model, x)).toEqual(want);
        expect(model.weights).toEqual(variables);
      });
      expect(relativeL2(got[0]!, want[0]!)).toBeLessThan(0.03);
    });

    it.each(['uint8', 'uint16', 'float16'] as const)('keeps a manifest of %s', async (form) => {
      const artifacts = stored(await saved(build({ returnSequences: true })), form);
      const [stock, model] = [
        await tf.loadLayersModel(tf.io.fromMemory(artifacts)),
        await loadLayersModel(tf.io.fromMemory(artifacts)),
      ];
      const [{ weights, more }] = reportOf(model)!.nodes as [NodeReport];
      for (const { how } of [weights!, ...more!])
        expect(how).toMatch(form === 'float16' ? /stored/ : /^stored integers kept$/);
      const x = tensor(5, [1, POSITIONS, K]);
      expect(relativeL2(predict(model, x)[0]!, predict(stock, x)[0]!)).toBeLessThan(2e-4);
    });

    it('takes any format, and goes over sequences longer than a strip', async () => {
      const stock = seeded(
        tf.sequential({ layers: [make(kind, { units: UNITS, inputShape: [null, K], name: 'own' })] }),
      );
      const x = tensor(5, [2, 300, K]);
      const model = await loadedFrom(stock, { format: 'int4' });
      const [got] = predict(model, x) as [Float32Array];
      const rows = rowsOf((x.dataSync() as Float32Array).subarray(300 * K), K);
      // Far back it does not matter: positions forget. The last ones do.
      for (const isReversed of [false]) {
        const want = simulate(cellOf(model, kind), { x: rows, isReversed });
        expect(relativeL2(got.subarray(UNITS), want.h.value)).toBeLessThan(1e-3);
      }
      expect(predict(model, tf.zeros([2, 1, K]))[0]!.length).toBe(2 * UNITS);
    });

    it('spelt in operations of tfjs: rows of a softmax, gradients, dropout in training', async () => {
      const x = tensor(5, [2, POSITIONS, K]);
      const soft = build({ activation: 'softmax', recurrentActivation: 'sigmoid' });
      const model = await loadedFrom(soft);
      expect(relativeL2(predict(model, x)[0]!, predict(soft, x)[0]!)).toBeLessThan(0.03);
      const plain = build({ dropout: 0.5, recurrentDropout: 0.5 });
      const own = await loadedFrom(plain);
      const slope = (of: tf.LayersModel) =>
        read(() => tf.grad((at: tf.Tensor) => tf.sum(of.apply(at) as tf.Tensor))(x))[0]!;
      expect(relativeL2(slope(own), slope(plain))).toBeLessThan(0.05);
      const before = predict(own, x)[0]!;
      const trained = read(() => own.apply(x, { training: true }) as tf.Tensor)[0]!;
      expect(relativeL2(trained, before)).toBeGreaterThan(0.05);
      expect(predict(own, x)[0]).toEqual(before);
    });

    it('leaves a base frozen and trains the head that follows it', async () => {
      const base = await loadedFrom(build({}));
      const head = tf.layers.dense({ units: 1, name: 'head' });
      const model = tf.sequential({ layers: [...base.layers, head] });
      const [x, y] = [tensor(5, [8, POSITIONS, K]), tf.ones([8, 1])];
      model.compile({ optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError' });
      await expect(model.fit(x, y, { verbose: 0 })).rejects.toThrow(
        /own\/kernel, own\/recurrent_kernel, expected float/,
      );
      for (const layer of base.layers) layer.trainable = false;
      model.compile({ optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError' });
      const { history } = await model.fit(x, y, { epochs: 4, verbose: 0, batchSize: 8 });
      const losses = history.loss as number[];
      expect(losses.at(-1)!).toBeLessThan(losses[0]!);
    });

    it.each(['concat', 'sum', 'mul', 'ave', null] as const)('in a Bidirectional, %s', async (mergeMode) => {
      const wrapped = seeded(
        tf.sequential({
          layers: [
            tf.layers.bidirectional({
              layer: make(kind, { units: UNITS, returnSequences: mergeMode !== null, name: 'own' }) as never,
              mergeMode: (mergeMode ?? 'concat') as never,
              inputShape: [POSITIONS, K],
              name: 'both',
            }),
          ],
        }),
      );
      const x = tensor(5, [2, POSITIONS, K]);
      const want = predict(wrapped, x)[0]!;
      const model = await loadedFrom(wrapped);
      expect(reportOf(model)!.nodes).toMatchObject([{ name: 'both/own', where: 'msd', more: [{}, {}, {}] }]);
      const [got] = predict(model, x);
      expect(relativeL2(got!, want)).toBeLessThan(0.05);
      const again = await tf.loadLayersModel(tf.io.fromMemory(await saved(model)));
      expect(predict(again, x)).toEqual([got]);
      const { restore } = await accelerate(wrapped, { restorable: true });
      expect(predict(wrapped, x)).toEqual([got]);
      const other = await tf.loadLayersModel(tf.io.fromMemory(await saved(wrapped)));
      expect(predict(other, x)).toEqual([got]);
      await restore();
      expect(predict(wrapped, x)).toEqual([want]);
    });

    it('in a Bidirectional of a uint8 manifest, whose two ways have other zero points', async () => {
      const wrapped = seeded(
        tf.sequential({
          layers: [
            tf.layers.bidirectional({
              layer: make(kind, { units: UNITS, name: 'own', goBackwards: true }) as never,
              inputShape: [POSITIONS, K],
              name: 'both',
            } as never),
          ],
        }),
      );
      const artifacts = stored(await saved(wrapped), 'uint8');
      const x = tensor(5, [2, POSITIONS, K]);
      const [stock, model] = [
        await tf.loadLayersModel(tf.io.fromMemory(artifacts)),
        await loadLayersModel(tf.io.fromMemory(artifacts)),
      ];
      const [got] = predict(model, x);
      expect(relativeL2(got!, predict(stock, x)[0]!)).toBeLessThan(2e-4);
      const again = await tf.loadLayersModel(tf.io.fromMemory(await saved(model)));
      expect(predict(again, x)).toEqual([got]);
    });

    it("in a stack with tfjs's own initializer, which wants to be told a type", async () => {
      await withoutLeaks(async () => {
        const cells = [tf.layers[`${kind}Cell` as 'lstmCell']({ units: 9 }), tf.layers.lstmCell({ units: 8 })];
        const rnn = tf.layers.rnn({ cell: cells as never, inputShape: [POSITIONS, K] });
        const model = tf.sequential({ layers: [rnn] });
        const x = tensor(21, [BATCH, POSITIONS, K]);
        const loaded = await loadedFrom(model, { minElements: 1 });
        expect(relativeL2(predict(loaded, x)[0]!, predict(model, x)[0]!)).toBeLessThan(0.05);
        tf.dispose(x);
        model.dispose();
        loaded.dispose();
      });
    });

    it('as cells of an RNN, alone and in a stack, and in a TimeDistributed', async () => {
      const cell = () => tf.layers[`${kind}Cell` as 'lstmCell']({ units: UNITS, ...fast } as never);
      const stock = seeded(
        tf.sequential({
          layers: [
            tf.layers.rnn({ cell: cell(), returnSequences: true, inputShape: [POSITIONS, K], name: 'one' } as never),
            tf.layers.rnn({
              cell: tf.layers.stackedRNNCells({ cells: [cell(), cell()] as never }),
              returnSequences: true,
              name: 'two',
            } as never),
            tf.layers.reshape({ targetShape: [1, POSITIONS, UNITS] }),
            tf.layers.timeDistributed({ layer: make(kind, { units: UNITS, name: 'inner' }), name: 'each' }),
          ],
        }),
      );
      const x = tensor(5, [2, POSITIONS, K]);
      const want = predict(stock, x)[0]!;
      const model = await loadedFrom(stock);
      expect(reportOf(model)!.nodes.map(({ name, where }) => [name, where])).toEqual([
        ['one', 'msd'],
        ['two', 'msd'],
        ['each/inner', 'msd'],
      ]);
      const [got] = predict(model, x);
      expect(relativeL2(got!, want)).toBeLessThan(0.1);
      const again = await tf.loadLayersModel(tf.io.fromMemory(await saved(model)));
      expect(predict(again, x)).toEqual([got]);
      const { report, restore } = await accelerate(stock, { restorable: true });
      expect({ ...reportOf(model), peakBytes: undefined }).toEqual(report);
      expect(predict(stock, x)).toEqual([got]);
      await restore();
      expect(predict(stock, x)).toEqual([want]);
    });
  });
});

describe('recurrent layers that stay as they are', () => {
  beforeAll(() => useBackend('cpu'));

  const lstm = (name: string, config: object = {}) =>
    tf.layers.lstm({ units: UNITS, returnSequences: true, name, ...fast, ...config } as never);
  const reasons = (nodes: readonly NodeReport[]) => nodes.map(({ name, where, reason }) => [name, where, reason]);

  it('say why: a class of its own, another call, small ones, shared ones, NaN, a wrapper of its own', async () => {
    class Own extends (lstm('any').constructor as new (config: object) => tf.layers.Layer) {}
    const [patched, one, other, bad] = ['patched', 'one', 'other', 'bad'].map((name) => lstm(name));
    const model = tf.sequential({
      layers: [
        lstm('taken', { inputShape: [POSITIONS, UNITS] }),
        new Own({ units: UNITS, returnSequences: true, name: 'own', ...fast }),
        patched!,
        one!,
        other!,
        bad!,
        tf.layers.simpleRNN({ units: 2, name: 'small', ...fast }),
      ],
    });
    type Cell = { cell: { kernel: tf.LayerVariable; _trainableWeights: tf.LayerVariable[] } };
    const { call } = patched!;
    patched!.call = (inputs, kwargs) => call.call(patched, inputs, kwargs);
    const [mine, shared] = [one, other] as unknown as Cell[];
    shared!.cell._trainableWeights[0] = shared!.cell.kernel = mine!.cell.kernel;
    tf.tidy(() => {
      const [kernel, ...rest] = bad!.getWeights();
      bad!.setWeights([tf.fill(kernel!.shape, Number.NaN), ...rest]);
    });
    const { nodes } = (await accelerate(model)).report;
    expect(reasons(nodes)).toEqual([
      ['taken', 'msd', undefined],
      ['own', 'tfjs', 'a class of its own behind the name LSTM'],
      ['patched', 'tfjs', 'its call has been replaced'],
      ['one', 'tfjs', 'shares its kernels with another layer'],
      ['other', 'tfjs', 'shares its kernels with another layer'],
      ['bad', 'tfjs', expect.stringContaining('NaN')],
      ['small', 'tfjs', 'fewer than 1024 weights'],
    ]);
    for (const { where, bytes } of nodes) expect(bytes === undefined).toBe(where === 'msd');
  });

  it('trainable ones with keepTrainable, in files and in memory', async () => {
    const build = () => tf.sequential({ layers: [lstm('own', { inputShape: [POSITIONS, UNITS] })] });
    const model = build();
    const loaded = await loadedFrom(model, { keepTrainable: true });
    for (const { nodes } of [reportOf(loaded)!, (await accelerate(model, { keepTrainable: true })).report])
      expect(reasons(nodes)).toEqual([['own', 'tfjs', 'trainable, and keepTrainable is set']]);
  });

  it('files whose specs are not what they hold are refused, and leave nothing behind', async () => {
    const model = await loadedFrom(tf.sequential({ layers: [lstm('own', { inputShape: [POSITIONS, UNITS] })] }));
    const artifacts = await saved(model);
    model.dispose();
    type Topology = { config: { layers: { config: { packed?: unknown } }[] } };
    type Packed = { ahead: { kernel: object } };
    const { kernel: spec } = ((artifacts.modelTopology as Topology).config.layers.at(-1)!.config.packed as Packed)
      .ahead;
    for (const [packed, message] of [
      [undefined, /MsdLSTM own: packed, expected the spec of the weights, got/],
      [{ ahead: { kernel: spec } }, /MsdLSTM own: packed, expected the spec of the weights, got/],
      [{ ahead: { kernel: spec, recurrent: { ...spec, inputs: 7 } } }, /expected \d+ int32 elements, got \d+/],
      [{ ahead: { kernel: spec, recurrent: { kind: 'table', codes: 'int8', rows: 3, columns: 4 } } }, /two matrices/],
    ] as const) {
      const changed = structuredClone(artifacts.modelTopology) as Topology;
      changed.config.layers.at(-1)!.config.packed = packed;
      await withoutLeaks(() =>
        expect(loadLayersModel(tf.io.fromMemory({ ...artifacts, modelTopology: changed as never }))).rejects.toThrow(
          message,
        ),
      );
    }
    const [, ...others] = artifacts.weightSpecs!;
    const bytes = 4 * artifacts.weightSpecs![0]!.shape[0]!;
    const without = {
      ...artifacts,
      weightSpecs: others,
      weightData: (artifacts.weightData as ArrayBuffer).slice(bytes),
    };
    await withoutLeaks(() =>
      expect(loadLayersModel(tf.io.fromMemory(without))).rejects.toThrow(
        /kernel, expected plain int32 weights, got none/,
      ),
    );
  });

  it('a cell says what it expects', async () => {
    const cell = tf.layers.gruCell({ units: UNITS, ...fast });
    const model = tf.sequential({ layers: [tf.layers.rnn({ cell, inputShape: [POSITIONS, UNITS] } as never)] });
    await accelerate(model);
    expect(() => cell.call([tf.zeros([1, UNITS])], {})).toThrow(
      /GRUCell: inputs, expected x and 1 states, got 1 tensors/,
    );
  });
});
