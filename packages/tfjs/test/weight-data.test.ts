/** Bytes of weights in every form that stock tfjs accepts; and messages, which are short whatever a file holds. */
import { runInNewContext } from 'node:vm';
import type { io } from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accelerate,
  gather,
  graphModelHandler,
  loadGraphModel,
  loadLayersModel,
  ModelFormatError,
  matMul,
  quantizedTensor,
  register,
  unregister,
} from '../src/index.ts';
import { readManifest } from '../src/weights/manifest.ts';
import { artifactsOf, floats, handlerOf, placeholder } from './graph.ts';
import { savedBy } from './saving.ts';
import { BACKENDS, relativeL2, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const graph = () =>
  artifactsOf({
    nodes: [
      placeholder('x'),
      { name: 'm', op: 'MatMul', input: ['x', 'kernel'] },
      { name: 'b', op: 'BiasAdd', input: ['m', 'bias'] },
      { name: 'y', op: 'MatMul', input: ['b', 'head'] },
    ],
    weights: [floats('kernel', [64, 33], 'uint8'), floats('bias', [33]), floats('head', [33, 40], 'float16')],
    outputs: ['y'],
  });

async function layers(): Promise<io.ModelArtifacts> {
  const model = tf.sequential({ layers: [tf.layers.dense({ units: 33, inputShape: [64] })] });
  const artifacts = await savedBy(model);
  model.dispose();
  return artifacts;
}

const kinds = [
  ['graph', async () => graph(), loadGraphModel, tf.loadGraphModel],
  ['layers', layers, loadLayersModel, tf.loadLayersModel],
] as const;

type Load = (handler: io.IOHandler) => Promise<{ predict(x: tf.Tensor): unknown; dispose(): unknown }>;

/** What a model of these artifacts answers. */
async function answer(load: Load, artifacts: io.ModelArtifacts): Promise<number[]> {
  const model = await load(handlerOf(artifacts));
  const x = tf.tidy(() => tf.cos(tf.range(0, 128)).reshape([2, 64]));
  const y = model.predict(x) as tf.Tensor;
  const values = Array.from(await y.data());
  tf.dispose([x, y]);
  model.dispose();
  return values;
}

const padded = (data: Uint8Array, before: number, after: number): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(before + data.length + after).fill(0x7f);
  out.set(data, before);
  return out;
};

/** The same bytes, as whoever calls may hold them. */
const forms: Readonly<Record<string, (data: Uint8Array<ArrayBuffer>) => unknown>> = {
  'a Uint8Array': (data) => data.slice(),
  'a Float32Array': (data) => new Float32Array(padded(data, 0, (4 - (data.length % 4)) % 4).buffer),
  'a SharedArrayBuffer': (data) => {
    const shared = new SharedArrayBuffer(data.length);
    new Uint8Array(shared).set(data);
    return shared;
  },
  'a buffer of another realm': (data) => {
    const other = runInNewContext(`new ArrayBuffer(${data.length})`) as ArrayBuffer;
    new Uint8Array(other).set(data);
    return other;
  },
  'a list of buffers that cut weights': (data) => [
    data.slice(0, 7).buffer,
    data.slice(7, 7).buffer,
    data.slice(7, 1001).buffer,
    data.slice(1001).buffer,
  ],
  'a list of different forms': (data) => [data.slice(0, 5), data.slice(5, 100).buffer, data.slice(100)],
  'a list of one': (data) => [data.slice().buffer],
  'padding behind': (data) => padded(data, 0, 13).buffer,
};

/** Stock takes the buffer behind a view from its beginning: other bytes. */
const viewForms: typeof forms = {
  'a Buffer in the middle of a pool': (data) => Buffer.from(padded(data, 24, 9).buffer, 24, data.length),
  'a Uint8Array with an offset': (data) => padded(data, 3, 8).subarray(3, 3 + data.length),
  'a list of views': (data) => [
    padded(data.slice(0, 50), 5, 5).subarray(5, 55),
    padded(data.slice(50), 1, 1).subarray(1, 1 + data.length - 50),
  ],
  'a DataView': (data) => new DataView(padded(data, 16, 0).buffer, 16),
};

