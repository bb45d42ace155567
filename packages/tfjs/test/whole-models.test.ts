/** Whole models run as stock does, within the error of their format, and go to every handler and come back. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, loadGraphModel, loadLayersModel, register, reportOf, unregister } from '../src/index.ts';
import { artifactsOf, type GraphEntry, handlerOf } from './graph.ts';
import { saved } from './layers.ts';
import {
  bert,
  branches,
  imageClassifier,
  layersClassifier,
  mobileNet,
  multiHeadAttention,
  sentenceEncoder,
  TOKENS,
  WIDTH,
} from './models.ts';
import { relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

/** Ids as they are, floats by their shape. */
const inputOf = (input: number[] | Int32Array): tf.Tensor =>
  input instanceof Int32Array ? tf.tensor1d(input, 'int32') : tensor(3, input);

describe.each<[string, GraphEntry, number[] | Int32Array, object, number, string]>([
  ['BERT-style layer', bert(), [2, TOKENS, WIDTH], {}, 7, 'wasm'],
  ['BERT-style layer, uint8 manifest', bert('uint8'), [2, TOKENS, WIDTH], {}, 7, 'wasm'],
  ['BERT-style layer, int4', bert(), [2, TOKENS, WIDTH], { format: 'int4' }, 7, 'wasm'],
  ['Keras MultiHeadAttention', multiHeadAttention, [2, TOKENS, WIDTH], {}, 5, 'wasm'],
  ['Keras MultiHeadAttention, through copies', multiHeadAttention, [2, TOKENS, WIDTH], {}, 5, 'cpu'],
  ['MobileNet-style block, on request', mobileNet, [1, 7, 7, 32], { convolutions: true }, 3, 'wasm'],
  ['classifier of images, on request', imageClassifier(), [1, 24, 24, 3], { convolutions: true }, 8, 'wasm'],
  ['classifier of images, uint8 manifest', imageClassifier('uint8'), [3, 25, 23, 3], { convolutions: true }, 8, 'wasm'],
  ['classifier of images, left as it is', imageClassifier(), [1, 24, 24, 3], {}, 1, 'wasm'],
  ['classifier of images, through copies', imageClassifier(), [1, 24, 24, 3], { convolutions: true }, 8, 'cpu'],
  ['Inception-style branches, on request', branches(), [1, 9, 9, 64], { convolutions: true }, 5, 'wasm'],
  ['sentence encoder', sentenceEncoder(), Int32Array.of(1, 7, 59, 0, 7), {}, 7, 'wasm'],
  ['sentence encoder, uint8 manifest', sentenceEncoder('uint8'), Int32Array.of(1, 7, 59, 0, 7), {}, 7, 'wasm'],
])('%s', (name, entry, shape, options, taken, backend) => {
  beforeAll(() => useBackend(backend));

  it('runs as stock does, within its format’s error, twice, without leaks', async () => {
    const run = (model: tf.GraphModel) =>
      tf.tidy(() => (model.execute(inputOf(shape), 'y') as tf.Tensor).dataSync().slice() as Float32Array);
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const want = run(stock);
    stock.dispose();
    await withoutLeaks(async () => {
      const model = await loadGraphModel(handlerOf(artifactsOf(entry)), options);
      expect(reportOf(model)!.nodes.filter(({ where }) => where === 'msd')).toHaveLength(taken);
      const got = run(model);
      const bound = name.includes('uint8') ? 2e-4 : name.includes('int4') ? 0.15 : 0.015;
      expect(relativeL2(got, want)).toBeLessThan(bound);
      expect(run(model)).toEqual(got);
      model.dispose();
    });
  });
});

describe.each(['cpu', 'wasm'])('a classifier of layers on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('is loaded, saved, accelerated and restored', async () => {
    const stock = layersClassifier();
    const x = tensor(3, [2, 24, 24, 3]);
    const run = (model: tf.LayersModel) =>
      tf.tidy(() => (model.predict(x) as tf.Tensor).dataSync().slice() as Float32Array);
    const want = run(stock);
    await withoutLeaks(async () => {
      const model = await loadLayersModel(tf.io.fromMemory(await saved(stock)), { convolutions: true });
      const taken = reportOf(model)!.nodes.flatMap(({ name, where }) => (where === 'msd' ? [name] : []));
      expect(taken).toEqual(['spatial', 'project', 'separable', 'last', 'head']);
      const got = run(model);
      expect(relativeL2(got, want)).toBeLessThan(0.02);
      const again = await loadLayersModel(tf.io.fromMemory(await saved(model)), { convolutions: true });
      expect(run(again)).toEqual(got);
      again.dispose();
      model.dispose();
      const { restore } = await accelerate(stock, { convolutions: true, restorable: true });
      expect(run(stock)).toEqual(got);
      await restore();
      expect(run(stock)).toEqual(want);
    });
    stock.dispose();
    x.dispose();
  });
});
