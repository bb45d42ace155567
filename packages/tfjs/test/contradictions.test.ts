/** Layers models whose weights are not those that their layers are built for, and models without weights. Stock says what is right. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { layersModelHandler, loadLayersModel, ModelFormatError, register, reportOf, unregister } from '../src/index.ts';
import { sizeOf } from '../src/shapes.ts';
import { encodeWeight, join, type WeightEntry } from './graph.ts';
import { saved } from './layers.ts';
import { BACKENDS, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const seeded = (seed: number) => tf.initializers.glorotUniform({ seed }) as never;

/** Every class that MSD takes, in a wrapper and in a model as well. */
function build(): tf.LayersModel {
  const input = tf.input({ shape: [8], dtype: 'int32' });
  const inner = tf.sequential({
    name: 'inner',
    layers: [tf.layers.dense({ units: 40, inputShape: [8, 32], name: 'nested', kernelInitializer: seeded(7) })],
  });
  const layers = [
    tf.layers.embedding({ inputDim: 60, outputDim: 32, name: 'words', embeddingsInitializer: seeded(1) }),
    inner,
    tf.layers.timeDistributed({
      layer: tf.layers.dense({ units: 48, name: 'wrapped', kernelInitializer: seeded(2) }),
      name: 'each',
    }),
    tf.layers.conv1d({ filters: 64, kernelSize: 1, name: 'narrow', kernelInitializer: seeded(3) }),
    tf.layers.reshape({ targetShape: [2, 4, 64] }),
    tf.layers.conv2d({ filters: 40, kernelSize: 1, name: 'wide', kernelInitializer: seeded(4) }),
    tf.layers.flatten({}),
    tf.layers.dense({ units: 6, name: 'head', kernelInitializer: seeded(5) }),
  ];
  const y = layers.reduce<tf.SymbolicTensor>((x, layer) => layer.apply(x) as tf.SymbolicTensor, input);
  return tf.model({ inputs: input, outputs: y });
}

type Config = { name: string; layers?: Entry[]; layer?: Entry } & Record<string, unknown>;
type Entry = { class_name: string; config: Config };

/** Every layer of a topology. */
function configsOf(artifacts: tf.io.ModelArtifacts): Map<string, Config> {
  const found = new Map<string, Config>();
  const visit = ({ config }: Entry): void => {
    found.set(config.name, config);
    config.layers?.forEach(visit);
    if (config.layer) visit(config.layer);
  };
  visit(artifacts.modelTopology as never);
  return found;
}

const replaced = (artifacts: tf.io.ModelArtifacts, leaf: string, entry: Partial<WeightEntry> & { shape: number[] }) => {
  const parts: Uint8Array[] = [];
  let at = 0;
  const weightSpecs = artifacts.weightSpecs!.map((spec) => {
    const size = spec.shape.reduce((a, b) => a * b, 1);
    const bytes = new Uint8Array(artifacts.weightData as ArrayBuffer, at, 4 * size);
    at += 4 * size;
    if (!spec.name.endsWith(leaf)) {
      parts.push(bytes);
      return spec;
    }
    const values = tensor(3, entry.shape).dataSync().slice() as Float32Array;
    const own = encodeWeight({ name: spec.name, values, ...entry });
    parts.push(own.bytes);
    return own.spec;
  });
  return { ...artifacts, weightSpecs, weightData: join(parts) };
};

const messageOf = (run: Promise<unknown>): Promise<string> =>
  run.then(
    () => 'loaded',
    (error: Error) => error.message,
  );

