/** Whole loops of recurrent layers in graph models, as Keras and tfjs-converter write them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, loadGraphModel, register, reportOf, unregister } from '../src/index.ts';
import { artifactsOf, type GraphEntry, handlerOf, savedGraph } from './graph.ts';
import { type CellKind, type KerasLoop, kerasLoop } from './keras-loops.ts';
import { BACKENDS, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const KINDS: readonly CellKind[] = ['lstm', 'gru', 'gruBefore', 'simple', 'basic'];
const [K, UNITS] = [23, 37];

interface Sizes {
  readonly batch?: number;
  readonly positions?: number;
}

async function run(model: tf.GraphModel, entry: GraphEntry, { batch = 1, positions = 5 }: Sizes = {}) {
  const outputs = [...entry.outputs!];
  const isMasked = entry.nodes.some(({ name }) => name === 'mask');
  const feeds = tf.tidy(() => ({
    x: tensor(3, [batch, positions, K]),
    ...(isMasked && { mask: tf.greater(tensor(9, [batch, positions]), -0.3) }),
  }));
  const made = [await model.executeAsync(feeds as never, outputs)].flat();
  const values = made.map((y) => ({ shape: y.shape, values: y.dataSync().slice() as Float32Array }));
  tf.dispose([made, feeds] as never);
  return values;
}

/** What is left of the errors of 16-bit activations after some positions. */
const NEAR = 2e-4;

function expectNear(got: Awaited<ReturnType<typeof run>>, want: Awaited<ReturnType<typeof run>>, limit = NEAR): void {
  expect(got.map(({ shape }) => shape)).toEqual(want.map(({ shape }) => shape));
  for (const [i, { values }] of got.entries())
    expect(relativeL2(values, want[i]!.values), `output ${i}`).toBeLessThan(limit);
}

const loopsOf = (model: tf.GraphModel) =>
  reportOf(model)!.nodes.filter(({ op }) => op === 'LoopCond' || op === 'StatelessWhile');

async function bothOf(entry: GraphEntry): Promise<[tf.GraphModel, tf.GraphModel]> {
  const artifacts = artifactsOf(entry);
  return [await tf.loadGraphModel(handlerOf(artifacts)), await loadGraphModel(handlerOf(artifacts))];
}

const CASES: Readonly<Record<string, Partial<KerasLoop>>> = {
  'of frames, weights passed on': {},
  'of frames, weights read inside': { weights: 'read' },
  'of frames, with arrays': { lists: 'array' },
  'of frames, with arrays, weights read inside': { lists: 'array', weights: 'read' },
  'of a While': { form: 'while' },
  'of a While, one counter': { form: 'while', plain: true },
  backwards: { backwards: true },
  'with a mask': { masked: true },
  'with a mask, in a While': { masked: true, form: 'while' },
  'that keeps the last position': { keepsLast: true },
  'of one counter': { plain: true },
  'with a bias of Keras 3': { bias: 'AddV2', weights: 'read' },
  'without a bias': { bias: 'none' },
  'of relu': { activation: 'Relu' },
  'of softplus': { activation: 'Softplus' },
  'of a hard sigmoid': { gate: 'hard' },
  'of a hard sigmoid of Keras 3, in a While': { gate: 'hardOfKeras3', form: 'while' },
};

describe.each(BACKENDS)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(KINDS)('%s', (kind) => {
    it.each(Object.entries(CASES))('%s: one node, the values of stock', async (_, rest) => {
      const entry = kerasLoop({ kind, K, units: UNITS, stored: 'uint8', ...rest });
      await withoutLeaks(async () => {
        const [stock, model] = await bothOf(entry);
        expect(loopsOf(model).map(({ where, reason, msdOp }) => [where, reason ?? msdOp])).toEqual([
          ['msd', 'MsdRecurrent'],
        ]);
        for (const sizes of [{}, { batch: 3, positions: 4 }, { positions: 1 }])
          expectNear(await run(model, entry, sizes), await run(stock, entry, sizes));
        stock.dispose();
        model.dispose();
      });
    });
  });
});

describe('loops', () => {
  beforeAll(() => useBackend('wasm'));

  it.each(KINDS)('%s: saved, reloaded, accelerated and restored', async (kind) => {
    for (const form of ['frames', 'while'] as const) {
      const entry = kerasLoop({ kind, K, units: UNITS, form, stored: 'uint8' });
      const [stock, model] = await bothOf(entry);
      const [want, got] = [await run(stock, entry), await run(model, entry)];
      const saved = await savedGraph(model);
      for (const load of [loadGraphModel, tf.loadGraphModel]) {
        const again = await load(handlerOf(saved));
        expect(await run(again, entry)).toEqual(got);
        again.dispose();
      }
      const { restore } = await accelerate(stock, { restorable: true });
      expectNear(await run(stock, entry), got, 1e-5);
      await restore();
      expect(await run(stock, entry)).toEqual(want);
      stock.dispose();
      model.dispose();
    }
  });
});
