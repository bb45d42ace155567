import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, loadLayersModel, register, reportOf, unregister } from '../src/index.ts';
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

async function saved(model: tf.LayersModel): Promise<tf.io.ModelArtifacts> {
  let artifacts: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
    }),
  );
  return artifacts!;
}

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

  it('say what they cannot do', async () => {
    const model = build();
    await withoutLeaks(() => expect(accelerate(model, { blockSize: 48 })).rejects.toThrow(/blockSize of int8/));
    const { restore } = await accelerate(model);
    await expect(restore()).rejects.toThrow(/restorable: true/);
    model.dispose();
    await expect(accelerate(model)).rejects.toThrow(/disposed/);
    for (const topology of [undefined, {}, { class_name: 'Model' }])
      await expect(loadLayersModel({ load: async () => ({ modelTopology: topology }) } as never)).rejects.toThrow(
        /modelTopology, expected/,
      );
  });
});