describe.each(BACKENDS)('contradictions on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  const cases: Record<string, [change: (artifacts: tf.io.ModelArtifacts) => tf.io.ModelArtifacts, message: RegExp]> = {
    'a kernel against its input': [
      (artifacts) => replaced(artifacts, 'head/kernel', { shape: [300, 6] }),
      /head\/kernel: Shape mismatch: \[320,6\] vs\. \[300,6\]/,
    ],
    'a kernel against its units': [
      (artifacts) => {
        configsOf(artifacts).get('nested')!.units = 41;
        return artifacts;
      },
      /Shape mismatch: \[32,41\] vs\. \[32,40\]/,
    ],
    'a kernel the other way round': [
      (artifacts) => replaced(artifacts, 'nested/kernel', { shape: [40, 32] }),
      /Shape mismatch: \[32,40\] vs\. \[40,32\]/,
    ],
    'a wrapped kernel': [
      (artifacts) => replaced(artifacts, 'each/kernel', { shape: [48, 40] }),
      /Shape mismatch: \[40,48\] vs\. \[48,40\]/,
    ],
    'filters of one row': [
      (artifacts) => replaced(artifacts, 'narrow/kernel', { shape: [1, 32, 96] }),
      /Shape mismatch: \[1,48,64\] vs\. \[1,32,96\]/,
    ],
    'filters that are larger in the config': [
      (artifacts) => {
        configsOf(artifacts).get('wide')!.kernel_size = [2, 2];
        return artifacts;
      },
      /Shape mismatch: /,
    ],
    'filters of too many dimensions': [
      (artifacts) => replaced(artifacts, 'wide/kernel', { shape: [64, 40] }),
      /Shape mismatch: \[1,1,64,40\] vs\. \[64,40\]/,
    ],
    'a table of more rows': [
      (artifacts) => replaced(artifacts, 'words/embeddings', { shape: [64, 32] }),
      /Shape mismatch: \[60,32\] vs\. \[64,32\]/,
    ],
    'a table of other columns': [
      (artifacts) => {
        configsOf(artifacts).get('words')!.output_dim = 30;
        return artifacts;
      },
      /./,
    ],
    'a bias of another length': [
      (artifacts) => replaced(artifacts, 'nested/bias', { shape: [39] }),
      /Shape mismatch: \[40\] vs\. \[39\]/,
    ],
    'a weight that is missing': [
      ({ weightSpecs, weightData, ...rest }) => {
        const last = weightSpecs!.at(-1)!;
        const bytes = 4 * last.shape.reduce((a, b) => a * b, 1);
        return {
          ...rest,
          weightSpecs: weightSpecs!.slice(0, -1),
          weightData: (weightData as ArrayBuffer).slice(0, -bytes),
        };
      },
      /^1 of 11 weights are not set: head\/bias$/,
    ],
    'a weight that no layer has': [
      (artifacts) => {
        configsOf(artifacts).get('narrow')!.use_bias = false;
        return artifacts;
      },
      /^Provided weight data has no target variable: narrow\/bias$/,
    ],
  };

  it.each(Object.entries(cases))('refuses %s, in the words of tfjs', async (_, [change, message]) => {
    const model = build();
    const artifacts = change(structuredClone(await saved(model)));
    model.dispose();
    const want = await messageOf(tf.loadLayersModel(tf.io.fromMemory(artifacts)));
    expect(want).not.toBe('loaded');
    await withoutLeaks(async () => {
      const loading = loadLayersModel(tf.io.fromMemory(artifacts));
      const got = await messageOf(loading);
      expect(got).toMatch(message);
      expect(got).toContain(want);
    });
    // By stock's loader on MSD's handler as well.
    const handler = await layersModelHandler(tf.io.fromMemory(artifacts));
    expect(await messageOf(tf.loadLayersModel(handler))).toContain(want);
  });

  it.each(['uint8', 'uint16', 'float16'] as const)('refuses kernels and tables of %s likewise', async (stored) => {
    const model = build();
    const artifacts = await saved(model);
    model.dispose();
    for (const [leaf, shape, message] of [
      ['nested/kernel', [40, 32], /nested\/kernel: Shape mismatch: \[32,40\] vs\. \[40,32\], what the layer/],
      ['words/embeddings', [64, 32], /words\/embeddings: Shape mismatch: \[60,32\] vs\. \[64,32\]/],
    ] as const) {
      const changed = replaced(artifacts, leaf, { shape: [...shape], stored });
      await withoutLeaks(async () => {
        const loading = loadLayersModel(tf.io.fromMemory(changed));
        await expect(loading).rejects.toThrow(message);
        await expect(loading).rejects.toBeInstanceOf(ModelFormatError);
      });
    }
  });

  it('refuses what MSD saved, changed', async () => {
    const model = build();
    const packed = await loadLayersModel(tf.io.fromMemory(await saved(model)));
    model.dispose();
    const artifacts = await saved(packed);
    packed.dispose();
    const changed = structuredClone(artifacts);
    configsOf(changed).get('nested')!.units = 41;
    await withoutLeaks(() =>
      expect(loadLayersModel(tf.io.fromMemory(changed))).rejects.toThrow(
        /nested\/kernel: Shape mismatch: \[32,41\] vs\. \[32,40\]/,
      ),
    );
    await expect(tf.loadLayersModel(tf.io.fromMemory(changed))).rejects.toThrow(/Shape mismatch: \[32,41\]/);
  });

  it('says of weights without specs what stock says', async () => {
    const model = build();
    const { weightSpecs: _, ...artifacts } = await saved(model);
    model.dispose();
    const want = await messageOf(tf.loadLayersModel(tf.io.fromMemory(artifacts)));
    expect(await messageOf(loadLayersModel(tf.io.fromMemory(artifacts)))).toContain(want);
  });
});

