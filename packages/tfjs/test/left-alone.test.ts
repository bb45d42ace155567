/** Number 12: what stays tfjs's is in the report, with its bytes and why. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accelerate,
  formatReport,
  loadGraphModel,
  loadLayersModel,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import { artifactsOf, FLOAT, floats, handlerOf, ints, placeholder } from './graph.ts';
import { saved } from './layers.ts';
import { BACKENDS, tf, useBackend } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

/** A layer of each sort: recurrent, convolutions, norms, one of a class that nobody knows, and some without weights. */
function build(): tf.LayersModel {
  class Scale extends tf.layers.Layer {
    static className = 'LeftAloneScale';
    override build(shape: number[]): void {
      this.addWeight('scale', [shape.at(-1)!, 2], 'float32', tf.initializers.ones());
      this.built = true;
    }
    override call(inputs: tf.Tensor | tf.Tensor[]) {
      return Array.isArray(inputs) ? inputs[0]! : inputs;
    }
  }
  tf.serialization.registerClass(Scale as never);
  return tf.sequential({
    layers: [
      tf.layers.reshape({ targetShape: [8, 8, 4], inputShape: [256], name: 'image' }),
      tf.layers.separableConv2d({ filters: 4, kernelSize: 3, padding: 'same', name: 'apart' }),
      tf.layers.depthwiseConv2d({ kernelSize: 3, padding: 'same', name: 'deep' }),
      tf.layers.batchNormalization({ name: 'norm' }),
      tf.layers.activation({ activation: 'relu' }),
      tf.layers.reshape({ targetShape: [8, 32] }),
      tf.layers.rnn({
        cell: tf.layers.simpleRNNCell({ units: 8, activation: 'softmax' as never }),
        name: 'own',
      } as never),
      new Scale({ name: 'scale' }),
      tf.layers.dense({ units: 200, name: 'taken' }),
      tf.layers.dense({ units: 2, name: 'small' }),
    ],
  });
}

const bytesOfLayer = (model: tf.LayersModel, name: string) =>
  model.getLayer(name).weights.reduce((sum, weight) => sum + 4 * weight.read().size, 0);

describe.each(BACKENDS)('layers on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('are all told, whether the model is loaded or accelerated', async () => {
    const model = build();
    const expected = model.layers.filter(({ weights }) => weights.length > 0).map(({ name }) => name);
    const bytes = Object.fromEntries(expected.map((name) => [name, bytesOfLayer(model, name)]));
    const stock = model.weights.reduce((sum, weight) => sum + 4 * weight.read().size, 0);
    const loaded = await loadLayersModel(tf.io.fromMemory(await saved(model)));
    const reports = [reportOf(loaded)!, (await accelerate(model)).report];
    for (const { nodes, stockBytes } of reports) {
      expect(nodes.map(({ name }) => name.split('/')[0])).toEqual(expected);
      for (const { name, where, bytes: kept, reason } of nodes)
        if (where === 'tfjs')
          expect([name, kept, reason]).toEqual([name, bytes[name.split('/')[0]!], expect.any(String)]);
      expect(stockBytes).toBe(stock);
    }
    const [{ nodes }] = reports as [(typeof reports)[0]];
    expect(nodes.find(({ name }) => name === 'norm')!.reason).toBe('vectors, no matrix');
    expect(nodes.find(({ name }) => name === 'scale')!.reason).toBe('MSD has no kernel for LeftAloneScale');
    expect(formatReport(reportOf({}))).toMatch(/^no report: MSD has not changed this model/);
    expect(() => formatReport({} as never)).toThrow(
      'formatReport: report, expected one of reportOf() or accelerate(), got [object Object].',
    );
    expect(formatReport(reports[0]!)).toMatch(/tfjs +LeftAloneScale +scale +64 B, MSD has no kernel/);
    expect(nodes.find(({ name }) => name === 'taken')!.where).toBe('msd');
    model.dispose();
    loaded.dispose();
  });
});

