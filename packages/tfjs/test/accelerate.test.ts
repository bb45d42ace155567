/** accelerate() on models in every state: running, accelerated before, loaded again, restored in any order, gone. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accelerate,
  DisposedError,
  loadGraphModel,
  loadLayersModel,
  type ModelReport,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import { artifactsOf, floats, type GraphEntry, handlerOf, placeholder, savedGraph, type WeightEntry } from './graph.ts';
import { saved as savedLayers } from './layers.ts';
import { BACKENDS, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => {
  register(tf);
  tf.registerOp('Wait', async ({ inputs: [x] }) => {
    await gate?.promise;
    return tf.clone(x!);
  });
});
afterAll(() => {
  unregister(tf);
  tf.deregisterOp('Wait');
});

/** What the op Wait waits for. */
let gate: { promise: Promise<void>; open: () => void } | undefined;
function closeGate(): void {
  let open = () => {};
  gate = {
    promise: new Promise((resolve) => {
      open = () => resolve();
    }),
    open,
  };
}

/** A product before and one after an op that waits, and a table. */
const entry = (stored?: WeightEntry['stored']): GraphEntry => ({
  nodes: [
    placeholder('x'),
    placeholder('ids', 'DT_INT32'),
    { name: 'first', op: 'MatMul', input: ['x', 'w1'] },
    { name: 'wait', op: 'Wait', input: ['first'] },
    { name: 'y', op: 'MatMul', input: ['wait', 'w2'] },
    { name: 'axis', op: 'Const', attr: { dtype: { type: 'DT_INT32' } } },
    { name: 'e', op: 'GatherV2', input: ['table', 'ids', 'axis'] },
    { name: 'small', op: 'MatMul', input: ['x', 'w3'] },
  ],
  weights: [
    floats('w1', [64, 48], stored),
    floats('w2', [48, 40], stored, 2),
    floats('w3', [64, 3], stored, 3),
    floats('table', [100, 32], stored, 4),
    { name: 'axis', shape: [], values: Int32Array.of(0) },
  ],
  outputs: ['y', 'e', 'small'],
});

const inputs = () => ({ x: tensor(9, [3, 64]), ids: tf.tensor1d([1, 99, 0, 7], 'int32') });

async function run(model: tf.GraphModel, names = ['y', 'e', 'small']): Promise<number[][]> {
  const given = inputs();
  const results = [await model.executeAsync(given, names)].flat();
  const values = results.map((result) => Array.from(result.dataSync()));
  tf.dispose([results, given]);
  return values;
}

const stockModel = (stored?: WeightEntry['stored']) => tf.loadGraphModel(handlerOf(artifactsOf(entry(stored))));
const placesOf = (model: tf.GraphModel | tf.LayersModel) =>
  reportOf(model)!
    .nodes.filter(({ where }) => where === 'msd')
    .map(({ name }) => name)
    .sort();
const inOrder = (report: ModelReport) => ({
  ...report,
  nodes: [...report.nodes].sort((a, b) => a.name.localeCompare(b.name)),
});
const floatBytes = 4 * (64 * 48 + 48 * 40 + 64 * 3 + 100 * 32 + 1);

