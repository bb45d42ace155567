/** Training, restoring and running executions on tfjs's WebGPU backend in Chromium: as on cpu, and nothing is read back by blocking. */
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-webgpu';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, loadLayersModel, ready, register, reportOf, unregister } from '../src/index.ts';
import { hasGpu } from './gpu.ts';
import { artifactsOf, floats, handlerOf, placeholder } from './graph.ts';
import { saved } from './layers.ts';

const random = (seed: number, shape: number[]) => tf.randomNormal(shape, 0, 1, 'float32', seed);

describe.skipIf(!hasGpu)('training on WebGPU', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    expect(await tf.setBackend('webgpu')).toBe(true);
    register(tf);
    expect((await ready()).weights).toBe('webgpu pass');
  });
  afterAll(() => unregister(tf));

  const build = () =>
    tf.sequential({
      layers: [
        tf.layers.dense({
          units: 40,
          inputShape: [32],
          activation: 'relu',
          kernelInitializer: tf.initializers.glorotUniform({ seed: 1 }) as never,
        }),
        tf.layers.dense({ units: 2, kernelInitializer: tf.initializers.glorotUniform({ seed: 2 }) as never }),
      ],
    });
  async function fit(model: tf.LayersModel): Promise<number[]> {
    const [x, y] = [random(5, [16, 32]), random(6, [16, 2])];
    try {
      const { history } = await model.fit(x, y, { epochs: 3, batchSize: 8, shuffle: false, verbose: 0 });
      return history.loss as number[];
    } finally {
      tf.dispose([x, y]);
    }
  }
  const predict = async (model: tf.LayersModel) => {
    const [x, y] = tf.tidy(() => {
      const input = random(7, [3, 32]);
      return [tf.keep(input), tf.keep(model.predict(input) as tf.Tensor)] as const;
    }) as unknown as [tf.Tensor, tf.Tensor];
    const values = Array.from(await y.data());
    tf.dispose([x, y]);
    return values;
  };

  it('is refused for packed weights, trains a head, goes on after restore()', async () => {
    const [stock, model] = [build(), build()];
    for (const each of [stock, model]) each.compile({ optimizer: 'adam', loss: 'meanSquaredError' });
    expect(await fit(model)).toEqual(await fit(stock));
    const want = await predict(model);
    const before = tf.memory().numTensors;
    const { restore } = await accelerate(model, { restorable: true });
    expect(reportOf(model)!.nodes.map(({ where }) => where)).toEqual(['msd', 'tfjs']);
    await expect(fit(model)).rejects.toThrow(/expected float weights to train, got packed integers/);
    const got = await predict(model);
    expect(got).not.toEqual(want);
    const [kernel] = model.getWeights();
    const [own] = stock.getWeights();
    expect(kernel!.shape).toEqual([32, 40]);
    const error = tf.tidy(() => tf.div(tf.norm(tf.sub(kernel!, own!)), tf.norm(own!)));
    expect((await error.data())[0]).toBeLessThan(0.02);
    error.dispose();

    const again = await loadLayersModel(tf.io.fromMemory(await saved(model)));
    expect(await predict(again)).toEqual(got);
    again.layers[0]!.trainable = false;
    again.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
    const losses = await fit(again);
    expect(losses.at(-1)!).toBeLessThan(losses[0]!);
    again.dispose();

    await restore();
    expect(await predict(model)).toEqual(want);
    expect(tf.memory().numTensors).toBe(before);
    expect(await fit(model)).toEqual(await fit(stock));
    stock.dispose();
    model.dispose();
  });

  it('a graph model is accelerated while it runs, from the file’s integers, and restored', async () => {
    const artifacts = artifactsOf({
      nodes: [placeholder('x'), { name: 'y', op: 'MatMul', input: ['x', 'w'] }],
      weights: [floats('w', [64, 48], 'uint16')],
    });
    const model = await tf.loadGraphModel(handlerOf(artifacts));
    const x = random(3, [4, 64]);
    const run = async () => {
      const y = (await model.executeAsync({ x }, 'y')) as tf.Tensor;
      const values = await y.data();
      y.dispose();
      return Array.from(values);
    };
    const want = await run();
    const running = run();
    const { report, restore } = await accelerate(model);
    expect(await running).toEqual(want);
    expect(report.nodes[0]!.weights).toMatchObject({ how: 'stored integers kept', error: 0 });
    const got = await run();
    expect(got).not.toEqual(want);
    // Activations of two components: 16 bits of the largest of a row, against sums of 64 products.
    for (const [i, value] of got.entries()) expect(Math.abs(value - want[i]!)).toBeLessThan(64 * 4 * 2 ** -15);
    await restore();
    expect(await run()).toEqual(want);
    model.dispose();
    x.dispose();
  });
});