describe('nodes of a graph', () => {
  beforeAll(() => useBackend('cpu'));

  /** A filter of 3x3, norms, a vector, a transposed product, a constant that two read, a scalar, and one that is taken. */
  const artifacts = artifactsOf({
    nodes: [
      placeholder('x'),
      {
        name: 'conv',
        op: 'Conv2D',
        input: ['x', 'filter'],
        attr: { strides: { list: { i: [1, 1, 1, 1] } }, T: FLOAT },
      },
      { name: 'norm', op: 'Mul', input: ['conv', 'gamma'] },
      { name: 'half', op: 'Mul', input: ['norm', 'scalar'] },
      { name: 'rows', op: 'Reshape', input: ['half', 'shape'] },
      { name: 'taken', op: 'MatMul', input: ['rows', 'w'] },
      { name: 'read/one', op: 'Identity', input: ['twice'] },
      { name: 'prod', op: 'MatMul', input: ['taken', 'read/one'] },
      { name: 'sum', op: 'Sum', input: ['read/one', 'axis'] },
      { name: 'y', op: 'AddV2', input: ['prod', 'sum'] },
    ],
    weights: [
      floats('filter', [3, 3, 4, 8]),
      floats('gamma', [8]),
      floats('scalar', []),
      ints('shape', [-1, 128]),
      floats('w', [128, 64]),
      floats('twice', [64, 64]),
      ints('axis', [0]),
    ],
    outputs: ['y'],
  });

  it('are all told, whether the model is loaded or accelerated', async () => {
    const loaded = await loadGraphModel(handlerOf(artifacts));
    const model = await tf.loadGraphModel(handlerOf(artifacts));
    for (const { nodes } of [reportOf(loaded)!, (await accelerate(model)).report])
      expect(nodes.map(({ name, op, where, reason, bytes }) => [name, op, where, bytes, reason])).toEqual([
        ['conv', 'Conv2D', 'tfjs', 4 * 9 * 32, expect.any(String)],
        ['prod', 'MatMul', 'tfjs', 4 * 64 * 64, 'the weights are also read by sum (Sum)'],
        ['taken', 'MatMul', 'msd', undefined, undefined],
        ['norm', 'Mul', 'tfjs', 4 * 8, 'a vector, no matrix'],
        ['sum', 'Sum', 'tfjs', 4 * 64 * 64, 'MSD has no kernel for Sum'],
      ]);
    loaded.dispose();
    model.dispose();
  });
});

describe('a class of somebody’s own behind a stock name', () => {
  type Make = () => tf.layers.Layer;
  type Class = new (config: object) => tf.layers.Layer;
  const fast = { recurrentInitializer: 'glorotNormal' } as const;
  const cell = () => tf.layers.gruCell({ units: 32, ...fast });

  it.each<[string, number[], Make, Make]>([
    ['Dense', [32], () => tf.layers.dense({ units: 40 }), () => tf.layers.dense({ units: 1 })],
    ['LSTM', [3, 32], () => tf.layers.lstm({ units: 32, ...fast }), () => tf.layers.lstm({ units: 1 })],
    ['GRUCell', [3, 32], () => tf.layers.rnn({ cell: cell() } as never), () => cell() as never],
    [
      'DepthwiseConv2D',
      [5, 5, 32],
      () => tf.layers.depthwiseConv2d({ kernelSize: 3 }),
      () => tf.layers.depthwiseConv2d({ kernelSize: 1 }),
    ],
  ])('is what a file is made of: %s stays tfjs’s', async (name, shape, make, sample) => {
    await useBackend('cpu');
    const input = tf.input({ shape });
    const plain = tf.model({ inputs: input, outputs: make().apply(input) as tf.SymbolicTensor });
    const artifacts = await saved(plain);
    plain.dispose();
    const Stock = sample().constructor as Class;
    class Own extends (Stock as Class & { prototype: { call(x: unknown, kwargs: object): tf.Tensor | tf.Tensor[] } }) {
      static className = name;
      override call(x: tf.Tensor | tf.Tensor[], kwargs: object): tf.Tensor | tf.Tensor[] {
        const y = super.call(x, kwargs);
        return Array.isArray(y) ? y.map((one) => tf.mul(one, 2)) : tf.mul(y, 2);
      }
    }
    tf.serialization.registerClass(Own as never);
    try {
      const run = (model: tf.LayersModel) =>
        tf.tidy(() => (model.predict(tf.ones([2, ...shape])) as tf.Tensor).dataSync().slice());
      const [stock, model] = [
        await tf.loadLayersModel(tf.io.fromMemory(artifacts)),
        await loadLayersModel(tf.io.fromMemory(artifacts), { convolutions: true }),
      ];
      const reason = `a class of its own behind the name ${name}`;
      expect(reportOf(model)!.nodes).toMatchObject([{ where: 'tfjs', reason }]);
      expect(run(model)).toEqual(run(stock));
      const { report } = await accelerate(stock, { convolutions: true });
      expect(report.nodes).toMatchObject([{ where: 'tfjs', reason }]);
      stock.dispose();
      model.dispose();
    } finally {
      tf.serialization.registerClass(Stock as never);
    }
    const again = await loadLayersModel(tf.io.fromMemory(artifacts), { convolutions: true });
    expect(reportOf(again)!.nodes).toMatchObject([{ where: 'msd' }]);
    again.dispose();
  });
});
