/** LSTM and GRU in graph models. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, loadGraphModel, register, reportOf, unregister } from '../src/index.ts';
import { artifactsOf, handlerOf } from './graph.ts';
import { framed, functional, type RecurrentGraph, unrolled } from './recurrent-graphs.ts';
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
