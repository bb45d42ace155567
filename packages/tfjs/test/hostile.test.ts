/**
 * Files that want harm, and damaged ones: a typed error or a model, never a crash, a hang, or a tensor left behind. And the gradient of
 * a product whose operand is repeated along a batch.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  loadGraphModel,
  loadLayersModel,
  ModelFormatError,
  matMul,
  quantize,
  register,
  unregister,
} from '../src/index.ts';
import { artifactsOf, floats, handlerOf, ints, placeholder } from './graph.ts';
import { saved } from './layers.ts';
import { functional } from './recurrent-graphs.ts';
import { savedBy } from './saving.ts';
import { BACKENDS, random, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

type Artifacts = tf.io.ModelArtifacts;

const graph = (weight = 'kernel'): Artifacts =>
  artifactsOf({
    nodes: [
      placeholder('x', 'DT_INT32'),
      { name: 'e', op: 'GatherV2', input: ['table', 'x', 'axis'] },
      { name: 'm', op: 'MatMul', input: ['e', weight] },
      { name: 'r', op: 'Reshape', input: ['m', 'shape'] },
      { name: 'y', op: 'BiasAdd', input: ['r', 'bias'] },
    ],
    weights: [
      floats('table', [60, 70], 'uint8' as const),
      floats(weight, [70, 32], 'uint16' as const),
      floats('bias', [32], 'float16' as const),
      ints('axis', [0], []),
      ints('shape', [-1, 32]),
    ],
    outputs: ['y'],
  });

const dense = (): tf.LayersModel =>
  tf.sequential({
    layers: [tf.layers.dense({ units: 32, inputShape: [64] }), tf.layers.dense({ units: 3, activation: 'softmax' })],
  });

/** Layers in layers, and every kind of weight. */
function nested(): tf.LayersModel {
  const inner = tf.sequential({ name: 'inner', layers: [tf.layers.dense({ units: 40, inputShape: [8, 32] })] });
  const input = tf.input({ shape: [8], dtype: 'int32' });
  const layers = [
    tf.layers.embedding({ inputDim: 50, outputDim: 32 }),
    inner,
    tf.layers.timeDistributed({ layer: tf.layers.dense({ units: 32, activation: 'relu' }) }),
    tf.layers.batchNormalization(),
    tf.layers.conv1d({ filters: 32, kernelSize: 1 }),
    tf.layers.bidirectional({ layer: tf.layers.lstm({ units: 4 }) as tf.RNN, mergeMode: 'concat' }),
    tf.layers.dense({ units: 2 }),
  ];
  const y = layers.reduce<tf.SymbolicTensor>((x, layer) => layer.apply(x) as tf.SymbolicTensor, input);
  return tf.model({ inputs: input, outputs: y });
}

async function artifactsFrom(make: () => tf.LayersModel, config?: tf.io.SaveConfig): Promise<Artifacts> {
  const model = make();
  const artifacts = await saved(model, config);
  model.dispose();
  return artifacts;
}

const topology = (artifacts: Artifacts) => artifacts.modelTopology as { node: { name: unknown }[]; versions?: unknown };

