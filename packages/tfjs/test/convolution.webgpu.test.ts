/** Convolutions with windows on tfjs's WebGPU backend: the weights stay integers there, too. */
import { describe, expect, it } from 'vitest';
import { accelerate, loadGraphModel, loadLayersModel, ready, reportOf } from '../src/index.ts';
import { artifactsOf, b64, floats, type GraphEntry, handlerOf, placeholder } from './graph.ts';
import { saved } from './layers.ts';
import { relativeL2, tensor, tf } from './tf.ts';
import { gpu, onWebGpu } from './webgpu-in-node.ts';

const sizes = (...values: number[]) => ({ list: { i: values.map(String) } });

interface Form {
  readonly filter: number[];
  readonly image: number[];
  readonly strides?: readonly [number, number];
  readonly dilations?: readonly [number, number];
  readonly padding?: 'SAME' | 'VALID' | readonly number[];
  readonly fused?: readonly string[];
  readonly stored?: 'uint8' | 'uint16' | 'float16';
}

function graphOf({ filter, strides = [1, 1], dilations = [1, 1], padding = 'SAME', fused, stored }: Form): GraphEntry {
  const explicit =
    typeof padding === 'string'
      ? { padding: b64(padding) }
      : { padding: b64('EXPLICIT'), explicit_paddings: sizes(0, 0, ...padding, 0, 0) };
  const attr = { strides: sizes(1, ...strides, 1), dilations: sizes(1, ...dilations, 1), data_format: b64('NHWC') };
  const more = fused && { fused_ops: { list: { s: fused.map((op) => btoa(op)) } }, num_args: { i: '1' } };
  return {
    nodes: [
      placeholder('x'),
      {
        name: 'y',
        op: fused ? '_FusedConv2D' : 'Conv2D',
        input: ['x', 'w', ...(fused ? ['bias'] : [])],
        attr: { ...attr, ...explicit, ...more },
      },
    ],
    weights: [floats('w', filter, stored), ...(fused ? [floats('bias', [filter[3]!])] : [])],
    outputs: ['y'],
  };
}

const FORMS: Readonly<Record<string, Form>> = {
  '3x3': { filter: [3, 3, 16, 48], image: [2, 9, 7, 16] },
  '3x3, strides, relu6': {
    filter: [3, 3, 16, 48],
    image: [2, 10, 7, 16],
    strides: [2, 2],
    fused: ['BiasAdd', 'Relu6'],
  },
  'dilated, elu': { filter: [3, 2, 16, 48], image: [1, 11, 9, 16], dilations: [2, 3], fused: ['BiasAdd', 'Elu'] },
  'strides wider than the window': { filter: [1, 2, 32, 48], image: [2, 9, 8, 32], strides: [3, 2], padding: 'VALID' },
  'zeros on all sides': { filter: [5, 5, 16, 48], image: [1, 4, 5, 16], padding: [1, 3, 2, 0] },
  'uint8, 4x4': { filter: [4, 4, 16, 48], image: [1, 8, 8, 16], stored: 'uint8' },
  uint16: { filter: [3, 3, 16, 48], image: [1, 8, 8, 16], stored: 'uint16' },
  float16: { filter: [3, 3, 16, 48], image: [1, 8, 8, 16], stored: 'float16' },
  'more rows than there are at once': { filter: [3, 3, 64, 32], image: [1, 100, 100, 64] },
};

describe.runIf(gpu)('convolutions on webgpu', () => {
  onWebGpu();

  it.each(Object.entries(FORMS))('%s: as stock within the error of the format, and no floats', async (_, form) => {
    const entry = graphOf(form);
    const x = tensor(3, form.image);
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const before = tf.memory().numBytes;
    const model = await loadGraphModel(handlerOf(artifactsOf(entry)), { convolutions: true });
    expect(reportOf(model)!.nodes).toMatchObject([{ where: 'msd', msdOp: 'MsdConv2D' }]);
    const [got, want] = [model, stock].map((own) => own.execute(x) as tf.Tensor) as [tf.Tensor, tf.Tensor];
    expect(got.shape).toEqual(want.shape);
    expect(relativeL2(await got.data(), await want.data())).toBeLessThan(form.stored ? 1e-3 : 0.01);
    tf.dispose([got, want]);
    expect((await ready()).dequantizedBytes).toBe(0);
    expect(tf.memory().numBytes - before).toBeLessThanOrEqual(reportOf(model)!.weightBytes);
    model.dispose();
    stock.dispose();
    x.dispose();
  });

  it('layers: loaded and accelerated, and their gradient leaves no floats', async () => {
    const stock = tf.sequential({
      layers: [
        tf.layers.conv2d({
          ...{ filters: 48, kernelSize: 3, strides: 2, activation: 'tanh', inputShape: [9, 8, 16] },
          kernelInitializer: tf.initializers.glorotNormal({ seed: 1 }) as never,
        }),
        tf.layers.conv2d({
          ...{ filters: 48, kernelSize: [2, 3], padding: 'same' as const },
          kernelInitializer: tf.initializers.glorotNormal({ seed: 2 }) as never,
        }),
      ],
    });
    const x = tensor(3, [2, 9, 8, 16]);
    const run = async (model: tf.LayersModel) => {
      const y = model.predict(x) as tf.Tensor;
      const values = await y.data();
      y.dispose();
      return values;
    };
    const want = await run(stock);
    const loaded = await loadLayersModel(tf.io.fromMemory(await saved(stock)), { convolutions: true });
    expect(reportOf(loaded)!.nodes.map(({ where }) => where)).toEqual(['msd', 'msd']);
    expect(relativeL2(await run(loaded), want)).toBeLessThan(0.02);
    loaded.dispose();
    const { restore } = await accelerate(stock, { convolutions: true, restorable: true });
    expect(relativeL2(await run(stock), want)).toBeLessThan(0.02);
    const gradient = tf.grad((given) => tf.sum(stock.apply(given) as tf.Tensor))(x);
    expect((await gradient.data()).every(Number.isFinite)).toBe(true);
    gradient.dispose();
    expect((await ready()).dequantizedBytes).toBe(0);
    await restore();
    expect(await run(stock)).toEqual(want);
    stock.dispose();
    x.dispose();
  });
});