it('leaves layers to tfjs whose weights it clips as it reads them', async () => {
  await useBackend('cpu');
  const constrained = { kernelConstraint: 'nonNeg', biasConstraint: 'nonNeg' } as const;
  const model = tf.sequential({
    layers: [
      tf.layers.simpleRNN({ units: 40, inputShape: [3, 33], recurrentInitializer: 'glorotNormal', ...constrained }),
      tf.layers.dense({ units: 40, ...constrained }),
      tf.layers.dense({ units: 41, kernelConstraint: 'maxNorm', biasConstraint: 'nonNeg' }),
    ],
  });
  const file = await saved(model);
  const [stock, loaded] = [
    await tf.loadLayersModel(tf.io.fromMemory(file)),
    await loadLayersModel(tf.io.fromMemory(file)),
  ];
  expect(reportOf(loaded)!.nodes.map(({ where, reason }) => [where, reason])).toEqual([
    ['tfjs', 'tfjs makes its weights 0 where they are negative, as it reads them (NonNeg)'],
    ['tfjs', 'tfjs makes its weights 0 where they are negative, as it reads them (NonNeg)'],
    ['msd', undefined],
  ]);
  for (const at of [0, 3]) expect(loaded.getWeights()[at]!.dataSync()).toEqual(stock.getWeights()[at]!.dataSync());
  for (const one of [model, stock, loaded]) one.dispose();
});

describe.each(BACKENDS)('topologies without weights on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  const values = (model: tf.LayersModel) => model.getWeights().map((weight) => weight.dataSync().slice());

  it('are initialized as stock does', async () => {
    const made = build();
    const { modelTopology, format } = await saved(made);
    made.dispose();
    await withoutLeaks(async () => {
      const topology = { modelTopology, format } as tf.io.ModelArtifacts;
      const [stock, model] = [
        await tf.loadLayersModel(tf.io.fromMemory(topology)),
        await loadLayersModel(tf.io.fromMemory(topology)),
      ];
      expect(values(model)).toEqual(values(stock));
      const { nodes, ...bytes } = reportOf(model)!;
      expect(new Set(nodes.map(({ where, reason }) => `${where}: ${reason}`))).toEqual(
        new Set(['tfjs: the file has no weights: initialized as in tfjs']),
      );
      expect(bytes).toEqual({ stockBytes: 0, weightBytes: 0 });
      stock.dispose();
      model.dispose();
    });
  });

  it("of MSD's layers are initialized likewise, and quantized", async () => {
    const made = build();
    const packed = await loadLayersModel(tf.io.fromMemory(await saved(made)));
    const { modelTopology, format } = await saved(packed);
    const want = values(packed);
    await withoutLeaks(async () => {
      const topology = { modelTopology, format } as tf.io.ModelArtifacts;
      for (const load of [tf.loadLayersModel, loadLayersModel]) {
        const model = await load(tf.io.fromMemory(topology));
        // The same seeds: what was saved is what the initializers gave.
        expect(values(model)).toEqual(want);
        model.dispose();
      }
    });
    made.dispose();
    packed.dispose();
  });
});

