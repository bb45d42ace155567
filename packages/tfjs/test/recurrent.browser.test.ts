/** Recurrent layers in Chromium: on WebGPU (its software adapter) from position to position, as the kernel of wasm does it at once. */
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadLayersModel, ready, register, reportOf, unregister } from '../src/index.ts';
import { hasGpu } from './gpu.ts';

const [BATCH, POSITIONS, K, UNITS] = [2, 4, 16, 32];

async function saved(kind: 'lstm' | 'gru' | 'simpleRNN'): Promise<tf.io.ModelArtifacts> {
  const config = { units: UNITS, recurrentInitializer: 'glorotNormal', returnSequences: true } as const;
  const model = layers.sequential({
    layers: [
      layers.layers.bidirectional({
        layer: layers.layers[kind](config) as never,
        mergeMode: 'concat',
        inputShape: [POSITIONS, K],
      } as never),
    ],
  });
  let artifacts: tf.io.ModelArtifacts | undefined;
  await model.save({
    save: async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
    },
  });
  model.dispose();
  return artifacts!;
}

// Without a mask: stock's Masking gives another one on WebGPU than on cpu.
const x = () => tf.randomNormal([BATCH, POSITIONS, K], 0, 1, 'float32', 5);

async function predict(artifacts: tf.io.ModelArtifacts): Promise<Float32Array> {
  const model = await loadLayersModel(tf.io.fromMemory(artifacts));
  expect(reportOf(model)!.nodes).toMatchObject([{ where: 'msd' }]);
  const y = tf.tidy(() => model.predict(x()) as tf.Tensor);
  const values = (await y.data()) as Float32Array;
  tf.dispose(y);
  model.dispose();
  return values;
}

describe.skipIf(!hasGpu)('recurrent layers on WebGPU', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    expect(await tf.setBackend('webgpu')).toBe(true);
    register(tf);
    await ready();
  });
  afterAll(() => unregister(tf));

  it.each(['lstm', 'gru', 'simpleRNN'] as const)('%s, both ways', async (kind) => {
    await tf.setBackend('cpu');
    const artifacts = await saved(kind);
    const want = await predict(artifacts);
    await tf.setBackend('webgpu');
    const before = tf.memory().numTensors;
    const got = await predict(artifacts);
    expect(tf.memory().numTensors).toBe(before);
    // Both are within the same bound of the same weights; values of the layers are below 1.
    for (const [i, value] of got.entries())
      expect(Math.abs(value - want[i]!)).toBeLessThan(UNITS * POSITIONS * 2 ** -16);
  });
});