describe.each(BACKENDS)('accelerate() on a graph model on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(['float16', 'uint16', 'uint8'] as const)('takes the bytes of %s that the model still has', async (stored) => {
    await withoutLeaks(async () => {
      const [loaded, model] = [await loadGraphModel(handlerOf(artifactsOf(entry(stored)))), await stockModel(stored)];
      const want = await run(model);
      const { report } = await accelerate(model);
      const got = await run(model);
      expect(got).toEqual(await run(loaded)); // bit for bit what loading gives
      expect(got[1]).toEqual(want[1]); // rows are stock's
      expect(got[2]).toEqual(want[2]);
      expect(relativeL2(got[0]!, want[0]!)).toBeLessThan(2e-4);
      const errors = report.nodes.flatMap(({ weights }) => (weights ? [weights.error] : []));
      for (const error of errors) expect(error).toBeLessThan(stored === 'float16' ? 2 ** -15 : 1e-6);
      const { nodes, stockBytes, weightBytes } = reportOf(loaded)!;
      expect(report).toMatchObject({ stockBytes, weightBytes });
      expect(nodes.map(({ name }) => name)).toEqual(report.nodes.map(({ name }) => name));
      loaded.dispose();
      model.dispose();
    });
  });

  it('takes the floats where somebody has written others', async () => {
    const model = await stockModel('uint16');
    const weights = model.weights as Record<string, tf.Tensor[]>;
    const before = weights.w2![0]!;
    weights.w2![0] = tf.keep(tf.zerosLike(before));
    before.dispose();
    // The list of what executeAsync must keep is made when the map is assigned.
    const { executor } = model as unknown as { executor: { weightMap: object } };
    Object.assign(executor, { weightMap: executor.weightMap });
    await accelerate(model);
    expect((await run(model))[0]!.every((value) => value === 0)).toBe(true);
    model.dispose();
  });

  it('lets an execution that is running end with the weights that it began with, and back again', async () => {
    await withoutLeaks(async () => {
      const model = await stockModel();
      const want = await run(model);
      closeGate();
      const first = run(model);
      const { report, restore } = await accelerate(model, { restorable: true });
      expect(report.nodes.filter(({ where }) => where === 'msd')).toHaveLength(3);
      const second = run(model);
      await restore();
      const third = run(model);
      await accelerate(model);
      gate!.open();
      expect(await first).toEqual(want);
      expect(await third).toEqual(want);
      const packed = await run(model);
      expect(packed).not.toEqual(want);
      expect(await second).toEqual(packed);
      model.dispose();
    });
    // Nothing waits for executions that have failed.
    await withoutLeaks(async () => {
      const model = await stockModel();
      const given = inputs();
      await expect(model.executeAsync(given, ['nothing'])).rejects.toThrow(/not found in the graph/);
      tf.dispose(given);
      await accelerate(model);
      model.dispose();
    });
  });

  it.each([
    [true, 'first, second'],
    [true, 'second, first'],
    [false, 'first, second'],
    [false, 'second, first'],
  ] as const)('twice, restorable: %s, restored %s', async (restorable, order) => {
    await withoutLeaks(async () => {
      const model = await stockModel();
      const want = await run(model);
      const { numBytes } = tf.memory();
      const first = await accelerate(model, { restorable, tables: false });
      expect(placesOf(model)).toEqual(['first', 'y']);
      const between = await run(model);
      const second = await accelerate(model, { restorable });
      expect(placesOf(model)).toEqual(['e', 'first', 'y']);
      for (const { report } of [first, second]) expect(report.stockBytes).toBe(floatBytes);
      expect(second.report.weightBytes).toBeLessThan(first.report.weightBytes);
      expect(first.report.weightBytes - second.report.weightBytes).toBe(4 * 3200 - 3200 - 400 + 4); // a scale per row, no axis
      const third = await accelerate(model, { restorable });
      expect(inOrder(third.report)).toEqual(inOrder(second.report));
      const both = await run(model);
      await third.restore();
      expect(await run(model)).toEqual(both);
      if (order === 'second, first') {
        await second.restore();
        expect(await run(model)).toEqual(between);
        expect(reportOf(model)).toEqual(first.report);
      }
      await first.restore();
      expect(await run(model)).toEqual(want);
      expect(reportOf(model)).toBeUndefined();
      expect(tf.memory().numBytes).toBe(numBytes);
      await second.restore();
      await first.restore();
      expect(await run(model)).toEqual(want);
      model.dispose();
    });
  });

  it('at the same time', async () => {
    await withoutLeaks(async () => {
      const model = await stockModel();
      const want = await run(model);
      const all = await Promise.all([1, 2, 3].map(() => accelerate(model, { restorable: true })));
      expect(new Set(all.map(({ report }) => JSON.stringify(inOrder(report)))).size).toBe(1);
      await Promise.all(all.map(({ restore }) => restore()));
      expect(await run(model)).toEqual(want);
      model.dispose();
    });
  });

  it('on what MSD loaded, saved, and loaded again: the same report, and right bytes', async () => {
    const stock = await stockModel('uint8');
    const model = await loadGraphModel(handlerOf(artifactsOf(entry('uint8'))));
    const artifacts = await savedGraph(model);
    const want = await run(model);
    expect(reportOf(model)!.stockBytes).toBe(floatBytes);
    for (const load of [loadGraphModel, tf.loadGraphModel]) {
      await withoutLeaks(async () => {
        const again = await load(handlerOf(artifacts));
        // But for the axis, of which nothing is left.
        if (load === loadGraphModel) expect(reportOf(again)!.stockBytes).toBe(floatBytes - 4);
        const { report, restore } = await accelerate(again);
        expect(report.stockBytes).toBe(floatBytes - 4);
        expect(report.weightBytes).toBe(reportOf(model)!.weightBytes);
        expect(placesOf(again)).toEqual(['e', 'first', 'y']);
        for (const { where, weights } of report.nodes)
          if (where === 'msd') expect(weights).toMatchObject({ how: 'stored integers kept', error: 0, sharedBy: 1 });
        expect(await run(again)).toEqual(want);
        await restore();
        expect(await run(again)).toEqual(want);
        again.dispose();
      });
    }
    stock.dispose();
    model.dispose();
  });

  it('is restored after unregister as well', async () => {
    await withoutLeaks(async () => {
      for (const restorable of [true, false]) {
        const model = await stockModel();
        const want = await run(model);
        const { restore } = await accelerate(model, { restorable });
        unregister(tf);
        await restore();
        expect(await run(model)).toEqual(want);
        register(tf);
        model.dispose();
      }
      const layers = tf.sequential({ layers: [tf.layers.dense({ units: 40, inputShape: [32] })] });
      const before = layers.getWeights().map((weight) => weight.dataSync().slice());
      const { restore } = await accelerate(layers, { restorable: true });
      unregister(tf);
      await restore();
      expect(layers.getWeights().map((weight) => weight.dataSync().slice())).toEqual(before);
      register(tf);
      layers.dispose();
    });
  });

  it('that is loaded again by itself is stock, and restore() leaves it alone', async () => {
    const model = await stockModel();
    const want = await run(model);
    const { restore } = await accelerate(model);
    const old = Object.values(model.weights).flat() as tf.Tensor[];
    await model.load();
    await restore();
    expect(await run(model)).toEqual(want);
    expect(old.filter(({ isDisposed }) => isDisposed)).toHaveLength(3); // those that MSD made
    const { report } = await accelerate(model);
    expect(report.nodes.filter(({ where }) => where === 'msd')).toHaveLength(3);
    model.dispose();
  });

  it('that is gone, or goes meanwhile, says so; tf.disposeVariables() is none of its business', async () => {
    const model = await stockModel();
    const { restore } = await accelerate(model, { restorable: true });
    tf.disposeVariables();
    expect(await run(model)).toHaveLength(3);
    model.dispose();
    await withoutLeaks(async () => {
      await expect(restore()).rejects.toThrow(DisposedError);
      await expect(accelerate(model)).rejects.toThrow(/^accelerate: model has been disposed of/);
    });
    await withoutLeaks(async () => {
      const other = await stockModel();
      const pending = accelerate(other, { restorable: true });
      await Promise.resolve();
      other.dispose();
      await expect(pending).rejects.toThrow(DisposedError);
      const third = await stockModel();
      const done = await accelerate(third);
      const restoring = done.restore();
      await Promise.resolve();
      third.dispose();
      await expect(restoring).rejects.toThrow(DisposedError);
    });
  });
});

