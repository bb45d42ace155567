import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import { beforeAll, describe, expect, it } from 'vitest';
import { adamStep, initialAdamState } from './adamw.ts';
import { Decoder } from './forward.ts';
import { negativeLogLikelihood } from './generate.ts';
import { type Batch, Differentiator } from './gradients.ts';
import { initialWeights, type ModelConfig } from './model.ts';
import { seededRandom } from './random.ts';

const TINY: ModelConfig = {
  vocabSize: 32,
  hiddenSize: 32,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  mlpSize: 32,
  context: 8,
  normEps: 1e-5,
  ropeTheta: 10000,
};

function randomBatch(): Batch {
  const random = seededRandom(3);
  const ids = (): Int32Array => Int32Array.from({ length: 16 }, () => Math.floor(32 * random()));
  return { size: 2, inputs: ids(), targets: ids() };
}

describe('Differentiator', () => {
  let differentiator: Differentiator;

  beforeAll(async () => {
    await tf.setBackend('wasm');
    differentiator = new Differentiator(TINY, 8);
  });

  it('leaves no tensors behind', () => {
    const before = tf.memory().numTensors;
    const other = new Differentiator(TINY, 8);
    other.run(initialWeights(TINY, seededRandom(1)), batch);
    other.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  const batch = randomBatch();

  it('has the gradient that finite differences have', () => {
    const weights = initialWeights(TINY, seededRandom(1));
    const { gradients } = differentiator.run(weights, batch);
    for (const [name, { data }] of weights) {
      const gradient = gradients.get(name) as Float32Array;
      const at = gradient.reduce(
        (best, value, i) => (Math.abs(value) > Math.abs(gradient[best] as number) ? i : best),
        0,
      );
      const original = data[at] as number;
      const lossAt = (value: number): number => {
        data[at] = value;
        return differentiator.run(weights, batch).loss;
      };
      const h = 1e-2;
      const slope = (lossAt(original + h) - lossAt(original - h)) / (2 * h);
      data[at] = original;
      // Curvature of the loss at h = 0.01 and rounding of a loss near 5 divided by h: about 3 % together.
      expect(Math.abs(slope - (gradient[at] as number)), name).toBeLessThan(0.03 * Math.abs(slope) + 1e-3);
    }
  });

  it('has the loss of the reference decoder', () => {
    const weights = initialWeights(TINY, seededRandom(2));
    const shifted: Batch = { size: 1, inputs: batch.inputs.slice(0, 8), targets: batch.inputs.slice(1, 9) };
    const expected = negativeLogLikelihood(new Decoder(TINY, weights), [...batch.inputs.slice(0, 9)]) / 8;
    expect(differentiator.run(weights, shifted).loss).toBeCloseTo(expected, 4);
  });

  it('learns a batch by heart', () => {
    const weights = initialWeights(TINY, seededRandom(1));
    const state = initialAdamState(weights);
    const losses: number[] = [];
    for (let step = 0; step < 60; step++) {
      const { loss, gradients } = differentiator.run(weights, batch);
      losses.push(loss);
      adamStep(weights, gradients, state, 1e-2);
    }
    expect(losses[0]).toBeGreaterThan(3);
    expect(losses.at(-1)).toBeLessThan(0.3);
  });
});