describe.each(BACKENDS)('hostile files on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each<[string, () => Artifacts, RegExp]>([
    [
      'a name that is a number',
      () => {
        const artifacts = graph();
        artifacts.weightSpecs![1]!.name = 7 as never;
        return artifacts;
      },
      /^weights: name, expected a string, got 7\.$/,
    ],
    [
      'no versions',
      () => {
        const artifacts = graph();
        delete topology(artifacts).versions;
        return artifacts;
      },
      /^model: modelTopology\.versions, expected an object, got null\.$/,
    ],
    ['a weight named __proto__', () => graph('__proto__'), /name, expected another than __proto__\.$/],
    [
      'a node named __proto__',
      () => {
        const artifacts = graph();
        topology(artifacts).node[6]!.name = '__proto__';
        return artifacts;
      },
      /^modelTopology\.node: name, expected another than __proto__\.$/,
    ],
    [
      'a node whose name is a number',
      () => {
        const artifacts = graph();
        topology(artifacts).node[6]!.name = 7;
        return artifacts;
      },
      /expected nodes with name and op/,
    ],
    [
      'a function whose nodes are null',
      () => {
        const artifacts = artifactsOf(functional({ kind: 'lstm', positions: 2, K: 16, units: 16 }));
        const { library } = artifacts.modelTopology as unknown as { library: { function: { nodeDef: unknown }[] } };
        library.function[0]!.nodeDef = null;
        return artifacts;
      },
      /^model: function .*, expected an array of nodes, got null\. Is it a graph model\?$/,
    ],
  ])('are refused in words, and nothing stays: a graph with %s', async (_, make, message) => {
    await withoutLeaks(async () => {
      const loading = loadGraphModel(handlerOf(make()));
      await expect(loading).rejects.toThrow(ModelFormatError);
      await expect(loading).rejects.toThrow(message);
    });
  });

  it.each<[string, (artifacts: Artifacts) => void]>([
    ['a name that is a number', ({ weightSpecs }) => (weightSpecs![1]!.name = 7 as never)],
    ['a weight named __proto__', ({ weightSpecs }) => (weightSpecs![1]!.name = '__proto__')],
    ['a weight of no layer', ({ weightSpecs }) => (weightSpecs![1]!.name = 'nobody/bias')],
    ['a weight named constructor', ({ weightSpecs }) => (weightSpecs![3]!.name = 'constructor')],
    ['a layer that does not exist', ({ modelTopology }) => renameClass(modelTopology, 'Nothing')],
    ['an activation that does not exist', ({ modelTopology }) => changeConfig(modelTopology, 'activation', 'nothing')],
    ['units that are text', ({ modelTopology }) => changeConfig(modelTopology, 'units', 'many')],
    ['another bias', ({ weightSpecs }) => (weightSpecs![1]!.shape = [8, 4])],
    ['an optimizer that does not exist', (artifacts) => (artifacts.trainingConfig = { optimizer_config: 1 } as never)],
  ])('leave nothing behind where they are refused: layers with %s', async (_, damage) => {
    const artifacts = await artifactsFrom(dense);
    damage(artifacts);
    await withoutLeaks(async () => {
      await expect(loadLayersModel(handlerOf(artifacts))).rejects.toThrow();
    });
  });

  it('leave it to tfjs to say that a stack of cells is none', async () => {
    const artifacts = await artifactsFrom(() =>
      tf.sequential({
        layers: [
          tf.layers.rnn({
            cell: tf.layers.stackedRNNCells({ cells: [tf.layers.gruCell({ units: 16 })] as never }),
            inputShape: [3, 16],
          } as never),
        ],
      }),
    );
    const { config } = artifacts.modelTopology as unknown as { config: { layers: { config: { cell: Layer } }[] } };
    config.layers[0]!.config.cell.config.cells = 7;
    await withoutLeaks(async () => {
      await expect(loadLayersModel(handlerOf(artifacts))).rejects.toThrow();
      await expect(loadLayersModel(handlerOf(artifacts))).rejects.not.toThrow(/flatMap/);
    });
  });

  it('stop where stock would go on for ever: layers that read what is not there, or each other', async () => {
    const artifacts = await artifactsFrom(nested);
    const layers = (artifacts.modelTopology as unknown as { config: { layers: Layer[] } }).config.layers;
    await withoutLeaks(async () => {
      for (const [at, name, index] of [
        [3, 'nobody', 0],
        [3, layers[5]!.config.name, 0],
        [4, layers[3]!.config.name, 1],
      ] as const) {
        const damaged = structuredClone(artifacts);
        const changed = (damaged.modelTopology as unknown as { config: { layers: Layer[] } }).config.layers[at]!;
        changed.inbound_nodes[0]![0]!.splice(0, 2, name, index);
        await expect(loadLayersModel(handlerOf(damaged))).rejects.toThrow(ModelFormatError);
        await expect(loadLayersModel(handlerOf(damaged))).rejects.toThrow(/expected to read layers of the model/);
      }
    });
  });

  it('leave models alone that are loaded or built at the same time', async () => {
    const bad = await artifactsFrom(dense);
    bad.weightSpecs![1]!.name = 'nobody/bias';
    const good = await artifactsFrom(dense);
    await withoutLeaks(async () => {
      const built: tf.LayersModel[] = [];
      const builder = (async () => {
        for (let i = 0; i < 12; i++) {
          built.push(dense());
          await undefined;
        }
      })();
      const [first, , third, , fifth] = await Promise.allSettled([
        loadLayersModel(handlerOf(good)),
        loadLayersModel(handlerOf(bad)),
        tf.loadLayersModel(handlerOf(good)),
        loadLayersModel(handlerOf(bad)),
        loadLayersModel(handlerOf(good)),
        builder,
      ]);
      const models = [first, third, fifth].map((one) => (one as PromiseFulfilledResult<tf.LayersModel>).value);
      const answers = [...models, ...built].map((model) =>
        tf.tidy(() => Array.from((model.predict(tensor(1, [1, 64])) as tf.Tensor).dataSync())),
      );
      expect(answers[2]).toEqual(answers[0]);
      expect(answers.flat().every(Number.isFinite)).toBe(true);
      for (const model of [...models, ...built]) model.dispose();
    });
  });
});