describe.each(BACKENDS)('bytes of weights on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(kinds)('of a %s model', (_, make, load, loadStock) => {
    it.each(Object.entries({ ...forms, ...viewForms }))('come as %s', async (form, as) => {
      const artifacts = await make();
      const data = new Uint8Array(tf.io.CompositeArrayBuffer.join(artifacts.weightData as ArrayBuffer));
      const want = await answer(load as Load, artifacts);
      const given = { ...artifacts, weightData: as(data) as ArrayBuffer };
      await withoutLeaks(async () => expect(await answer(load as Load, given)).toEqual(want));
      if (form in viewForms) return;
      const stock = await answer(loadStock as Load, artifacts);
      expect(await answer(loadStock as Load, given)).toEqual(stock);
    });

    it('may have a name twice: the later one counts, as in stock', async () => {
      const artifacts = await make();
      const specs = artifacts.weightSpecs!;
      const data = new Uint8Array(artifacts.weightData as ArrayBuffer);
      const first = specs[0]!.shape.reduce((a, b) => a * b, 1) * (specs[0]!.quantization ? 1 : 4);
      const twice = { ...artifacts, weightSpecs: [specs[0]!, ...specs] };
      twice.weightData = padded(data, first, 0).buffer;
      const want = await answer(load as Load, artifacts);
      await withoutLeaks(async () => expect(await answer(load as Load, twice)).toEqual(want));
      expect(await answer(loadStock as Load, twice)).toEqual(await answer(loadStock as Load, artifacts));
      tf.disposeVariables(); // stock leaves the first behind
    });
  });

  it('are found by stock behind buffers of one length and a longer last one', async () => {
    const artifacts = artifactsOf({
      nodes: [
        placeholder('x'),
        { name: 'm', op: 'MatMul', input: ['x', 'kernel'] },
        { name: 'y', op: 'BiasAdd', input: ['m', 'bias'] },
      ],
      weights: [floats('bias', [33]), floats('kernel', [64, 33])],
      outputs: ['y'],
    });
    const want = await answer(tf.loadGraphModel as Load, artifacts);
    expect(relativeL2(await answer(loadGraphModel as Load, artifacts), want)).toBeLessThan(0.01);
  });

  it('that are missing leave a layers model as it is initialised', async () => {
    const { weightData: _, ...artifacts } = await layers();
    await withoutLeaks(async () => {
      for (const load of [loadLayersModel, tf.loadLayersModel]) {
        const model = await load(handlerOf(artifacts));
        const [kernel, bias] = model.getWeights();
        expect(tf.tidy(() => tf.any(tf.notEqual(kernel!, 0)).dataSync()[0])).toBe(1);
        expect(Array.from(bias!.dataSync())).toEqual(Array(33).fill(0));
        model.dispose();
      }
    });
  });
});

