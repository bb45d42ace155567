/** In Chromium: tfjs's threaded wasm build with its shared heap (the page is cross-origin isolated), and the plain one. */

import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import plain from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import simd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import threaded from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import '@tensorflow/tfjs-backend-webgl';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attention, gather, KvCache, matMul, quantize, register, status, unregister } from '../src/index.ts';

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

  it('attends on its heap, shared or not, at once and token by token', () => {
    const before = tf.memory().numTensors;
    const cache = new KvCache({ kvHeads: 2, headSize: 32 });
    tf.tidy(() => {
      const [q, k, v] = [random(1, [1, 4, 90, 32]), random(2, [1, 2, 90, 32]), random(3, [1, 2, 90, 32])];
      const got = attention(q, k, v, { causal: true });
      const heads = (x: tf.Tensor) => tf.reshape(tf.tile(tf.reshape(x, [2, 1, 90 * 32]), [1, 2, 1]), [1, 4, 90, 32]);
      const mask = tf.mul(tf.sub(tf.linalg.bandPart(tf.ones([90, 90]), -1, 0), 1), 1e9);
      const scores = tf.add(tf.div(tf.matMul(q, heads(k), false, true), Math.sqrt(32)), mask);
      const want = tf.matMul(tf.softmax(scores), heads(v));
      expect(tf.div(tf.norm(tf.sub(got, want)), tf.norm(want)).dataSync()[0]).toBeLessThan(2e-4);
      const rows = Array.from({ length: 90 }, (_, t) => {
        const row = (x: tf.Tensor) => tf.slice(x, [0, 0, t, 0], [1, x.shape[1]!, 1, 32]);
        return attention(row(q), row(k), row(v), { cache });
      });
      expect(tf.concat(rows, 2).dataSync()).toEqual(got.dataSync());
    });
    expect(cache.length).toBe(90);
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('has an Einsum, and products that broadcast on both sides', () => {
    tf.tidy(() => {
      const [a, b] = [random(1, [2, 3, 4]), random(2, [5, 4])];
      const got = tf.einsum('abc,dc->dab', a, b);
      const want = tf.transpose(
        tf.reshape(tf.matMul(tf.reshape(a, [6, 4]), b as tf.Tensor2D, false, true), [2, 3, 5]),
        [2, 0, 1],
      );
      expect(tf.max(tf.abs(tf.sub(got, want))).dataSync()[0]).toBeLessThan(1e-5);
      const both = tf.matMul(random(3, [2, 1, 3, 4]), random(4, [1, 5, 4, 2]));
      const full = tf.matMul(
        tf.tile(random(3, [2, 1, 3, 4]), [1, 5, 1, 1]),
        tf.tile(random(4, [1, 5, 4, 2]), [2, 1, 1, 1]),
      );
      expect(both.dataSync()).toEqual(full.dataSync());
    });
  });
});

describe('a backend without MSD’s kernels', () => {
  it('dequantizes once, keeps that, and gives it back', async () => {
    tf.env().set('WEBGL_FORCE_F16_TEXTURES', false);
    if (!(await tf.setBackend('webgl'))) return expect(tf.findBackend('webgl') ?? null).toBeNull(); // no WebGL in this browser
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
