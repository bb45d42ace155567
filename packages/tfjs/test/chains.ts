/** Models of many weights, for what happens while they are loaded. */
import type { io } from '@tensorflow/tfjs';
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
