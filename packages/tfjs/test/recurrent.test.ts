/** LSTM, GRU and SimpleRNN on packed kernels. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadLayersModel, register, reportOf, unregister } from '../src/index.ts';
import { saved } from './layers.ts';
import { BACKENDS, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const seeded = (model: tf.LayersModel): tf.LayersModel => {
  tf.tidy(() =>
    model.setWeights(
      model.getWeights().map(({ shape }, seed) => tf.div(tensor(seed + 1, shape), 4)),
    ),
  );
  return model;
};
const values = (run: () => tf.Tensor | tf.Tensor[]) =>
  tf.tidy(() => [run()].flat().map((y) => y.dataSync().slice() as Float32Array));

describe.each(BACKENDS)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  it.each(['lstm', 'gru', 'simpleRNN'] as const)('%s', async (name) => {
    const model = seeded(tf.sequential({ layers: [tf.layers[name]({ units: 32, inputShape: [5, 16], returnSequences: true })] }));
    const x = tensor(5, [2, 5, 16]);
    const want = values(() => model.predict(x) as tf.Tensor);
    await withoutLeaks(async () => {
      const loaded = await loadLayersModel(tf.io.fromMemory(await saved(model)));
      console.log(JSON.stringify(reportOf(loaded)!.nodes));
      const got = values(() => loaded.predict(x) as tf.Tensor);
      console.log(relativeL2(got[0]!, want[0]!));
      loaded.dispose();
    });
    expect(1).toBe(1);
  });
});
