/** tfjs's WebGPU backend in Chromium on its software adapter: correct, in tfjs's own pass, without validation errors. */
import '@tensorflow/tfjs-backend-webgpu';
import { loadGraphModel as loadStock } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  attention,
  gather,
  KvCache,
  loadGraphModel,
  matMul,
  quantize,
  quantizeAsync,
  ready,
  register,
  reportOf,
  status,
  unregister,
} from '../src/index.ts';
import { hasGpu } from './gpu.ts';
import { artifactsOf, handlerOf, placeholder } from './graph.ts';

const random = (seed: number, shape: number[]) => tf.randomNormal(shape, 0, 1, 'float32', seed);

/** ‖got − want‖ / ‖want‖ */
function relativeL2(got: Float32Array, want: Float32Array): number {
  let [error, size] = [0, 0];
  want.forEach((value, i) => {
    error += (got[i]! - value) ** 2;
    size += value ** 2;
  });
  return Math.sqrt(error / size);
}

describe.skipIf(!hasGpu)('tfjs on WebGPU', { timeout: 120_000 }, () => {
  const problems: string[] = [];
  beforeAll(async () => {
    expect(await tf.setBackend('webgpu')).toBe(true);
    const { device } = tf.backend() as unknown as { device: EventTarget };
    device.addEventListener('uncapturederror', (event) =>
      problems.push((event as unknown as { error: Error }).error.message),
    );
    register(tf);
    expect(status().weights).toBe('dequantized'); // the device has to be probed first
    const q = quantize(tf.ones([20, 8]), { use: 'gather' });
    expect(await gather(q, tf.tensor1d([3], 'int32')).data()).toEqual(new Float32Array(8).fill(1));
    expect(status().dequantizedBytes).toBe(4 * 20 * 8);
    expect(await ready()).toEqual({ backend: 'webgpu', weights: 'webgpu pass', dequantizedBytes: 0 });
    q.dispose();
  });
  afterAll(() => {
    unregister(tf);
    expect(problems).toEqual([]);
  });

  it.each([
    ['int8', [1, 300], 33],
    ['int8', [3, 5, 64], 16],
    ['int4', [20, 256], 40],
    ['mxfp4', [2, 64], 17],
  ] as const)('multiplies %s, x [%s], between other operations, with bias and activation', async (format, shape, N) => {
    const K = shape.at(-1)!;
    const x = random(1, [...shape]);
    const w = random(2, [K, N]);
    const bias = random(3, [N]);
    const q = quantize(w, { format });
    const before = tf.memory().numTensors;
    const options = { bias, activation: 'relu' } as const;
    const got = tf.tidy(() => tf.mul(matMul(tf.add(x, 1), q, options), 2)); // tfjs, MSD, tfjs
    expect(got.shape).toEqual([...shape.slice(0, -1), N]);
    expect(tf.memory().numTensors).toBe(before + 1);
    const gotValues = (await got.data()) as Float32Array;
    tf.dispose([x, w, bias, got, q] as never);
    await tf.setBackend('cpu');
    const want = tf.tidy(() => {
      const own = quantize(random(2, [K, N]), { format });
      const y = matMul(tf.add(random(1, [...shape]), 1), own, { bias: random(3, [N]), activation: 'relu' });
      return tf.mul(y, 2).dataSync().slice() as Float32Array;
    });
    await tf.setBackend('webgpu');
    expect(relativeL2(gotValues, want)).toBeLessThan(1e-4); // q may differ by one step
  });

  it('is ready by itself a moment after register, and not after unregister', async () => {
    register(tf);
    unregister(tf); // while the device is being probed
    register(tf);
    expect(status().weights).toBe('dequantized');
    await expect.poll(() => status().weights).toBe('webgpu pass');
    const q = quantize(tf.ones([32, 4]));
    const x = tf.ones([1, 32]);
    expect(await matMul(x, q).data()).toEqual(new Float32Array(4).fill(32));
    expect(status().dequantizedBytes).toBe(0);
    register(tf, { components: 1 }); // the device is the same
    expect(status().weights).toBe('webgpu pass');
    expect(await matMul(x, q).data()).toEqual(new Float32Array(4).fill(32));
    expect(status().dequantizedBytes).toBe(0);
    register(tf);
    tf.dispose([q, x] as never);
  });

  it('follows its own results without reading them back', async () => {
    const q = quantize(random(2, [64, 64]));
    const x = random(1, [4, 64]);
    let y = tf.clone(x);
    for (let i = 0; i < 20; i++) {
      const next = tf.tidy(() => tf.div(matMul(y, q), 8));
      y.dispose();
      y = next;
    }
    expect(Number.isFinite((await y.data())[0])).toBe(true);
    tf.dispose([q, x, y] as never);
  });

  it('overrides tf.matMul for quantized operands', async () => {
    register(tf, { override: true });
    const [x, w, bias] = [random(1, [4, 64]), random(2, [64, 12]), random(3, [12])] as [
      tf.Tensor2D,
      tf.Tensor2D,
      tf.Tensor,
    ];
    const stock = (await tf.matMul(x, w).data()) as Float32Array;
    const q = await quantizeAsync(w, { format: 'int4' }); // w is on the GPU by now
    const own = (await matMul(x, q).data()) as Float32Array;
    expect(await tf.matMul(x, w).data()).toEqual(own);
    expect(own).not.toEqual(stock);
    const fused = tf.fused.matMul({ a: x, b: w, bias, activation: 'elu' });
    expect(
      relativeL2(
        (await fused.data()) as Float32Array,
        (await matMul(x, q, { bias, activation: 'elu' }).data()) as Float32Array,
      ),
    ).toBe(0);
    q.dispose();
    expect(await tf.matMul(x, w).data()).toEqual(stock);
    register(tf);
  });

  it('attends by tfjs’s own operations, and refuses caches', async () => {
    const operands = [random(1, [2, 4, 9, 16]), random(2, [2, 2, 20, 16]), random(3, [2, 2, 20, 16])] as const;
    const mask = tf.greater(random(4, [20]), tf.scalar(-1));
    const options = { causal: true, window: 7, softcap: 4, mask, bias: random(5, [4, 9, 20]), sinks: random(6, [4]) };
    const before = tf.memory().numTensors;
    const y = attention(...operands, options);
    expect(tf.memory().numTensors).toBe(before + 1);
    const got = (await y.data()) as Float32Array;
    expect(() => new KvCache({ kvHeads: 2, headSize: 16 })).toThrow('webgpu');
    await Promise.all([...operands, mask, options.bias, options.sinks].map((x) => x.data()));
    await tf.setBackend('cpu');
    const want = tf.tidy(
      () =>
        attention(...operands, options)
          .dataSync()
          .slice() as Float32Array,
    );
    await tf.setBackend('webgpu');
    expect(relativeL2(got, want)).toBeLessThan(3e-4);
    tf.dispose([y, ...operands, mask, options.bias, options.sinks]);
  });

  it('runs graph models with attention as they were', async () => {
    const nodes = [
      ...['q', 'k', 'v'].map((name) => placeholder(name)),
      { name: 's', op: 'BatchMatMulV2', input: ['q', 'k'], attr: { adj_y: { b: true } } },
      { name: 'p', op: 'Softmax', input: ['s'] },
      { name: 'y', op: 'BatchMatMulV2', input: ['p', 'v'] },
    ];
    const artifacts = artifactsOf({ nodes, weights: [], outputs: ['y'] });
    const [stock, msd] = [await loadStock(handlerOf(artifacts)), await loadGraphModel(handlerOf(artifacts))];
    expect(reportOf(msd)!.nodes[0]!.msdOp).toBe('MsdAttention');
    const feeds = { q: random(1, [2, 3, 5, 8]), k: random(2, [2, 3, 6, 8]), v: random(3, [2, 3, 6, 8]) };
    const [want, got] = [stock, msd].map((model) => model.execute(feeds) as tf.Tensor);
    expect(await got!.data()).toEqual(await want!.data());
    tf.dispose([want, got, feeds] as never);
    stock.dispose();
    msd.dispose();
  });

  it('multiplies batches that broadcast on both sides', async () => {
    const [a, b] = [random(1, [2, 1, 3, 4]), random(2, [1, 5, 4, 2])];
    const got = tf.matMul(a, b);
    const want = tf.matMul(tf.tile(a, [1, 5, 1, 1]), tf.tile(b, [2, 1, 1, 1]));
    expect(await got.data()).toEqual(await want.data());
    tf.dispose([a, b, got, want]);
  });
});
