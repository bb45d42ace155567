/** The manifests of converter-manifests.test.ts on tfjs's WebGPU backend, in Node. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testGpu } from '../../core/test/gpu.ts';
import { loadGraphModel, ready, register, reportOf, unregister } from '../src/index.ts';
import { handlerOf } from './graph.ts';
import { CASES, decoded, expected, graphOf, K, N, rowsOf, stepOf, within } from './manifests.ts';
import { tf, useBackend } from './tf.ts';

const gpu = await testGpu();

describe.runIf(gpu)('manifests on webgpu', () => {
  beforeAll(async () => {
    // tfjs decides while it is imported whether there is WebGPU.
    const { globals } = await import('webgpu');
    Object.assign(globalThis, globals);
    Object.defineProperty(navigator, 'gpu', { value: gpu, configurable: true });
    await import('@tensorflow/tfjs-backend-webgpu');
    await useBackend('webgpu');
    register(tf);
    await ready();
  });
  afterAll(() => unregister(tf));

  it.each(Object.entries(CASES))('%s', async (_, weight) => {
    const artifacts = graphOf(weight);
    const x = rowsOf(K);
    const model = await loadGraphModel(handlerOf(artifacts), { minElements: 0 });
    expect(reportOf(model)!.nodes[0]!.where).toBe('msd');
    const input = tf.tensor2d(x, [4, K]);
    const y = model.execute(input) as tf.Tensor;
    const want = expected(x, decoded(artifacts), K, N, stepOf(weight.quantization), { device: 'webgpu' });
    within(await y.data(), want);
    tf.dispose([input, y]);
    model.dispose();
  });
});
