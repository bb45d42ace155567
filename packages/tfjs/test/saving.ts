/** Models through tfjs's handlers, in both directions: what Node and the browser test alike. */
import type { GraphModel, io, LayersModel, Tensor } from '@tensorflow/tfjs';
import { expect, it } from 'vitest';
import { accelerate, loadGraphModel, loadLayersModel, reportOf } from '../src/index.ts';
import golden from './golden/saved-by-layout-1.json' with { type: 'json' };
import { artifactsOf, floats, type GraphEntry, handlerOf, ints, type NodeEntry, placeholder } from './graph.ts';
import { WHOLE_MODELS } from './models.ts';
import { relativeL2, tensor, tf } from './tf.ts';

/** Where a model goes, and the way back. */
export interface Place {
  save(): io.IOHandler | string;
  load(): io.IOHandler | string;
}

/** What one handler is given, the other gives: as it is. */
export function inMemory(): Place {
  let kept: io.ModelArtifacts | undefined;
  return {
    save: () =>
      tf.io.withSaveHandler(async (artifacts) => {
        kept = artifacts;
        return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) };
      }),
    load: () => tf.io.fromMemory(kept!),
  };
}

type Model = GraphModel | LayersModel;

/** A handler that never settles is what a user meets as a page that does nothing. */
export const within = <T>(work: Promise<T>, ms = 60_000): Promise<T> => {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing happened for ${ms} ms`)), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
};

/** A product, a look-up, and weights of every kind that tfjs keeps: small ones in each stored form, integers. */
const graph: GraphEntry = {
  nodes: [
    placeholder('x', 'DT_INT32'),
    { name: 'e', op: 'GatherV2', input: ['table', 'x', 'axis'] },
    { name: 'm', op: 'MatMul', input: ['e', 'kernel'] },
    { name: 'b', op: 'BiasAdd', input: ['m', 'bias'] },
    { name: 't', op: 'Mul', input: ['b', 'byte'] },
    { name: 'u', op: 'Add', input: ['t', 'half'] },
    { name: 'y', op: 'MatMul', input: ['u', 'head'] },
  ] satisfies NodeEntry[],
  weights: [
    floats('table', [60, 64], 'uint8' as const),
    floats('kernel', [64, 33]),
    floats('bias', [33]),
    floats('byte', [33], 'uint8' as const),
    floats('half', [33], 'float16' as const),
    floats('head', [33, 40], 'uint16' as const),
    ints('axis', [0], []),
  ],
  outputs: ['y'],
};

const graphArtifacts = (): io.ModelArtifacts => ({
  ...artifactsOf(graph),
  userDefinedMetadata: { made: { by: 'hand' } },
  generatedBy: '2.17',
  convertedBy: 'a converter',
});

function layersModel(): LayersModel {
  const model = tf.sequential({
    layers: [
      tf.layers.embedding({ inputDim: 60, outputDim: 64, inputLength: 5 }),
      tf.layers.conv1d({ filters: 32, kernelSize: 1, activation: 'relu' }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 40 }),
    ],
  });
  tf.tidy(() => model.setWeights(model.getWeights().map(({ shape }, seed) => tf.div(tensor(seed + 1, shape), 4))));
  model.setUserDefinedMetadata({ made: { by: 'hand' } });
  return model;
}

/** Cells in a layer, in both ways and in a stack, and windows in one and two dimensions. */
function cellsAndWindows(): LayersModel {
  const fast = { recurrentInitializer: 'glorotNormal' } as const;
  const cells = [1, 2].map(() => tf.layers.gruCell({ units: 16, ...fast })) as never;
  const both = tf.layers.lstm({ units: 16, returnSequences: true, ...fast }) as never;
  const model = tf.sequential({
    layers: [
      tf.layers.embedding({ inputDim: 60, outputDim: 64, inputLength: 5 }),
      tf.layers.conv1d({ filters: 64, kernelSize: 3, padding: 'same', activation: 'relu' }),
      tf.layers.reshape({ targetShape: [5, 1, 64] }),
      tf.layers.conv2d({ filters: 48, kernelSize: [3, 1], padding: 'same', activation: 'relu6' }),
      tf.layers.separableConv2d({ filters: 48, kernelSize: 3, padding: 'same' }),
      tf.layers.reshape({ targetShape: [5, 48] }),
      tf.layers.bidirectional({ layer: both, mergeMode: 'concat' } as never),
      tf.layers.rnn({ cell: tf.layers.stackedRNNCells({ cells }) } as never),
      tf.layers.dense({ units: 64 }),
    ],
  });
  tf.tidy(() => model.setWeights(model.getWeights().map(({ shape }, seed) => tf.div(tensor(seed + 1, shape), 4))));
  model.setUserDefinedMetadata({ made: { by: 'hand' } });
  return model;
}
const convolutions = true;

const run = async (model: Model, ids = [1, 7, 59, 0, 7]): Promise<number[]> => {
  const x = tf.tensor(ids, 'layers' in model ? [1, ids.length] : [ids.length], 'int32');
  const y = model.predict(x) as Tensor;
  const values = Array.from(await y.data());
  tf.dispose([x, y]);
  return values;
};

/** Models as users come by them. The same in each case: what loads them again, by MSD and by tfjs alone. */
const kinds = {
  'a loaded graph model': {
    make: () => loadGraphModel(handlerOf(graphArtifacts())),
    again: [loadGraphModel, tf.loadGraphModel],
  },
  'an accelerated graph model, int4': {
    make: async () => {
      const model = await tf.loadGraphModel(handlerOf(graphArtifacts()));
      await accelerate(model, { format: 'int4' });
      return model;
    },
    again: [loadGraphModel, tf.loadGraphModel],
  },
  'a loaded layers model': {
    make: async () => {
      const stock = layersModel();
      const saved = await savedBy(stock);
      stock.dispose();
      return loadLayersModel(handlerOf(saved));
    },
    again: [loadLayersModel, tf.loadLayersModel],
  },
  'an accelerated layers model, int4': {
    make: async () => {
      const model = layersModel();
      await accelerate(model, { format: 'int4' });
      return model;
    },
    again: [loadLayersModel, tf.loadLayersModel],
  },
  'a loaded layers model of cells and windows': {
    make: async () => {
      const stock = cellsAndWindows();
      const saved = await savedBy(stock);
      stock.dispose();
      const model = await loadLayersModel(handlerOf(saved), { convolutions });
      expect(reportOf(model)!.nodes.filter(({ where }) => where === 'msd')).toHaveLength(7);
      return model;
    },
    again: [loadLayersModel, tf.loadLayersModel],
  },
  'an accelerated layers model of cells and windows': {
    make: async () => {
      const model = cellsAndWindows();
      await accelerate(model, { convolutions });
      return model;
    },
    again: [loadLayersModel, tf.loadLayersModel],
  },
} satisfies Record<
  string,
  { make(): Promise<Model>; again: readonly ((source: io.IOHandler | string) => Promise<Model>)[] }
>;

/** What a handler is given. */
export async function savedBy(model: Model): Promise<io.ModelArtifacts> {
  let saved: io.ModelArtifacts | undefined;
  await within(
    model.save(
      tf.io.withSaveHandler(async (artifacts) => {
        saved = artifacts;
        return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
      }),
    ),
  );
  return saved!;
}

/** Nothing is read from a GPU while the page waits. */
async function withoutSyncReads<T>(work: () => Promise<T>): Promise<T> {
  const backend = tf.backend() as unknown as { readSync(id: object): unknown };
  if (tf.getBackend() !== 'webgpu') return work();
  const { readSync } = backend;
  const { tensorMap } = backend as unknown as { tensorMap: Map<object, { values: unknown }> };
  backend.readSync = (id) => {
    if (tensorMap.get(id)?.values == null) throw new Error('read while the page waits');
    return readSync.call(backend, id);
  };
  try {
    return await work();
  } finally {
    backend.readSync = readSync;
  }
}

/** On the backend that is set by then. */
export function savingSuite(places: Readonly<Record<string, () => Place>>): void {
  for (const [what, { make, again }] of Object.entries(kinds))
    for (const [where, place] of Object.entries(places))
      it(`${what} goes to ${where} and comes back, with MSD and with tfjs`, async () => {
        const before = tf.memory().numTensors;
        const model = (await make()) as GraphModel;
        const want = await run(model);
        const { save, load } = place();
        const { modelArtifactsInfo } = await withoutSyncReads(() => within(model.save(save())));
        expect(modelArtifactsInfo.weightDataBytes).toBe(((await savedBy(model)).weightData as ArrayBuffer).byteLength);
        expect(await run(model)).toEqual(want); // saving has not changed it
        for (const read of again) {
          const next = await withoutSyncReads(() => within<Model>(read(load())));
          expect(await run(next)).toEqual(want);
          const metadata = 'metadata' in next ? next.metadata : next.getUserDefinedMetadata();
          expect(metadata).toEqual({ made: { by: 'hand' } });
          // and once more from there
          const third = await within<Model>(read(handlerOf(await savedBy(next))));
          expect(await run(third)).toEqual(want);
          third.dispose();
          next.dispose();
        }
        model.dispose();
        expect(tf.memory().numTensors).toBe(before);
      });

  for (const [what, { artifacts, input, options }] of Object.entries(WHOLE_MODELS))
    for (const [where, place] of Object.entries(places))
      it(`${what} goes to ${where} and comes back`, async () => {
        const x = input instanceof Int32Array ? tf.tensor1d(input, 'int32') : tensor(3, [...input]);
        const predict = async (model: GraphModel): Promise<number[]> => {
          const y = model.predict(x) as Tensor;
          const values = Array.from(await y.data());
          y.dispose();
          return values;
        };
        const model = await loadGraphModel(handlerOf(artifacts()), options);
        const want = await predict(model);
        const { save, load } = place();
        await withoutSyncReads(() => within(model.save(save())));
        for (const read of [loadGraphModel, tf.loadGraphModel]) {
          const next = await withoutSyncReads(() => within(read(load())));
          expect(await predict(next)).toEqual(want);
          next.dispose();
        }
        model.dispose();
        x.dispose();
      });

  for (const [where, place] of Object.entries(places))
    it(`stock models come from ${where}`, async () => {
      const graphModel = await tf.loadGraphModel(handlerOf(graphArtifacts()));
      const layers = layersModel();
      for (const [model, load] of [
        [graphModel, loadGraphModel],
        [layers, loadLayersModel],
      ] as const) {
        const { save, load: source } = place();
        const direct = await load(handlerOf(await savedBy(model)));
        await within((model as LayersModel).save(save()));
        const loaded = await within<Model>(load(source()));
        expect(await run(loaded)).toEqual(await run(direct));
        for (const one of [model, direct, loaded]) one.dispose();
      }
    });

  for (const [where, place] of Object.entries(places))
    it(`what layout 1 saved comes from ${where}`, async () => {
      const { artifacts, y } = golden.layers;
      const { save, load } = place();
      const target = save();
      const handler = typeof target === 'string' ? tf.io.getSaveHandlers(target)[0]! : target;
      const weightData = Uint8Array.from(atob(artifacts.weightData), (char) => char.charCodeAt(0)).buffer;
      await within(handler.save!({ ...structuredClone(artifacts), weightData } as never));
      for (const read of [loadLayersModel, tf.loadLayersModel]) {
        const model = await within(read(load()));
        const got = await run(model, [1, 7, 29, 0, 3]);
        if (tf.getBackend() === 'webgpu')
          expect(relativeL2(got, y)).toBeLessThan(1e-4); // a q may differ by one step
        else expect(got).toEqual(y);
        model.dispose();
      }
    });

  it('handlers get plain artifacts, and so does whoever looks at the model’s own', async () => {
    for (const { make } of Object.values(kinds)) {
      const model = (await make()) as Model;
      const saved = await savedBy(model);
      for (const [name, field] of Object.entries(Object.getOwnPropertyDescriptors(saved))) {
        expect(Object.keys(field), name).toContain('value');
        expect(field).toMatchObject({ writable: true, configurable: true, enumerable: true });
      }
      expect(saved.weightData).toBeInstanceOf(ArrayBuffer);
      expect(structuredClone(saved).weightData).toEqual(saved.weightData);
      model.dispose();
    }
  });

  it('bytes that somebody assigned are what is saved', async () => {
    const model = await loadGraphModel(handlerOf(graphArtifacts()));
    const { artifacts } = model as unknown as { artifacts: io.ModelArtifacts };
    const bytes = (await savedBy(model)).weightData as ArrayBuffer;
    expect(artifacts.weightData).toEqual(bytes); // read just before: on the CPU, too
    const other = bytes.slice(0);
    artifacts.weightData = other;
    expect(artifacts.weightData).toBe(other);
    expect((await savedBy(model)).weightData).toBe(other);
    model.dispose();
  });

  it('a restored model saves what stock does, and a model that is gone says so', async () => {
    const model = await tf.loadGraphModel(handlerOf(graphArtifacts()));
    const before = await savedBy(model);
    const { restore } = await accelerate(model, { restorable: true });
    const packed = await savedBy(model);
    expect(packed.weightSpecs).not.toEqual(before.weightSpecs);
    await accelerate(model);
    expect(await savedBy(model)).toEqual(packed);
    await restore();
    expect((await savedBy(model)).weightSpecs).toEqual(before.weightSpecs);
    await accelerate(model);
    await expect(within(model.save('nowhere://'))).rejects.toThrow(
      "Cannot find any save handlers for URL 'nowhere://'",
    );
    model.dispose();
    await expect(savedBy(model)).rejects.toThrow('save: model has been disposed of');
  });
}
