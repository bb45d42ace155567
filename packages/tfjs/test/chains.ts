/** Models of many weights, for what happens while they are loaded. */
import type { io } from '@tensorflow/tfjs';
import { type LoadModelOptions, loadGraphModel, loadLayersModel } from '../src/index.ts';
import { artifactsOf, floats, ints, placeholder } from './graph.ts';
import { saved } from './layers.ts';
import { tf } from './tf.ts';

/** A chain of products; the axis of the look-up in front comes last in the file. */
export const chainGraph = (width = 256, count = 8): io.ModelArtifacts =>
  artifactsOf({
    nodes: [
      placeholder('x', 'DT_INT32'),
      { name: 'e', op: 'GatherV2', input: ['table', 'x', 'axis'] },
      ...Array.from({ length: count }, (_, i) => ({
        name: i === count - 1 ? 'y' : `m${i}`,
        op: 'MatMul',
        input: [i ? `m${i - 1}` : 'e', `w${i}`],
      })),
    ],
    weights: [
      floats('table', [60, width]),
      ...Array.from({ length: count }, (_, i) => floats(`w${i}`, [width, width], undefined, i)),
      ints('axis', [0], []),
    ],
    outputs: ['y'],
  });

export async function chainLayers(width = 256, count = 8): Promise<io.ModelArtifacts> {
  const model = tf.sequential({
    layers: [
      tf.layers.embedding({ inputDim: 60, outputDim: width, inputLength: 3 }),
      ...Array.from({ length: count }, () => tf.layers.dense({ units: width })),
      tf.layers.lstm({ units: 32, recurrentInitializer: 'glorotUniform' }),
    ],
  });
  const artifacts = await saved(model);
  model.dispose();
  return artifacts;
}

export type Model = { predict(x: tf.Tensor): unknown; dispose(): unknown };
export type Load = (source: string | io.IOHandler, options?: LoadModelOptions) => Promise<Model>;

/** Name, how it is made, MSD's loader, stock's. */
export const KINDS = [
  [
    'graph',
    async (width?: number, count?: number) => chainGraph(width, count),
    loadGraphModel as Load,
    tf.loadGraphModel as Load,
  ],
  ['layers', chainLayers, loadLayersModel as Load, tf.loadLayersModel as Load],
] as const;

/** What a model of these says of three words. It is gone then. */
export async function answer(model: Model): Promise<number[]> {
  const x = tf.tensor([1, 7, 59], 'layers' in model ? [1, 3] : [3], 'int32');
  const y = model.predict(x) as tf.Tensor;
  const values = Array.from(await y.data());
  tf.dispose([x, y]);
  model.dispose();
  return values;
}
