/** Models on tfjs's WebGPU backend in Node, where nothing can be read from a GPU at once: there is no canvas. */
import { afterAll, beforeAll, describe } from 'vitest';
import { testGpu } from '../../core/test/gpu.ts';
import { ready, register, unregister } from '../src/index.ts';
import { inMemory, savingSuite } from './saving.ts';
import { tf, useBackend } from './tf.ts';

const gpu = await testGpu();

describe.runIf(gpu)('models on webgpu in Node', () => {
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

  savingSuite({ memory: inMemory });
});
