/** tfjs's WebGPU backend in Node, with MSD: nothing can be read from a GPU at once, there is no canvas. */
import { afterAll, beforeAll } from 'vitest';
import { testGpu } from '../../core/test/gpu.ts';
import { ready, register, unregister } from '../src/index.ts';
import { tf, useBackend } from './tf.ts';

/** `undefined` where Node has no adapter. */
export const gpu: object | undefined = await testGpu();

/** Around the tests of a `describe.runIf(gpu)`. */
export function onWebGpu(): void {
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
}
