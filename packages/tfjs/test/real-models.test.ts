import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Tokenizer } from '../../../examples/tfjs-semantic-search/src/tokenizer.ts';
import { accelerate, formatReport, loadGraphModel, register, reportOf, unregister } from '../src/index.ts';
import { diskHandler, languageClassifier, sentenceEncoder } from './real-models.ts';
import { SENTENCES } from './sentences.ts';
import { relativeL2, tf, useBackend } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const tokenizer = new Tokenizer(JSON.parse(readFileSync(join(dirname(sentenceEncoder()), 'vocab.json'), 'utf8')));

async function embed(model: tf.GraphModel, sentences: readonly string[]): Promise<Float32Array> {
  const ids = sentences.map((sentence) => tokenizer.encode(sentence));
  const positions = ids.flatMap((tokens, i) => tokens.map((_, j) => [i, j]));
  const inputs = {
    indices: tf.tensor2d(positions, [positions.length, 2], 'int32'),
    values: tf.tensor1d(ids.flat(), 'int32'),
  };
  const y = (await model.executeAsync(inputs)) as tf.Tensor;
  const values = y.dataSync().slice() as Float32Array;
  tf.dispose([y, ...Object.values(inputs)]);
  return values;
}

const row = (values: Float32Array, i: number) => values.subarray(512 * i, 512 * (i + 1));
const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const cosines = (a: Float32Array, b: Float32Array) =>
  Array.from(
    { length: a.length / 512 },
    (_, i) => dot(row(a, i), row(b, i)) / Math.sqrt(dot(row(a, i), row(a, i)) * dot(row(b, i), row(b, i))),
  );

describe('Universal Sentence Encoder lite', { timeout: 240_000 }, () => {
  it('has the tokenizer’s test vector', () => {
    expect(tokenizer.encode('It is raining heavily in Seattle today.')).toEqual([
      75, 18, 2976, 23, 5989, 15, 6543, 784, 6,
    ]);
  });

  it.each(['wasm', 'cpu'])(
    'keeps every sentence within cosine 0.999 of stock, again and again, on %s',
    async (backend) => {
      await useBackend(backend);
      const sentences = backend === 'cpu' ? SENTENCES.slice(0, 8) : SENTENCES;
      const stock = await tf.loadGraphModel(diskHandler(sentenceEncoder()));
      const want = await embed(stock, sentences);
      stock.dispose();
      const before = tf.memory();
      const model = await loadGraphModel(diskHandler(sentenceEncoder()));
      const { weightBytes, stockBytes, nodes } = reportOf(model)!;
      expect(weightBytes / stockBytes).toBeLessThan(0.26);
      expect(nodes.filter(({ weights }) => weights)).toHaveLength(11);
      expect(nodes.filter(({ msdOp }) => msdOp === 'MsdAttention')).toHaveLength(2);
      expect(formatReport(reportOf(model)!)).toContain('MatMul + Reshape + BiasAdd + Relu');
      const loaded = tf.memory();
      expect(loaded.numBytes - before.numBytes).toBe(weightBytes);
      const first = await embed(model, sentences);
      for (const cosine of cosines(first, want)) expect(cosine).toBeGreaterThan(0.999);
      expect(await embed(model, sentences)).toEqual(first);
      expect(tf.memory().numTensors).toBe(loaded.numTensors);
      model.dispose();
      expect(tf.memory().numBytes).toBe(before.numBytes);
    },
  );

  it('accelerates after loading with the same bits, and restores', async () => {
    await useBackend('wasm');
    const few = SENTENCES.slice(0, 4);
    const loaded = await loadGraphModel(diskHandler(sentenceEncoder()));
    const want = await embed(loaded, few);
    loaded.dispose();
    const model = await tf.loadGraphModel(diskHandler(sentenceEncoder()));
    const stock = await embed(model, few);
    const { restore } = await accelerate(model);
    expect(await embed(model, few)).toEqual(want);
    expect(await embed(model, few)).toEqual(want);
    await restore();
    expect(await embed(model, few)).toEqual(stock);
    expect(await embed(model, few)).toEqual(stock);
    model.dispose();
  });
});

describe('VS Code’s language classifier', () => {
  const LIST = 'map/TensorArrayV2Stack/TensorListStack';
  const SLOTS = 10_000;
  const CODE = 'export function add(a: number, b: number): number {\n  return a + b;\n}\nconst x: string[] = [];\n';

  /** Stock tfjs 4.22 cannot run the model's loop over texts, so the bigrams that it makes are fed behind it. */
  async function classify(model: tf.GraphModel): Promise<Float32Array> {
    const bigrams = Array.from({ length: SLOTS }, (_, i) => (i + 1 < CODE.length ? `${CODE[i]} ${CODE[i + 1]}` : ''));
    const input = tf.tensor2d([bigrams], [1, SLOTS], 'string');
    const y = (await model.executeAsync({ [LIST]: input }, 'head/predictions/probabilities')) as tf.Tensor;
    const values = y.dataSync().slice() as Float32Array;
    tf.dispose([y, input]);
    return values;
  }

  it('keeps the integers of its uint8 manifest: outputs within 2e-4, memory at most 0.35', async () => {
    await useBackend('cpu');
    const stock = await tf.loadGraphModel(diskHandler(languageClassifier()));
    const want = await classify(stock);
    stock.dispose();
    const before = tf.memory().numBytes;
    const model = await loadGraphModel(diskHandler(languageClassifier()));
    const { nodes, weightBytes, stockBytes } = reportOf(model)!;
    const taken = nodes.filter(({ where }) => where === 'msd');
    expect(taken.map(({ op }) => op).sort()).toEqual([
      'SparseSegmentMean',
      'SparseSegmentSum',
      '_FusedMatMul',
      '_FusedMatMul',
      '_FusedMatMul',
    ]);
    for (const { weights } of taken) expect(weights).toMatchObject({ how: 'stored integers kept', error: 0 });
    expect(weightBytes / stockBytes).toBeLessThan(0.35);
    expect(tf.memory().numBytes - before).toBeLessThan(0.35 * stockBytes);
    for (let i = 0; i < 2; i++) expect(relativeL2(await classify(model), want)).toBeLessThan(2e-4);
    model.dispose();
    expect(tf.memory().numBytes).toBe(before);
  });
});
