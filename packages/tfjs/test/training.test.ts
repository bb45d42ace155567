/** Layers models that are trained before, while and after their weights are packed. The yardstick is the same model without MSD. */
import { UnsupportedError } from '@msd/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, DisposedError, loadLayersModel, register, reportOf, unregister } from '../src/index.ts';
import { saved } from './layers.ts';
import { BACKENDS, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

/** Two layers that MSD takes, a normalization with moving averages, and a head that is too small. */
function build(seed = 1, { trainable = true, regularized = false } = {}): tf.Sequential {
  const dense = { units: 40, trainable, ...(regularized && { kernelRegularizer: 'l1l2' as const }) };
  const model = tf.sequential({
    layers: [
      tf.layers.dense({ ...dense, activation: 'relu', inputShape: [32], name: `first${seed}` }),
      tf.layers.batchNormalization({ name: `norm${seed}`, trainable }),
      tf.layers.dense({ ...dense, name: `second${seed}` }),
      tf.layers.dense({ units: 2, name: `head${seed}` }),
    ],
  });
  // Inputs and weights of one half: moving averages and variances are no Gaussians.
  tf.tidy(() =>
    model.setWeights(
      model.weights.map(({ name, shape }, i) =>
        /variance/.test(name) ? tf.ones(shape as number[]) : tf.div(tensor(seed + i, shape as number[]), 4),
      ),
    ),
  );
  return model;
}

const COMPILED = { loss: 'meanSquaredError' } as const;
const data = () => ({ x: tensor(50, [16, 32]), y: tensor(51, [16, 2]) });
/** By name: the order of weights depends on which of them are trainable. */
const valuesOf = (weights: { name: string; read(): tf.Tensor }[]) =>
  Object.fromEntries(weights.map((weight) => [weight.name, weight.read().dataSync().slice()]));
const inOrder = (weights: { read(): tf.Tensor }[]) => weights.map((weight) => weight.read().dataSync().slice());
const isMoving = ({ name }: { name: string }) => /moving/.test(name);
const variablesOf = (model: tf.LayersModel) => model.weights as unknown as { val: tf.Variable; read(): tf.Tensor }[];
const predict = (model: tf.LayersModel) =>
  tf.tidy(() => (model.predict(tensor(52, [3, 32])) as tf.Tensor).dataSync().slice()) as Float32Array;

async function fit(model: tf.LayersModel, epochs = 2): Promise<number[]> {
  const { x, y } = data();
  try {
    const { history } = await model.fit(x, y, { epochs, batchSize: 8, shuffle: false, verbose: 0 });
    return history.loss as number[];
  } finally {
    tf.dispose([x, y]);
  }
}

const savedWithOptimizer = (model: tf.LayersModel) => saved(model, { includeOptimizer: true });

/** Lines of the Dense layers. */
const denseOf = (model: tf.LayersModel) => reportOf(model)!.nodes.filter(({ op }) => op === 'Dense');

describe.each(BACKENDS)('training on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('is refused for packed weights before anything changes: compile, accelerate, fit', async () => {
    const model = build();
    model.compile({ ...COMPILED, optimizer: tf.train.adam() });
    await fit(model);
    const loss = await fit(model, 1);
    await accelerate(model);
    const before = valuesOf(model.weights);
    const { iterations } = model.optimizer;
    const { x, y } = data();
    let began = false;
    const dataset = {
      size: 1,
      iterator: async () => {
        began = true;
        return { next: async () => ({ done: true, value: null }) };
      },
    };
    await withoutLeaks(async () => {
      const message =
        /^fit: first1\/kernel, second1\/kernel, expected float weights to train, got packed integers\. Freeze .* restore\(\) .* keepTrainable/;
      const onTrainBegin = async () => {
        began = true;
      };
      const fitted = model.fit(x, y, { epochs: 1, verbose: 0, callbacks: { onTrainBegin } });
      await expect(fitted).rejects.toThrow(message);
      await expect(fitted).rejects.toBeInstanceOf(UnsupportedError);
      await expect(model.trainOnBatch(x, y)).rejects.toThrow(message);
      await expect(model.fitDataset(dataset as never, { epochs: 1 })).rejects.toThrow(message);
    });
    expect(began).toBe(false);
    expect(valuesOf(model.weights)).toEqual(before);
    expect(model.optimizer.iterations).toBe(iterations);
    // It can be evaluated, and is as good as before.
    const now = tf.tidy(() => (model.evaluate(x, y) as tf.Scalar).dataSync()[0]!);
    expect(now / loss[0]!).toBeLessThan(1.1);
    tf.dispose([x, y]);
    model.dispose();
  });

  it('goes on after restore() as if nothing had been: the very variables, the state of the optimizer', async () => {
    await withoutLeaks(async () => {
      const [stock, model] = [build(1), build(1)];
      for (const each of [stock, model]) {
        each.compile({ ...COMPILED, optimizer: 'adam' });
        await fit(each);
      }
      const { weights } = model;
      const variables = variablesOf(model).map(({ val }) => val);
      const { restore } = await accelerate(model, { restorable: true });
      expect(denseOf(model).map(({ where }) => where)).toEqual(['msd', 'msd', 'tfjs']);
      expect(variables.filter(({ isDisposed }) => isDisposed)).toHaveLength(2);
      await restore();
      expect(model.weights.map((weight, i) => weight === weights[i])).not.toContain(false);
      expect(variablesOf(model).map(({ val }, i) => val === variables[i])).not.toContain(false);
      expect(variables.map(({ isDisposed }) => isDisposed)).not.toContain(true);
      for (const variable of variables) expect(tf.engine().registeredVariables[variable.name]).toBe(variable);
      expect(inOrder(model.weights)).toEqual(inOrder(stock.weights));
      expect(await fit(model)).toEqual(await fit(stock));
      expect(inOrder(model.weights)).toEqual(inOrder(stock.weights));
      // Compiled while it was packed, trained when it no longer is.
      const again = await accelerate(model, { restorable: true });
      for (const each of [stock, model]) {
        each.optimizer.dispose(); // compile() leaves it to itself
        each.compile({ ...COMPILED, optimizer: 'sgd' });
      }
      await again.restore();
      expect(await fit(model)).toEqual(await fit(stock));
      stock.dispose();
      model.dispose();
    });
  });

  it('trains a new head on a frozen packed base as on the base of the same values', async () => {
    await withoutLeaks(async () => {
      const headed = (base: tf.LayersModel) =>
        tf.sequential({
          layers: [
            base,
            tf.layers.dense({ units: 2, kernelInitializer: tf.initializers.glorotUniform({ seed: 3 }) as never }),
          ],
        });
      const [stock, base] = [build(1, { regularized: true }), build(1, { regularized: true })];
      await accelerate(base);
      tf.tidy(() => stock.setWeights(base.getWeights()));
      const losses: number[][] = [];
      for (const each of [stock, base]) {
        for (const layer of each.layers) layer.trainable = false;
        const model = headed(each);
        model.compile({ ...COMPILED, optimizer: 'adam' });
        // Moving averages are updated in frozen layers too: that is stock's.
        const frozen = each.weights.filter((weight) => !isMoving(weight));
        const before = valuesOf(frozen);
        losses.push(await fit(model, 4));
        expect(valuesOf(frozen)).toEqual(before);
        expect(model.countParams()).toBe(stock.countParams() + 6);
        model.dispose();
      }
      const [want, got] = losses as [number[], number[]];
      expect(got.at(-1)!).toBeLessThan(got[0]!);
      expect(relativeL2(got, want)).toBeLessThan(1e-3); // activations of two components
    });
  });

  it('follows trainable as stock does: frozen without compiling again, refused when thawed', async () => {
    const [stock, model] = [build(), build()];
    await accelerate(model);
    tf.tidy(() => stock.setWeights(model.getWeights()));
    const losses: number[][] = [];
    for (const each of [stock, model]) {
      each.compile({ ...COMPILED, optimizer: 'sgd' });
      for (const layer of each.layers.slice(0, 3)) layer.trainable = false;
      expect(each.trainableWeights).toHaveLength(2);
      losses.push(await fit(each));
    }
    expect(relativeL2(losses[1]!, losses[0]!)).toBeLessThan(1e-3);
    model.layers[2]!.trainable = true;
    await expect(fit(model)).rejects.toThrow(/^fit: second1\/kernel, expected/);
    stock.dispose();
    model.dispose();
  });

  it('has weights and counts as stock: floats, in order, read and written', async () => {
    await withoutLeaks(async () => {
      const [stock, model, other] = [build(1), build(1), build(2)];
      const [names, shapes] = [stock.weights.map(({ name }) => name), stock.weights.map(({ shape }) => shape)];
      await accelerate(model);
      expect(model.weights.map(({ shape }) => shape)).toEqual(shapes);
      expect(model.weights.map(({ name }) => name.replace(/_\d+$/, ''))).toEqual(
        names.map((name) => name.replace(/_\d+$/, '')),
      );
      expect([model.countParams(), model.layers[0]!.countParams()]).toEqual([stock.countParams(), 33 * 40]);
      const lines = (each: tf.LayersModel) => {
        const text: string[] = [];
        each.summary(undefined, undefined, (line: string) => text.push(line.replace(/\(Msd(\w+)\)/, '($1)   ')));
        return text.slice(2); // without the model's own name
      };
      expect(lines(model)).toEqual(lines(stock));
      const got = model.getWeights();
      stock.getWeights().forEach((want, i) => {
        expect([got[i]!.shape, got[i]!.dtype]).toEqual([want.shape, want.dtype]);
        // int8 per column: half a step of the largest of 32 or 40 Gaussians
        expect(relativeL2(got[i]!.dataSync(), want.dataSync())).toBeLessThan(0.5 / 127 / 0.25);
      });
      expect(model.getWeights()).toEqual(got); // the same tensors again
      const before = predict(model);
      model.setWeights(got);
      expect(predict(model)).toEqual(before);
      tf.tidy(() => model.setWeights(got.map((weight) => weight.clone())));
      expect(predict(model)).toEqual(before);

      // Other values are quantized as accelerate() would.
      model.setWeights(other.getWeights());
      await accelerate(other);
      expect(predict(model)).toEqual(predict(other));
      const now = predict(model);
      expect(() => model.setWeights(model.getWeights().slice(1))).toThrow(/weight list of length/);
      const wrong = model.getWeights().map((weight, i) => (i === 1 ? tf.zeros([41]) : weight));
      expect(() => model.setWeights(wrong)).toThrow(/not compatible/);
      wrong[1]!.dispose();
      const transposed = tf.zeros([40, 32]);
      const kernel = model.weights.find(({ name }) => /first1\/kernel/.test(name))!;
      expect(() => kernel.write(transposed as never)).toThrow(/Shape mismatch: \[32,40\] vs\. \[40,32\]/);
      transposed.dispose();
      const holes = model.getWeights().map((weight, i) => (i === 0 ? tf.fill(weight.shape, Number.NaN) : weight));
      expect(() => model.setWeights(holes)).toThrow(
        /^first1\/kernel: values, expected ones that packed weights can hold/,
      );
      holes[0]!.dispose();
      expect(predict(model)).toEqual(now);
      for (const each of [stock, model, other]) each.dispose();
    });
  });

  it('keeps what was written while it was packed when it is restored', async () => {
    const [model, other] = [build(1), build(2)];
    const { restore } = await accelerate(model, { restorable: true });
    model.setWeights(other.getWeights());
    model.layers[0]!.trainable = false;
    await restore();
    expect(model.trainableWeights).toHaveLength(6);
    model.layers[0]!.trainable = true;
    expect(inOrder(model.weights)).toEqual(inOrder(other.weights));
    model.dispose();
    other.dispose();
  });

  it('goes on where a file with its optimizer left off', async () => {
    const trained = build(1, { trainable: false });
    trained.compile({ ...COMPILED, optimizer: 'adam' });
    await fit(trained);
    const artifacts = await savedWithOptimizer(trained);
    trained.dispose();
    const handler = tf.io.fromMemory(artifacts);
    const [stock, model] = [await tf.loadLayersModel(handler), await loadLayersModel(handler)];
    expect(denseOf(model).map(({ where }) => where)).toEqual(['msd', 'msd', 'tfjs']);
    const { stockBytes } = reportOf(model)!;
    expect(stockBytes).toBe(4 * stock.countParams());
    tf.tidy(() => stock.setWeights(model.getWeights()));
    const [want, got] = [await fit(stock), await fit(model)];
    expect(relativeL2(got, want)).toBeLessThan(1e-3);

    // And is saved with it, for stock's loader and MSD's.
    const again = await savedWithOptimizer(model);
    expect(again.trainingConfig).toEqual((await savedWithOptimizer(stock)).trainingConfig);
    for (const load of [tf.loadLayersModel, loadLayersModel]) {
      const loaded = await load(tf.io.fromMemory(again));
      expect(predict(loaded)).toEqual(predict(model));
      const states = await Promise.all([loaded, model].map((each) => each.optimizer.getWeights()));
      const [a, b] = states.map((state) => state.map(({ tensor: own }) => own.dataSync()));
      expect(a).toEqual(b);
      for (const state of states) state[0]!.tensor.dispose(); // the count of iterations is made for the caller
      loaded.dispose();
    }
    stock.dispose();
    model.dispose();
  });

  it('refuses what a file would train, or leaves it floats on request', async () => {
    const trained = build();
    trained.compile({ ...COMPILED, optimizer: 'adam' });
    await fit(trained);
    const artifacts = await savedWithOptimizer(trained);
    trained.dispose();
    const handler = tf.io.fromMemory(artifacts);
    const [stock, packed, kept] = [
      await tf.loadLayersModel(handler),
      await loadLayersModel(handler),
      await loadLayersModel(handler, { keepTrainable: true }),
    ];
    await expect(fit(packed)).rejects.toThrow(/^fit: first1\/kernel, second1\/kernel/);
    expect(denseOf(kept).map(({ reason }) => reason)).toEqual(Array(3).fill('trainable, and keepTrainable is set'));
    expect(await fit(kept)).toEqual(await fit(stock));
    kept.layers[0]!.trainable = false;
    const { report } = await accelerate(kept, { keepTrainable: true });
    expect(report.nodes.filter(({ op }) => op === 'Dense').map(({ where }) => where)).toEqual(['msd', 'tfjs', 'tfjs']);
    await expect(accelerate(kept, { keepTrainable: 1 as never })).rejects.toThrow(/keepTrainable, expected a boolean/);
    for (const each of [stock, packed, kept]) each.dispose();
  });

  it('of a loop of your own says that packed weights have no gradient, and trains the rest', async () => {
    const ids = tf.tensor2d([1, 2, 3, 4], [2, 2], 'int32');
    const model = tf.sequential({
      layers: [
        tf.layers.embedding({ inputDim: 60, outputDim: 32, inputLength: 2 }),
        tf.layers.flatten({}),
        tf.layers.dense({ units: 32 }),
        tf.layers.dense({ units: 1 }),
      ],
    });
    model.predict(ids);
    await accelerate(model);
    const optimizer = tf.train.sgd(0.1);
    const step = () => tf.tidy(() => optimizer.minimize(() => tf.mean(model.predict(ids) as tf.Tensor), true)!);
    const before = valuesOf(model.weights);
    expect(step).toThrow(/^matMul: quantized weights have no gradient.*trainable = false/);
    model.layers[2]!.trainable = false;
    expect(step).toThrow(/^gather: quantized weights have no gradient/);
    expect(valuesOf(model.weights)).toEqual(before);
    model.layers[0]!.trainable = false;
    expect(step().dataSync()[0]!).toBeGreaterThan(step().dataSync()[0]!);
    model.dispose();
    ids.dispose();
  });

  it('is left alone while it lasts, in a Sequential too', async () => {
    const model = build();
    model.compile({ ...COMPILED, optimizer: 'sgd' });
    const { x, y } = data();
    const reasons = new Set<string | undefined>();
    const onBatchEnd = async () => {
      await accelerate(model);
      for (const { reason } of denseOf(model)) reasons.add(reason);
    };
    await model.fit(x, y, { epochs: 1, verbose: 0, callbacks: { onBatchEnd } });
    expect([...reasons]).toEqual(['the model is being trained']);
    // A model around it does not say so: the next batch does.
    const outer = tf.sequential({ layers: [model, tf.layers.dense({ units: 2 })] });
    outer.compile({ ...COMPILED, optimizer: 'sgd' });
    const fitted = outer.fit(x, y, { batchSize: 8, verbose: 0, callbacks: { onBatchEnd } });
    await expect(fitted).rejects.toThrow(/^fit: first1\/kernel, second1\/kernel, expected float weights/);
    outer.dispose();
    tf.dispose([x, y]);
  });

  it('says that variables are gone', async () => {
    const model = build();
    const { restore } = await accelerate(model, { restorable: true });
    model.dispose();
    await withoutLeaks(async () => {
      await expect(restore()).rejects.toThrow(DisposedError);
      await expect(accelerate(model)).rejects.toThrow(/^accelerate: model, first1\/kernel has been disposed of/);
      expect(() => model.getWeights()).toThrow(/is already disposed/);
    });
  });
});
