/** Recurrent layers whose kernels one scale per channel would lose: levelled, in blocks, as 16 bits, or left to tfjs with the reason. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accelerate,
  loadGraphModel,
  loadLayersModel,
  type MatrixSpec,
  recordActivations,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import { formatOf } from '../src/spec.ts';
import { artifactsOf, handlerOf } from './graph.ts';
import { kerasLoop } from './keras-loops.ts';
import { saved } from './layers.ts';
import { BACKENDS, gaussian, random, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const KINDS = ['lstm', 'gru', 'simpleRNN'] as const;
type Kind = (typeof KINDS)[number];
const GATES = { lstm: 4, gru: 3, simpleRNN: 1 } as const;
const [K, UNITS, POSITIONS] = [48, 40, 5];
const fast = { recurrentInitializer: 'glorotNormal' } as const;

/** Features of 10⁻³ to 10⁴ whose scaler is folded into the kernel; small features matter as much as large ones. */
const sizes = (() => {
  const next = random(7);
  return Float32Array.from({ length: K }, () => 10 ** (7 * next() - 3));
})();
const inputs = (batch = 2) => tf.tidy(() => tf.mul(tensor(3, [batch, POSITIONS, K]), tf.tensor1d(sizes)));

function layered(kind: Kind, rest: object = {}): tf.LayersModel {
  const layer = tf.layers[kind]({ units: UNITS, name: 'own', ...fast, ...rest } as never);
  const model = tf.sequential({ layers: [tf.layers.inputLayer({ inputShape: [POSITIONS, K] }), layer] });
  const [N, own] = [GATES[kind] * UNITS, gaussian(2, UNITS * GATES[kind] * UNITS)];
  const kernel = gaussian(1, K * N).map((value, i) => value / (4 * sizes[Math.floor(i / N)]!));
  const recurrent = own.map((value) => value / 20);
  tf.tidy(() =>
    layer.setWeights([tf.tensor2d(kernel, [K, N]), tf.tensor2d(recurrent, [UNITS, N]), ...layer.getWeights().slice(2)]),
  );
  return model;
}

const predict = (model: tf.LayersModel, x: tf.Tensor) => {
  const y = model.predict(x) as tf.Tensor;
  const values = y.dataSync().slice() as Float32Array;
  y.dispose();
  return values;
};
const nodeOf = (model: object) => reportOf(model as tf.LayersModel)!.nodes.find(({ name }) => name === 'own')!;

describe.each(BACKENDS)('a scaler folded into a recurrent layer, on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(KINDS)('%s: its features are levelled, in files and in memory', async (kind) => {
    await withoutLeaks(async () => {
      const stock = layered(kind);
      const x = inputs();
      const want = predict(stock, x);
      const loaded = await loadLayersModel(tf.io.fromMemory(await saved(stock)));
      const { weights, where } = nodeOf(loaded);
      expect([where, weights!.finer]).toEqual(['msd', expect.stringContaining('int8 loses')]);
      expect((weights!.spec as MatrixSpec).powers).toHaveLength(K);
      const got = predict(loaded, x);
      expect(relativeL2(got, want)).toBeLessThan(0.03);
      // As a step in operations of tfjs as well, and saved.
      const again = await tf.loadLayersModel(tf.io.fromMemory(await saved(loaded)));
      expect(predict(again, x)).toEqual(got);
      const slope = tf.tidy(() =>
        tf
          .grad((at: tf.Tensor) => tf.sum(loaded.apply(at) as tf.Tensor))(x)
          .dataSync()
          .slice(),
      );
      const wanted = tf.tidy(() =>
        tf
          .grad((at: tf.Tensor) => tf.sum(stock.apply(at) as tf.Tensor))(x)
          .dataSync()
          .slice(),
      );
      const scaled = (of: Float32Array) => of.map((value, i) => value * sizes[i % K]!);
      expect(relativeL2(scaled(slope as Float32Array), scaled(wanted as Float32Array))).toBeLessThan(0.06);
      const { restore } = await accelerate(stock, { restorable: true });
      expect(predict(stock, x)).toEqual(got);
      await restore();
      expect(predict(stock, x)).toEqual(want);
      tf.dispose(x);
      for (const model of [stock, loaded, again]) model.dispose();
    });
  });
});