interface Layer {
  class_name: string;
  config: Record<string, unknown>;
  inbound_nodes: unknown[][][];
}

const firstLayer = (modelTopology: Artifacts['modelTopology']): Layer =>
  (modelTopology as unknown as { config: { layers: Layer[] } }).config.layers[0]!;

function renameClass(modelTopology: Artifacts['modelTopology'], name: string): void {
  firstLayer(modelTopology).class_name = name;
}

function changeConfig(modelTopology: Artifacts['modelTopology'], name: string, value: unknown): void {
  firstLayer(modelTopology).config[name] = value;
}

/** Structures to damage: every stored form, MSD's own ops and layers, layers in layers, the state of an optimizer. */
async function corpus(): Promise<{ artifacts: Artifacts; load: typeof loadLayersModel | typeof loadGraphModel }[]> {
  const graphModel = await loadGraphModel(handlerOf(graph()));
  const ownGraph = await savedBy(graphModel);
  graphModel.dispose();
  const plain = await artifactsFrom(nested);
  const layersModel = await loadLayersModel(handlerOf(await artifactsFrom(nested)));
  const ownLayers = await savedBy(layersModel);
  layersModel.dispose();
  const trained = () => {
    const model = dense();
    model.compile({ optimizer: 'adam', loss: 'meanSquaredError' });
    return model;
  };
  const withOptimizer = await artifactsFrom(trained, { includeOptimizer: true });
  return [
    { artifacts: graph(), load: loadGraphModel },
    { artifacts: ownGraph, load: loadGraphModel },
    { artifacts: plain, load: loadLayersModel },
    { artifacts: ownLayers, load: loadLayersModel },
    { artifacts: withOptimizer, load: loadLayersModel },
    ...(await recurrentCorpus()),
  ];
}

/** Cells in layers, in both ways, in stacks; and in a loop of a graph, before and after MSD. */
async function recurrentCorpus(): ReturnType<typeof corpus> {
  const fast = { recurrentInitializer: 'glorotNormal' } as const;
  const build = () => {
    const cells = [1, 2].map(() => tf.layers.gruCell({ units: 16, ...fast })) as never;
    const both = tf.layers.lstm({ units: 16, returnSequences: true, ...fast }) as never;
    return tf.sequential({
      layers: [
        tf.layers.bidirectional({ layer: both, mergeMode: 'concat', inputShape: [3, 16] } as never),
        tf.layers.rnn({ cell: tf.layers.stackedRNNCells({ cells }) } as never),
      ],
    });
  };
  const plain = await artifactsFrom(build);
  const layersModel = await loadLayersModel(handlerOf(plain));
  const ownLayers = await savedBy(layersModel);
  layersModel.dispose();
  const loop = artifactsOf(functional({ kind: 'lstm', positions: 2, K: 16, units: 16 }));
  const graphModel = await loadGraphModel(handlerOf(loop));
  const ownLoop = await savedBy(graphModel);
  graphModel.dispose();
  return [
    { artifacts: plain, load: loadLayersModel },
    { artifacts: ownLayers, load: loadLayersModel },
    { artifacts: loop, load: loadGraphModel },
    { artifacts: ownLoop, load: loadGraphModel },
  ];
}

const TYPED = new Set(['ModelFormatError', 'RangeError', 'TypeError', 'UnsupportedError']);
/** What JavaScript itself says of a value that nobody looked at before. */
const RAW =
  /^(Cannot |Invalid (array|typed|string)|Maximum )|is not (iterable|a function|a constructor|an object|defined)/;

const REPLACEMENTS: readonly unknown[] = [
  null,
  undefined,
  -1,
  0,
  2 ** 31,
  1e300,
  Number.NaN,
  '',
  'x',
  '^m',
  'y',
  [],
  [0],
  {},
  true,
];

/** A copy with up to three values, keys or bytes damaged. */
function mutant(artifacts: Artifacts, seed: number): Artifacts {
  const next = random(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)]!;
  const copy = structuredClone({ ...artifacts, weightData: (artifacts.weightData as ArrayBuffer).slice(0) }) as Record<
    string,
    unknown
  >;
  for (let count = 1 + Math.floor(3 * next()); count > 0; count--) {
    if (next() < 0.15) {
      const length = (copy.weightData as ArrayBuffer | undefined)?.byteLength ?? 0;
      copy.weightData = new ArrayBuffer(Math.floor(next() * 2 * length));
      continue;
    }
    let holder: Record<string, unknown> = copy;
    let key = pick(['modelTopology', 'weightSpecs', 'modelTopology', 'weightSpecs', 'signature']);
    for (let depth = 0; depth < 12; depth++) {
      const inner = holder[key];
      if (
        typeof inner !== 'object' ||
        inner === null ||
        inner instanceof ArrayBuffer ||
        Object.keys(inner).length === 0
      )
        break;
      if (depth > 1 && next() < 0.2) break;
      holder = inner as Record<string, unknown>;
      key = pick(Object.keys(holder));
    }
    if (next() < 0.2 && !Array.isArray(holder)) delete holder[key];
    else holder[key] = structuredClone(pick(REPLACEMENTS));
  }
  return copy as Artifacts;
}

