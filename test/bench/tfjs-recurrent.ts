/** LSTM, GRU and SimpleRNN of @msd/tfjs beside stock, a batch of one: layers on a step of a stream and on a sequence, and graphs. */
import { loadGraphModel, loadLayersModel } from '@msd/tfjs';
import * as tf from '@tensorflow/tfjs';
import { artifactsOf } from '../../packages/tfjs/test/graph.ts';
import { kerasLoop } from '../../packages/tfjs/test/keras-loops.ts';
import { framed, functional, unrolled } from '../../packages/tfjs/test/recurrent-graphs.ts';
import { type Clock, interleave, type Timing } from './measure.ts';

const CELLS = ['lstm', 'gru', 'simpleRNN'] as const;
const GATES = { lstm: 4, gru: 3, simpleRNN: 1 } as const;
const UNITS = [256, 512, 1024] as const;
/** Positions of a call: a stream that brings one at a time, and a sequence. */
const POSITIONS = [1, 32] as const;

export interface RecurrentTimings {
  readonly id: string;
  readonly macs: number;
  readonly timings: readonly Timing[];
}

export async function* recurrentLayers(
  relativeL2: (got: ArrayLike<number>, want: ArrayLike<number>) => number,
  { rounds, clock }: { readonly rounds: number; readonly clock: Clock },
): AsyncGenerator<RecurrentTimings> {
  for (const cell of CELLS)
    for (const units of UNITS) {
      const stock = layer(cell, units);
      const artifacts = await saved(stock);
      const int8 = await loadLayersModel(tf.io.fromMemory(artifacts));
      const int4 = await loadLayersModel(tf.io.fromMemory(artifacts), { format: 'int4' });
      for (const positions of POSITIONS) {
        const x = tf.randomNormal([1, positions, units]);
        const values = [stock, int8, int4].map((model) =>
          tf.tidy(() => (model.apply(x) as tf.Tensor).dataSync().slice()),
        );
        const errors = values.slice(1).map((got) => relativeL2(got, values[0]!));
        if (!(errors[0]! < 0.02 && errors[1]! < 0.25)) throw new Error(`${cell} ${units}: relative errors ${errors}`);
        const macs = 2 * positions * GATES[cell] * units * units;
        const models = { stock, int8, int4 };
        const timings = await interleave(
          Object.entries(models).map(([name, model]) => ({
            name,
            macs,
            run: () => (model.apply(x) as tf.Tensor).dispose(),
          })),
          { rounds, sampleMs: 60, clock },
        );
        const what = stock.layers[0]!.getClassName();
        yield { id: `${what} ${units} units, ${positions} position${positions > 1 ? 's' : ''}`, macs, timings };
        x.dispose();
      }
      for (const model of [stock, int8, int4]) model.dispose();
    }
}

const FORMS = { 'frames of a loop': framed, 'a While': functional, unrolled: unrolled };
/** Positions of a call. */
const STEPS = 16;

/** The same cells as nodes of graph models, run by executeAsync as loops need it. */
export async function* recurrentGraphs(
  relativeL2: (got: ArrayLike<number>, want: ArrayLike<number>) => number,
  { rounds, clock }: { readonly rounds: number; readonly clock: Clock },
): AsyncGenerator<RecurrentTimings> {
  for (const kind of ['lstm', 'gru'] as const)
    for (const units of [256, 512])
      for (const [form, graphOf] of Object.entries(FORMS)) {
        const handler = { load: async () => artifactsOf(graphOf({ kind, positions: STEPS, K: units, units })) };
        const models = { stock: await tf.loadGraphModel(handler), int8: await loadGraphModel(handler) };
        const feeds = {
          x: tf.randomNormal([STEPS, 1, units]),
          h0: tf.zeros([1, units]),
          ...(kind === 'lstm' && { c0: tf.zeros([1, units]) }),
        };
        const run = async (model: tf.GraphModel) => (await model.executeAsync(feeds, 'h')) as tf.Tensor;
        const values: Float32Array[] = [];
        for (const model of Object.values(models)) {
          const h = await run(model);
          values.push(h.dataSync().slice() as Float32Array);
          h.dispose();
        }
        const error = relativeL2(values[1]!, values[0]!);
        if (!(error < 0.05)) throw new Error(`${kind} ${units}, ${form}: relative error ${error}`);
        const macs = 2 * STEPS * GATES[kind] * units * units;
        const timings = await interleave(
          Object.entries(models).map(([name, model]) => ({
            name,
            macs,
            run: async () => (await run(model)).dispose(),
          })),
          { rounds, sampleMs: 60, clock },
        );
        yield { id: `graph, ${kind.toUpperCase()} ${units} units, ${STEPS} positions, ${form}`, macs, timings };
        tf.dispose(feeds as never);
        for (const model of Object.values(models)) model.dispose();
      }
}

/** Loops as tfjs-converter writes them of Keras's layers, with their lists: what a converted model has. */
export async function* recurrentLoops(
  relativeL2: (got: ArrayLike<number>, want: ArrayLike<number>) => number,
  { rounds, clock }: { readonly rounds: number; readonly clock: Clock },
): AsyncGenerator<RecurrentTimings> {
  const kinds = { lstm: ['LSTM', 4], gru: ['GRU', 3], simple: ['SimpleRNN', 1] } as const;
  for (const [kind, [name, gates]] of Object.entries(kinds))
    for (const units of [256, 512])
      for (const form of ['frames', 'while'] as const)
        for (const positions of POSITIONS) {
          const entry = kerasLoop({ kind: kind as keyof typeof kinds, K: units, units, form });
          const handler = { load: async () => artifactsOf(entry) };
          const models = { stock: await tf.loadGraphModel(handler), int8: await loadGraphModel(handler) };
          const x = tf.randomNormal([1, positions, units]);
          const run = async (model: tf.GraphModel) => (await model.executeAsync({ x }, 'output')) as tf.Tensor;
          const values: Float32Array[] = [];
          for (const model of Object.values(models)) {
            const y = await run(model);
            values.push(y.dataSync().slice() as Float32Array);
            y.dispose();
          }
          const error = relativeL2(values[1]!, values[0]!);
          const what = form === 'frames' ? 'converted, in frames' : 'converted, in a While';
          const id = `graph, ${name} ${units} units, ${positions} position${positions > 1 ? 's' : ''}, ${what}`;
          if (!(error < 0.05)) throw new Error(`${id}: relative error ${error}`);
          const macs = 2 * positions * gates * units * units;
          const timings = await interleave(
            Object.entries(models).map(([own, model]) => ({
              name: own,
              macs,
              run: async () => (await run(model)).dispose(),
            })),
            { rounds, sampleMs: 60, clock },
          );
          yield { id, macs, timings };
          x.dispose();
          for (const model of Object.values(models)) model.dispose();
        }
}

/** As Keras exports it: a sigmoid at the gates. */
function layer(cell: (typeof CELLS)[number], units: number): tf.LayersModel {
  const options = {
    units,
    inputShape: [null, units] as never,
    recurrentInitializer: 'glorotNormal' as const, // the default one takes minutes
    ...(cell !== 'simpleRNN' && { recurrentActivation: 'sigmoid' as const }),
  };
  return tf.sequential({ layers: [tf.layers[cell](options as never)] });
}

async function saved(model: tf.LayersModel): Promise<tf.io.ModelArtifacts> {
  let artifacts: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' as const } };
    }),
  );
  return artifacts!;
}