describe('activations of recurrent layers', () => {
  beforeAll(() => useBackend('wasm'));

  it.each(KINDS)('%s: recorded, they measure both kernels', async (kind) => {
    const model = layered(kind);
    const activations = await recordActivations(model, inputs(4));
    expect(Object.entries(activations).map(([name, { shape }]) => [name, shape])).toEqual([
      ['own', [4 * POSITIONS, K]],
      ['own/states', [4 * POSITIONS, UNITS]],
    ]);
    await accelerate(model, { activations });
    const { weights, more } = nodeOf(model);
    expect(weights!.accuracy!.measured).toBeLessThan(0.05);
    // Of what a GRU's gate leaves of its state nobody knows.
    if (kind === 'gru') expect(more![0]!.accuracy!.measured).toBeUndefined();
    else expect(more![0]!.accuracy!.measured).toBeLessThan(0.05);
  });

  it('of a layer whose small features are dead keep int8', async () => {
    const model = layered('lstm');
    const x = tf.tidy(() =>
      tf.mul(tensor(3, [64, K]), tf.tensor1d(sizes.map((size) => (size > 1000 ? 0 : size < 0.01 ? size : 0)))),
    );
    await accelerate(model, { activations: { own: x } });
    const { weights } = nodeOf(model);
    expect([(weights!.spec as MatrixSpec).powers, weights!.finer]).toEqual([undefined, undefined]);
  });

  it('of another width are refused', async () => {
    const model = layered('lstm');
    await expect(accelerate(model, { activations: { 'own/states': tf.zeros([2, 7]) } })).rejects.toThrow(
      /activations of own\/states, expected rows of 40, got 14 numbers/,
    );
  });

  it('of both ways of a Bidirectional, and of each cell of a stack', async () => {
    const layer = tf.layers.lstm({ units: UNITS, ...fast }) as never;
    const model = tf.sequential({
      layers: [
        tf.layers.bidirectional({ layer, mergeMode: 'concat', inputShape: [POSITIONS, K], name: 'both' }),
        tf.layers.reshape({ targetShape: [2, UNITS] }),
        tf.layers.rnn({
          cell: [tf.layers.gruCell({ units: 24, ...fast }), tf.layers.lstmCell({ units: 30, ...fast })] as never,
          name: 'two',
        }),
      ],
    });
    const inner = model.layers[0] as unknown as { layer: { name: string } };
    const activations = await recordActivations(model, inputs(1));
    const name = `both/${inner.layer.name}`;
    expect(Object.entries(activations).map(([own, { shape }]) => [own, shape])).toEqual([
      [name, [2 * POSITIONS, K]],
      [`${name}/states`, [2 * POSITIONS, UNITS]],
      ['two/0', [2, UNITS]],
      ['two/0/states', [2, 24]],
      ['two/1', [2, 24]],
      ['two/1/states', [2, 30]],
    ]);
    const { report } = await accelerate(model, { activations });
    expect(report.nodes.map(({ where }) => where)).toEqual(['msd', 'msd']);
  });

  it('rows of a recurrent kernel that vanish take a finer form, or stay tfjs’s with the reason', async () => {
    const model = layered('simpleRNN');
    const [kernel, recurrent, bias] = model.layers.at(-1)!.getWeights();
    const small = (by: number) =>
      tf.tidy(() => {
        const rows = tf.tensor2d(
          Array.from({ length: UNITS }, (_, k) => (k % 2 ? 1 : by)),
          [UNITS, 1],
        );
        model.layers.at(-1)!.setWeights([kernel!, tf.mul(recurrent!, rows), bias!]);
      });
    small(1e-3);
    const { report, restore } = await accelerate(model, { restorable: true });
    const [own] = report.nodes[0]!.more!;
    expect([formatOf(own!.spec), own!.finer]).toEqual([
      'int16',
      expect.stringMatching(/int8 loses \d+ % of input feature/),
    ]);
    await restore();
    small(1e-7);
    const again = (await accelerate(model)).report.nodes[0]!;
    expect([again.where, again.reason]).toEqual(['tfjs', expect.stringMatching(/and no finer form keeps it/)]);
  });
});

describe('loops of graphs', () => {
  beforeAll(() => useBackend('wasm'));

  it.each(['frames', 'while'] as const)(
    'of %s: what their products meet is recorded, and measures them',
    async (form) => {
      const entry = kerasLoop({ kind: 'lstm', K, units: UNITS, form });
      const artifacts = artifactsOf(entry);
      const model = await tf.loadGraphModel(handlerOf(artifacts));
      const activations = await recordActivations(model, tensor(3, [2, POSITIONS, K]));
      const at = form === 'frames' ? 'while/body/_1/' : '';
      expect(Object.fromEntries(Object.entries(activations).map(([name, { shape }]) => [name, shape]))).toEqual({
        [`${at}MatMul`]: [POSITIONS, 2, K],
        [`${at}MatMul_1`]: [POSITIONS, 2, UNITS],
      });
      const loaded = await loadGraphModel(handlerOf(artifacts), { activations });
      const measured = reportOf(loaded)!.nodes.flatMap(({ weights }) => weights?.accuracy?.measured ?? []);
      expect(measured.length).toBe(2);
      for (const error of measured) expect(error).toBeLessThan(0.05);
    },
  );
});