describe.each(BACKENDS)('damaged models on %s', { timeout: 300_000 }, (backend) => {
  beforeAll(() => useBackend(backend));

  it('end in a typed error or in a model, and leave nothing behind', async () => {
    const files = await corpus();
    const outcomes: Record<string, number> = {};
    const runs = process.env.MSD_TEST_ALL === '1' ? 10_000 : 1500;
    for (let seed = 1; seed <= runs; seed++) {
      const { artifacts, load } = files[seed % files.length]!;
      const damaged = mutant(artifacts, seed);
      const before = tf.memory();
      let outcome = 'loaded';
      try {
        const model = await load({ load: async () => damaged });
        if ('optimizer' in model) model.optimizer?.dispose(); // the caller's, of a model that came with one
        model.dispose();
      } catch (thrown) {
        const error = thrown as Error;
        // What tfjs itself says of a part that MSD had no reason to read is its own.
        const isStock = /^\s+at .*\/.*$/m.exec(error.stack ?? '')?.[0].includes('tensorflow') ?? false;
        outcome = isStock ? 'refused by tfjs' : error.name;
        if (!isStock && (!TYPED.has(outcome) || RAW.test(error.message)))
          throw new Error(`seed ${seed}: ${error.stack}`);
      }
      const { numTensors, numBytes } = tf.memory();
      expect({ numTensors, numBytes }, `seed ${seed}, ${outcome}`).toEqual({
        numTensors: before.numTensors,
        numBytes: before.numBytes,
      });
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
    expect(outcomes.ModelFormatError).toBeGreaterThan(runs / 10);
    expect(outcomes.loaded).toBeGreaterThan(runs / 20);
  });
});

describe.each(BACKENDS)('the gradient of a batched product on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  const gradient = (f: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): tf.Tensor =>
    tf.grad((given) => tf.sum(tf.mul(f(given), tf.range(0, f(given).size).reshape(f(given).shape))))(x);

  it.each([[[1, 5, 64]], [[5, 64]], [[1, 1, 64]], [[2, 1, 5, 64]], [[2, 3, 1, 64]], [[3, 5, 64]]])(
    'has x’s shape for x [%s]: matMul, and tf.matMul with and without quantized weights',
    (shape) => {
      register(tf, { override: true });
      tf.tidy(() => {
        const [x, w] = [tensor(1, shape), tensor(2, [3, 64, 8])];
        const lead = [...shape.slice(0, -3), 3];
        const tiled = (given: tf.Tensor) =>
          tf.add(
            tf.reshape(given, [...Array(Math.max(0, 3 - shape.length)).fill(1), ...shape]),
            tf.zeros([...lead, shape.at(-2)!, 64]),
          );
        const want = gradient((given) => tf.matMul(tiled(given), tf.add(w, tf.zeros([...lead, 64, 8]))), x);
        const plain = gradient((given) => tf.matMul(given, w), x);
        expect(plain.shape).toEqual(shape);
        expect(relativeL2(plain.dataSync(), want.dataSync())).toBeLessThan(1e-5);
        const q = quantize(w);
        for (const f of [(given: tf.Tensor) => matMul(given, q), (given: tf.Tensor) => tf.matMul(given, w)]) {
          const got = gradient(f, x);
          expect(got.shape).toEqual(shape);
          expect(relativeL2(got.dataSync(), want.dataSync())).toBeLessThan(0.02);
        }
        const dw = tf.grad((given) => tf.sum(tf.matMul(x, given)))(w);
        expect(dw.shape).toEqual(w.shape);
      });
      register(tf);
    },
  );

  it('is stock’s again after unregister', () => {
    const own = tf.getGradient('BatchMatMul');
    unregister(tf);
    const stock = tf.getGradient('BatchMatMul');
    expect(stock).not.toBe(own);
    register(tf);
    register(tf);
    unregister(tf);
    expect(tf.getGradient('BatchMatMul')).toBe(stock);
    register(tf);
  });
});