describe.each(BACKENDS)('accelerate() on a layers model on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  function build(): tf.LayersModel {
    const inner = tf.sequential({ layers: [tf.layers.dense({ units: 40, inputShape: [48], name: 'nested' })] });
    const input = tf.input({ shape: [8], dtype: 'int32' });
    let x = tf.layers.embedding({ inputDim: 90, outputDim: 32, name: 'words' }).apply(input) as tf.SymbolicTensor;
    x = tf.layers.globalAveragePooling1d({}).apply(x) as tf.SymbolicTensor;
    x = tf.layers.dense({ units: 48, name: 'outer' }).apply(x) as tf.SymbolicTensor;
    return tf.model({ inputs: input, outputs: inner.apply(x) as tf.SymbolicTensor });
  }
  const predict = (model: tf.LayersModel) =>
    tf.tidy(() =>
      Array.from((model.predict(tf.tensor2d([1, 2, 3, 4, 5, 6, 7, 89], [1, 8], 'int32')) as tf.Tensor).dataSync()),
    );

  it.each(['first, second', 'second, first'] as const)('twice, restored %s', async (order) => {
    await withoutLeaks(async () => {
      const model = build();
      const want = predict(model);
      const { numBytes } = tf.memory();
      const first = await accelerate(model, { restorable: true, tables: false });
      expect(placesOf(model)).toEqual(['nested', 'outer']);
      const between = predict(model);
      const second = await accelerate(model, { restorable: true });
      expect(placesOf(model)).toEqual(['nested', 'outer', 'words']);
      for (const { report } of [first, second]) expect(report.stockBytes).toBe(4 * model.countParams());
      const { report, restore } = await accelerate(model);
      expect(report).toEqual(second.report);
      await restore();
      if (order === 'second, first') {
        await second.restore();
        expect(predict(model)).toEqual(between);
        expect(reportOf(model)).toEqual(first.report);
      }
      await first.restore();
      expect(predict(model)).toEqual(want);
      expect(reportOf(model)).toBeUndefined();
      await second.restore();
      await first.restore();
      expect(predict(model)).toEqual(want);
      expect(tf.memory().numBytes).toBe(numBytes);
      model.dispose();
    });
  });

  it('whose later change cannot be undone says so, and is not changed', async () => {
    const model = build();
    const { restore } = await accelerate(model, { restorable: true, tables: false });
    await accelerate(model);
    const got = predict(model);
    await expect(restore()).rejects.toThrow(/restorable: true/);
    expect(predict(model)).toEqual(got);
    model.dispose();
  });

  it('on what MSD loaded, saved, and loaded again: the same report, and right bytes', async () => {
    const made = build();
    const params = made.countParams();
    const model = await loadLayersModel(tf.io.fromMemory(await savedLayers(made)));
    made.dispose();
    const artifacts = await savedLayers(model);
    const want = predict(model);
    const { weightBytes, nodes } = reportOf(model)!;
    const { report: same } = await accelerate(model);
    expect(same).toEqual({ nodes, weightBytes, stockBytes: 4 * params });
    for (const load of [loadLayersModel, tf.loadLayersModel]) {
      await withoutLeaks(async () => {
        const again = await load(tf.io.fromMemory(artifacts));
        if (load === loadLayersModel) expect(reportOf(again)).toMatchObject({ stockBytes: 4 * params, weightBytes });
        const { report } = await accelerate(again);
        expect(report).toMatchObject({ stockBytes: 4 * params, weightBytes });
        expect(placesOf(again)).toEqual(['nested', 'outer', 'words']);
        expect(report.nodes.map(({ name, op }) => [name, op])).toEqual(nodes.map(({ name, op }) => [name, op]));
        expect(predict(again)).toEqual(want);
        again.dispose();
      });
    }
    model.dispose();
  });

  it('whose variables are gone says so: tf.disposeVariables(), dispose()', async () => {
    for (const end of [() => tf.disposeVariables(), (model: tf.LayersModel) => void model.dispose()]) {
      const [model, stock] = [build(), build()];
      const { restore } = await accelerate(model, { restorable: true });
      end(model);
      if (end.length === 0) await expect(accelerate(stock)).rejects.toThrow(DisposedError);
      else stock.dispose();
      await withoutLeaks(async () => {
        await expect(accelerate(model)).rejects.toThrow(/^accelerate: model, .* has been disposed of/);
        await expect(restore()).rejects.toThrow(/^restore: model, .* has been disposed of/);
        await expect(restore()).rejects.toThrow(DisposedError);
      });
    }
  });

  it('at the same time as a model that shares its layers', async () => {
    const inner = tf.sequential({ layers: [tf.layers.dense({ units: 40, inputShape: [48], name: 'shared' })] });
    const outer = tf.sequential({ layers: [inner, tf.layers.dense({ units: 40, name: 'own' })] });
    const x = tensor(3, [2, 48]);
    const want = tf.tidy(() => Array.from((outer.predict(x) as tf.Tensor).dataSync()));
    const both = await Promise.all([inner, outer].map((model) => accelerate(model, { restorable: true })));
    expect(placesOf(outer)).toEqual(['own', 'shared']);
    for (const { restore } of both.reverse()) await restore();
    expect(tf.tidy(() => Array.from((outer.predict(x) as tf.Tensor).dataSync()))).toEqual(want);
    outer.dispose();
    x.dispose();
  });
});