describe('messages', () => {
  const long = 'ö'.repeat(1_000_000);
  const huge = Array.from({ length: 200_000 }, (_, i) => i);
  const big = new Uint8Array(20_000_000);
  const specs = [{ name: 'a', shape: [2], dtype: 'float32' }];

  it.each<[string, () => unknown]>([
    ['data of numbers', () => readManifest(specs, huge)],
    ['truncated data', () => readManifest([{ ...specs[0], shape: [2 ** 28] }], big)],
    ['text for data', () => readManifest(specs, long)],
    ['a name', () => readManifest([{ ...specs[0], name: long }], new ArrayBuffer(1))],
    ['a list for a name', () => readManifest([{ ...specs[0], name: huge }], new ArrayBuffer(8))],
    ['bytes for a name', () => readManifest([{ ...specs[0], name: big }], new ArrayBuffer(8))],
    ['a shape', () => readManifest([{ ...specs[0], shape: [...huge, -1] }], new ArrayBuffer(8))],
    ['a shape that is too large', () => readManifest([{ ...specs[0], shape: huge.slice(1) }], new ArrayBuffer(8))],
    ['a shape that is text', () => readManifest([{ ...specs[0], shape: long }], new ArrayBuffer(8))],
    ['a dtype', () => readManifest([{ ...specs[0], dtype: long }], new ArrayBuffer(8))],
    ['a quantization', () => readManifest([{ ...specs[0], quantization: { dtype: long } }], new ArrayBuffer(8))],
    ['a scale', () => readManifest([{ ...specs[0], quantization: { dtype: 'uint8', scale: huge } }], big)],
    ['an object without a prototype', () => readManifest([{ ...specs[0], name: Object.create(null) }], big)],
    ['a string that is cut off', () => readManifest([{ name: long, shape: [9], dtype: 'string' }], new ArrayBuffer(5))],
    ['a detached buffer', () => readManifest(specs, detached())],
    [
      'a format',
      () => quantizedTensor(tf.tensor([1], [1], 'int32'), { kind: 'matrix', format: long, N: 1, K: 1 } as never),
    ],
    ['a kind', () => quantizedTensor(tf.tensor([1], [1], 'int32'), { kind: huge } as never)],
    ['a batch', () => quantizedTensor(tf.tensor([1], [1], 'int32'), { ...matrix, batchShape: huge.slice(1) } as never)],
    ['a block size', () => quantizedTensor(tf.tensor([1], [1], 'int32'), { ...matrix, blockSize: huge } as never)],
    ['an operand', () => matMul(tf.ones([1, 4]), big as never)],
    ['indices', () => gather(quantizedTensor(tf.tensor([1], [1], 'int32'), table), big as never)],
    ['a model', () => accelerate(huge as never)],
    ['an option', () => graphModelHandler('x', { [long]: 1 } as never)],
    ['a value of an option', () => graphModelHandler('x', { format: long } as never)],
    ['a node', () => loadGraphModel(handlerOf(withNode({ name: long, op: 1 })))],
    ['an input', () => loadGraphModel(handlerOf(withNode({ name: 'n', op: 'Identity', input: [`${long}x`] })))],
    ['inputs', () => loadGraphModel(handlerOf(withNode({ name: long, op: 'Identity', input: huge })))],
    ['a spec of MSD', () => loadGraphModel(handlerOf(withNode(msdNode(long))))],
    ['a layer of MSD', async () => loadLayersModel(handlerOf(await withLayer(long)))],
  ])('are short whatever a file holds: %s', async (_, run) => {
    let message: string | undefined;
    try {
      await run();
    } catch (error) {
      expect(['ModelFormatError', 'TypeError', 'RangeError']).toContain((error as Error).name);
      message = (error as Error).message;
    }
    expect(message).toBeDefined();
    expect(new TextEncoder().encode(message).length).toBeLessThan(1024);
    tf.disposeVariables();
  });

  const matrix = { kind: 'matrix', format: 'int8', N: 1, K: 1, blockSize: null, planes: 1, offset: 0 };
  const table = { kind: 'table', codes: 'uint8', rows: 1, columns: 4, scale: 1, min: 0 } as const;

  function detached(): ArrayBuffer {
    const buffer = new ArrayBuffer(8);
    structuredClone(buffer, { transfer: [buffer] });
    return buffer;
  }

  function withNode(node: object): io.ModelArtifacts {
    const artifacts = graph();
    (artifacts.modelTopology as { node: object[] }).node.push(node);
    return artifacts;
  }

  const msdNode = (name: string) => ({
    name,
    op: 'MsdMatMul',
    input: ['x', 'bias'],
    attr: { spec: { s: btoa(JSON.stringify({ ...matrix, format: '\u00f6'.repeat(1000) })) } },
  });

  async function withLayer(name: string): Promise<io.ModelArtifacts> {
    const artifacts = await layers();
    return JSON.parse(JSON.stringify(artifacts), (key, value) => {
      if (key === 'class_name' && value === 'Dense') return 'MsdDense';
      return key === 'name' && /^dense/.test(value) && !value.includes('/') ? name : value;
    });
  }

  it('say which form is expected, and that a model is truncated', () => {
    expect(() => readManifest(specs, 'bytes')).toThrow(
      'weights: data, expected an ArrayBuffer, a typed array, or several, got bytes.',
    );
    expect(() => readManifest(specs, detached())).toThrow(ModelFormatError);
    expect(() => readManifest(undefined, big)).toThrow('weights: specs, expected an array, got undefined.');
    expect(() => readManifest([{ ...specs[0], name: long }], new ArrayBuffer(1))).toThrow(
      /^weights: ö{80}… \(1000000 characters\) \[2\], expected bytes 0 … 8, got 1 in all\. Are they truncated\?$/,
    );
  });
});
