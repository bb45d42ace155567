/** LSTM and GRU in graph models. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, loadGraphModel, register, reportOf, unregister } from '../src/index.ts';
import { artifactsOf, type GraphEntry, handlerOf } from './graph.ts';
import { kerasUnrolled } from './keras-loops.ts';
import { basic, framed, functional, type RecurrentGraph, unrolled } from './recurrent-graphs.ts';
import { BACKENDS, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const FORMS = { unrolled, framed, functional };
const [POSITIONS, BATCH, K, UNITS] = [4, 2, 19, 34];

async function run(model: tf.GraphModel, kind: 'lstm' | 'gru'): Promise<Float32Array[]> {
  const feeds = {
    x: tensor(3, [POSITIONS, BATCH, K]),
    h0: tensor(4, [BATCH, UNITS]),
    ...(kind === 'lstm' && { c0: tensor(5, [BATCH, UNITS]) }),
  };
  const outputs = kind === 'lstm' ? ['h', 'c'] : ['h'];
  const made = [await model.executeAsync(feeds, outputs)].flat();
  const values = made.map((y) => y.dataSync().slice() as Float32Array);
  tf.dispose([made, feeds] as never);
  return values;
}

describe.each(BACKENDS)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(['lstm', 'gru'] as const)('%s', (kind) => {
    it.each(Object.entries(FORMS))(
      '%s: kernels are integers, results those of stock, saved and accelerated too',
      async (_, form) => {
        const graph: RecurrentGraph = { kind, positions: POSITIONS, K, units: UNITS, stored: 'uint8' };
        const artifacts = artifactsOf(form(graph));
        await withoutLeaks(async () => {
          const stock = await tf.loadGraphModel(handlerOf(artifacts));
          const want = await run(stock, kind);
          const model = await loadGraphModel(handlerOf(artifacts));
          const taken = reportOf(model)!.nodes.filter(({ weights }) => weights);
          expect(taken.length).toBe(form === unrolled ? 2 * POSITIONS : 2);
          const { nodes } = reportOf(model)!;
          const cells = nodes.filter(({ msdOp }) => msdOp === 'MsdGates');
          const loops = nodes.filter(({ msdOp, weights }) => msdOp === 'MsdRecurrent' && !weights);
          expect([cells.length, loops.length]).toEqual(form === unrolled ? [POSITIONS, 0] : [0, 1]);
          const got = await run(model, kind);
          for (const [i, values] of got.entries()) expect(relativeL2(values, want[i]!)).toBeLessThan(2e-4);
          expect(await run(model, kind)).toEqual(got);
          let saved: tf.io.ModelArtifacts | undefined;
          await model.save(
            tf.io.withSaveHandler(async (given) => {
              saved = given;
              return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
            }),
          );
          for (const load of [loadGraphModel, tf.loadGraphModel]) {
            const again = await load(handlerOf(saved!));
            expect(await run(again, kind)).toEqual(got);
            again.dispose();
          }
          const { restore } = await accelerate(stock, { restorable: true });
          for (const [i, values] of (await run(stock, kind)).entries())
            expect(relativeL2(values, got[i]!)).toBeLessThan(1e-5);
          await restore();
          expect(await run(stock, kind)).toEqual(want);
          model.dispose();
          stock.dispose();
        });
      },
    );
  });
});

describe('gates of graph models', () => {
  beforeAll(() => useBackend('wasm'));
  const graph = { positions: POSITIONS, K, units: UNITS };
  const gatesOf = (model: tf.GraphModel) => reportOf(model)!.nodes.filter(({ msdOp }) => msdOp === 'MsdGates');

  describe.each(['lstm', 'gru'] as const)('of %s', (kind) => {
    it.each([
      ['a hard sigmoid', { gate: 'hard' }],
      ['a hard sigmoid of Keras 3, and relu', { gate: 'hardOfKeras3', activation: 'Relu' }],
      ['softplus', { activation: 'Softplus' }],
      ['a hard sigmoid by ClipByValue', { gate: 'clipped' }],
    ] as const)('with %s are those of stock', async (_, rest) => {
      const entry = kerasUnrolled({ kind, K, units: UNITS, stored: 'uint8', ...rest }, POSITIONS);
      const artifacts = artifactsOf({ ...entry, weights: entry.weights.map(asConverted) });
      const [stock, model] = [
        await tf.loadGraphModel(handlerOf(artifacts)),
        await loadGraphModel(handlerOf(artifacts)),
      ];
      expect(gatesOf(model).length).toBe(POSITIONS);
      const x = tensor(3, [BATCH, POSITIONS, K]);
      const values = (of: tf.GraphModel) =>
        [of.execute({ x }, [...entry.outputs!])].flat().map((y) => y.dataSync().slice() as Float32Array);
      const want = values(stock);
      for (const [i, got] of values(model).entries()) expect(relativeL2(got, want[i]!)).toBeLessThan(2e-4);
      const slope = (of: tf.GraphModel) =>
        tf.tidy(() =>
          tf
            .grad((at: tf.Tensor) => tf.sum(of.execute({ x: at }, 'h') as tf.Tensor))(x)
            .dataSync()
            .slice(),
        );
      expect(relativeL2(slope(model) as Float32Array, slope(stock) as Float32Array)).toBeLessThan(0.01);
    });
  });

  it.each([
    ['gates of two functions', { cell: 'i' }],
    ['limits other than 0 and 1', { cell: 'f' }],
  ])('stay with %s', async (_, { cell }) => {
    const entry = kerasUnrolled({ kind: 'lstm', K, units: UNITS, gate: 'hard' }, 2);
    const nodes = structuredClone(entry.nodes) as Entry[];
    if (cell === 'i') change(nodes, 'cell0/i', { op: 'Sigmoid', input: ['cell0/split'] });
    else change(nodes, 'cell0/f/clip/Minimum', { input: ['cell0/f/add', 'half'] });
    const model = await loadGraphModel(handlerOf(artifactsOf({ ...entry, nodes })));
    expect(gatesOf(model).map(({ name }) => name)).toEqual(['cell1/split']);
  });

  it('stay where a forget gate gets Infinity, which files cannot say: as stock', async () => {
    const entry = kerasUnrolled({ kind: 'lstm', K, units: UNITS, stored: 'uint8', forget: Infinity }, 2);
    const artifacts = artifactsOf(entry);
    const [stock, model] = [await tf.loadGraphModel(handlerOf(artifacts)), await loadGraphModel(handlerOf(artifacts))];
    expect(gatesOf(model)).toEqual([]);
    const x = tensor(3, [BATCH, 2, K]);
    const [want, got] = [stock, model].map((of) => (of.execute({ x }, 'c') as tf.Tensor).dataSync() as Float32Array);
    expect(relativeL2(got!, want!)).toBeLessThan(2e-4);
  });

  it('of BasicLSTMCell, with a forget bias and other gates, are those of stock', async () => {
    const artifacts = artifactsOf(basic(graph));
    const [stock, model] = [await tf.loadGraphModel(handlerOf(artifacts)), await loadGraphModel(handlerOf(artifacts))];
    expect(gatesOf(model).map(({ op, fused }) => [op, fused!.length])).toEqual(Array(POSITIONS).fill(['Split', 8]));
    const [want, got] = [await run(stock, 'lstm'), await run(model, 'lstm')];
    for (const [i, values] of got.entries()) expect(relativeL2(values, want[i]!)).toBeLessThan(0.02);
  });

  it.each(['lstm', 'gru'] as const)('of %s: the same bits without them, whatever the products are', async (kind) => {
    const artifacts = artifactsOf(unrolled({ kind, ...graph }));
    const [fused, plain] = [
      await loadGraphModel(handlerOf(artifacts)),
      await loadGraphModel(handlerOf(artifacts), { fuse: false }),
    ];
    expect([gatesOf(fused).length, gatesOf(plain).length]).toEqual([POSITIONS, 0]);
    const [got, want] = [await run(fused, kind), await run(plain, kind)];
    // Roundings of sigmoid and tanh differ by a few units in the last place.
    for (const [i, values] of got.entries()) expect(relativeL2(values, want[i]!)).toBeLessThan(1e-5);
    const floats = await loadGraphModel(handlerOf(artifacts), { minElements: 1e9 });
    expect(gatesOf(floats).length).toBe(POSITIONS);
    const stock = await tf.loadGraphModel(handlerOf(artifacts));
    const [left, right] = [await run(floats, kind), await run(stock, kind)];
    for (const [i, values] of left.entries()) expect(relativeL2(values, right[i]!)).toBeLessThan(1e-5);
  });

  it.each(['lstm', 'gru'] as const)('of %s have gradients', async (kind) => {
    const artifacts = artifactsOf(unrolled({ kind, ...graph }));
    const [stock, model] = [await tf.loadGraphModel(handlerOf(artifacts)), await loadGraphModel(handlerOf(artifacts))];
    const states = { h0: tensor(4, [BATCH, UNITS]), ...(kind === 'lstm' && { c0: tensor(5, [BATCH, UNITS]) }) };
    const x = tensor(3, [POSITIONS, BATCH, K]);
    const [want, got] = [stock, model].map((of) =>
      tf.tidy(() =>
        tf
          .grad((at: tf.Tensor) => tf.sum(of.execute({ x: at, ...states }, 'h') as tf.Tensor))(x)
          .dataSync()
          .slice(),
      ),
    );
    expect(relativeL2(got!, want!)).toBeLessThan(0.03);
  });

  it.each([
    ['a gate that somebody else reads', (nodes: Entry[]) => nodes.push(reader('cell0/i'))],
    ['a candidate of another function', (nodes: Entry[]) => change(nodes, 'cell0/g', { op: 'Relu' })],
    ['a part that two gates read', (nodes: Entry[]) => change(nodes, 'cell0/o', { input: ['cell0/split:1'] })],
    ['parts along another axis', (nodes: Entry[]) => change(nodes, 'cell0/split', { input: ['zero', 'cell0/bias'] })],
    [
      'a node that a control input waits for',
      (nodes: Entry[]) => change(nodes, 'cell1/mm', { input: ['steps:1', 'kernel', '^cell0/f'] }),
    ],
  ])('stay with %s', async (_, edit) => {
    const entry = unrolled({ kind: 'lstm', ...graph });
    const nodes = structuredClone(entry.nodes) as Entry[];
    edit(nodes);
    const axis = { name: 'zero', shape: [], values: Int32Array.of(0) };
    const model = await loadGraphModel(
      handlerOf(
        artifactsOf({
          ...entry,
          nodes,
          weights: [...entry.weights, axis],
          outputs: [...entry.outputs!, 'extra'].filter((name) => nodes.some((node) => node.name === name)),
        }),
      ),
    );
    expect(gatesOf(model).map(({ name }) => name)).toEqual(['cell1/split', 'cell2/split', 'cell3/split']);
  });

  it('that say nothing of themselves are refused', async () => {
    const entry = unrolled({ kind: 'lstm', ...graph });
    const nodes = entry.nodes.map((node) => (node.name === 'cell0/h' ? { ...node, op: 'MsdGates', attr: {} } : node));
    const model = await loadGraphModel(handlerOf(artifactsOf({ ...entry, nodes })));
    await expect(run(model, 'lstm')).rejects.toThrow(/MsdGates cell0\/h: gates, expected those of an LSTM or a GRU/);
  });
});

/** Numbers as the converter quantizes them: of one value. */
function asConverted(weight: GraphEntry['weights'][number]): GraphEntry['weights'][number] {
  if (!('values' in weight) || weight.shape.length || weight.values instanceof Int32Array) return weight;
  const quantization = { dtype: 'uint8', scale: 1, min: weight.values[0]! };
  return { name: weight.name, shape: [], codes: Uint8Array.of(0), quantization };
}

type Entry = { name: string; op: string; input?: string[]; attr?: Record<string, unknown> };
const reader = (of: string): Entry => ({ name: 'extra', op: 'Neg', input: [of], attr: {} });
const change = (nodes: Entry[], name: string, to: Partial<Entry>): void =>
  void Object.assign(nodes.find((node) => node.name === name)!, to);
