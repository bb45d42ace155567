/** The manifests of converter-manifests.test.ts on tfjs's WebGPU backend, in Node. */
import { describe, expect, it } from 'vitest';
import { loadGraphModel, reportOf } from '../src/index.ts';
import { artifactsOf, handlerOf, placeholder } from './graph.ts';
import { CASES, decoded, expected, graphOf, K, N, rowsOf, stepOf, within } from './manifests.ts';
import { gaussian, relativeL2, tf } from './tf.ts';
import { gpu, onWebGpu } from './webgpu-in-node.ts';

describe.runIf(gpu)('manifests on webgpu', () => {
  onWebGpu();

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

  it('floats with levelled input features', async () => {
    const values = gaussian(3, K * N).map((value, i) => value * 10 ** ((Math.floor(i / N) % 7) - 3));
    const artifacts = artifactsOf({
      nodes: [placeholder('x'), { name: 'y', op: 'MatMul', input: ['x', 'w'] }],
      weights: [{ name: 'w', shape: [K, N], values }],
    });
    const input = tf.tensor2d(
      gaussian(4, 4 * K).map((value, i) => value * 10 ** (3 - ((i % K) % 7))),
      [4, K],
    );
    const [stock, model] = [await tf.loadGraphModel(handlerOf(artifacts)), await loadGraphModel(handlerOf(artifacts))];
    expect(reportOf(model)!.nodes[0]!.weights!.spec).toHaveProperty('powers');
    const [want, got] = [stock, model].map((own) => own.execute(input) as tf.Tensor) as [tf.Tensor, tf.Tensor];
    expect(relativeL2(await got.data(), await want.data())).toBeLessThan(0.02);
    tf.dispose([input, want, got]);
    for (const own of [stock, model]) own.dispose();
  });
});