/** A layer of each class that MSD takes. */
function everyClass(): tf.LayersModel {
  const fast = { recurrentInitializer: 'glorotNormal' } as const;
  const cells = [1, 2].map(() => tf.layers.gruCell({ units: 16, ...fast })) as never;
  const both = tf.layers.lstm({ units: 16, returnSequences: true, ...fast }) as never;
  return tf.sequential({
    layers: [
      tf.layers.embedding({ inputDim: 60, outputDim: 64, inputLength: 5 }),
      tf.layers.conv1d({ filters: 64, kernelSize: 3, padding: 'same' }),
      tf.layers.reshape({ targetShape: [5, 1, 64] }),
      tf.layers.depthwiseConv2d({ kernelSize: 3, padding: 'same' }),
      tf.layers.conv2d({ filters: 48, kernelSize: [3, 1], padding: 'same' }),
      tf.layers.separableConv2d({ filters: 48, kernelSize: 3, padding: 'same' }),
      tf.layers.reshape({ targetShape: [5, 48] }),
      tf.layers.timeDistributed({ layer: tf.layers.dense({ units: 40 }) }),
      tf.layers.bidirectional({ layer: both, mergeMode: 'concat' } as never),
      tf.layers.simpleRNN({ units: 32, returnSequences: true, ...fast }),
      tf.layers.rnn({ cell: tf.layers.stackedRNNCells({ cells }) } as never),
      tf.layers.dense({ units: 64 }),
    ],
  });
}

/** Shapes that are none of this one, though near it. */
const nearby = (shape: readonly number[]): number[][] =>
  [
    ...shape.flatMap((dim, at) =>
      [dim + 1, dim - 1, 2 * dim].map((other) => shape.map((own, i) => (i === at ? other : own))),
    ),
    [...shape].reverse(),
    [sizeOf(shape)],
    [1, ...shape],
  ].filter((other) => other.join() !== shape.join() && !other.includes(0));

it.each([
  ['as tfjs saves it', false],
  ['as MSD saves it', true],
])(
  'a weight of another shape is refused wherever stock refuses it: a model %s',
  { timeout: 120_000 },
  async (_, isMsd) => {
    await useBackend('cpu');
    const convolutions = true;
    const stock = everyClass();
    const plain = await saved(stock);
    stock.dispose();
    let artifacts = plain;
    if (isMsd) {
      const model = await loadLayersModel(tf.io.fromMemory(plain), { convolutions });
      artifacts = await saved(model);
      model.dispose();
    }
    let at = 0;
    const specs = artifacts.weightSpecs!;
    const parts = specs.map(({ shape }) => {
      const begin = at;
      at += 4 * sizeOf(shape);
      return new Uint8Array(artifacts.weightData as ArrayBuffer, begin, at - begin);
    });
    for (const [i, spec] of specs.entries())
      for (const shape of nearby(spec.shape)) {
        const bytes = new Uint8Array(4 * sizeOf(shape));
        bytes.set(parts[i]!.subarray(0, bytes.length));
        const bad = {
          ...artifacts,
          weightSpecs: specs.map((own, k) => (k === i ? { ...own, shape } : own)),
          weightData: join(parts.map((own, k) => (k === i ? bytes : own))),
        };
        await withoutLeaks(async () => {
          const loading = loadLayersModel(tf.io.fromMemory(bad), { convolutions });
          await expect(loading, `${spec.name} [${spec.shape}] as [${shape}]`).rejects.toThrow(
            /Shape mismatch|expected/,
          );
        });
      }
  },
);
