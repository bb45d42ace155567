/** In Chromium: tfjs's threaded wasm build with its shared heap (the page is cross-origin isolated), and the plain one. */

import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import plain from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import simd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import threaded from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import '@tensorflow/tfjs-backend-webgl';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gather, matMul, quantize, register, status, unregister } from '../src/index.ts';

const random = (seed: number, shape: number[]) => tf.randomNormal(shape, 0, 1, 'float32', seed);

describe.each([true, false])('tfjs wasm with threads: %s', (threads) => {
  beforeAll(async () => {
    setWasmPaths(
      {
        'tfjs-backend-wasm.wasm': plain,
        'tfjs-backend-wasm-simd.wasm': simd,
        'tfjs-backend-wasm-threaded-simd.wasm': threaded,
      },
      true,
    );
    tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', threads);
    await tf.setBackend('wasm');
    register(tf);
  });
  afterAll(() => {
    unregister(tf);
    const factory = tf.findBackendFactory('wasm');
    tf.removeBackend('wasm'); // the next one starts another build
    tf.registerBackend('wasm', factory, 2);
  });

  it('multiplies on its heap, shared or not', () => {
    const { wasm } = tf.backend() as unknown as { wasm: { HEAPU8: Uint8Array } };
    expect(wasm.HEAPU8.buffer instanceof SharedArrayBuffer).toBe(threads);
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const [x, w] = [random(1, [3, 5, 300]), random(2, [300, 33])];
      const q = quantize(w as tf.Tensor);
      const bias = random(3, [33]);
      const got = matMul(x, q, { bias, activation: 'relu' });
      const want = tf.relu(tf.add(tf.reshape(tf.matMul(tf.reshape(x, [15, 300]), w as tf.Tensor2D), [3, 5, 33]), bias));
      const error = tf.div(tf.norm(tf.sub(got, want)), tf.norm(want)).dataSync()[0]!;
      expect(error).toBeLessThan(0.01);
      expect(status().weights).toBe('tfjs heap');
    });
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('a backend without MSD’s kernels', () => {
  it('dequantizes once, keeps that, and gives it back', async () => {
    tf.env().set('WEBGL_FORCE_F16_TEXTURES', false);
    if (!(await tf.setBackend('webgl'))) return expect(tf.findBackend('webgl')).toBeNull(); // no WebGL in this browser
    register(tf);
    const before = tf.memory().numTensors;
    const w = random(2, [64, 9]);
    const q = quantize(w);
    const x = random(1, [2, 3, 64]);
    for (let i = 0; i < 2; i++) {
      const error = tf.tidy(() => {
        const want = tf.reshape(tf.matMul(tf.reshape(x, [6, 64]), w as tf.Tensor2D), [2, 3, 9]);
        return tf.div(tf.norm(tf.sub(matMul(x, q), want)), tf.norm(want));
      });
      expect((await error.data())[0]).toBeLessThan(0.01);
      error.dispose();
    }
    expect(tf.memory().numTensors).toBe(before + 4); // w, q, x, and the real weights
    q.dispose();
    const table = quantize(random(4, [20, 8]), { use: 'gather' });
    expect((await gather(table, tf.tensor1d([3, 4], 'int32')).data()).length).toBe(16);
    unregister(tf);
    expect(() => matMul(x, q)).toThrow();
    tf.disposeVariables();
  });
});
