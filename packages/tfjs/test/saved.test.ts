/**
 * What an older version saved still runs, with the same bits. golden/saved-by-layout-1.json was written by @msd/tfjs of commit
 * 4c6b489: artifacts of graph models and of a layers model, one tensor with its spec, and what they gave.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accelerate,
  loadGraphModel,
  loadLayersModel,
  matMul,
  type QuantizedSpec,
  quantizedTensor,
  register,
  unregister,
} from '../src/index.ts';
import golden from './golden/saved-by-layout-1.json' with { type: 'json' };
import { handlerOf } from './graph.ts';
import { BACKENDS, random, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

/** Without Math functions: the same values in every engine. */
function uniform(seed: number, shape: number[]): tf.Tensor {
  const next = random(seed);
  return tf.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => next() - 0.5),
    shape,
  );
}

const bytesOf = (base64: string): ArrayBuffer => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)).buffer;

/** A fresh copy: tfjs keeps what it is given. */
const artifactsOf = (saved: { weightData: string }): tf.io.ModelArtifacts =>
  ({ ...structuredClone(saved), weightData: bytesOf(saved.weightData) }) as never;

async function savedAgain(model: tf.GraphModel | tf.LayersModel): Promise<tf.io.ModelArtifacts> {
  let artifacts: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (given) => {
      artifacts = { ...given, weightData: tf.io.CompositeArrayBuffer.join([given.weightData as ArrayBuffer].flat()) };
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
    }),
  );
  return artifacts!;
}

const versionsIn = (artifacts: tf.io.ModelArtifacts): string[] =>
  JSON.stringify(artifacts.modelTopology).match(/"version":\d+/g) ?? [];

const predict = (model: tf.GraphModel | tf.LayersModel, x: tf.Tensor): number[] =>
  tf.tidy(() => Array.from((model.predict(x) as tf.Tensor).dataSync()));

describe.each(BACKENDS)('weights of layout 1 on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  for (const name of ['graph, int8', 'graph, int4'] as const) {
    const { artifacts, x, y } = golden[name];
    const input = () => uniform(...(x as [number, number[]]));

    it(`of a graph model are repacked when MSD loads it, and saved as they are now: ${name}`, async () => {
      await withoutLeaks(async () => {
        const model = await loadGraphModel(handlerOf(artifactsOf(artifacts)));
        const now = await savedAgain(model);
        const again = await tf.loadGraphModel(handlerOf(now));
        const given = input();
        expect(predict(model, given)).toEqual(y);
        expect(predict(again, given)).toEqual(y);
        expect(atob(JSON.stringify(now.modelTopology).match(/"spec":\{"s":"([^"]+)"/)![1]!)).toContain('"version":2');
        tf.dispose([model, again, given] as never);
      });
    });

    it(`of a graph model that tfjs loads by itself are repacked beside it, and saved as they were: ${name}`, async () => {
      const model = await tf.loadGraphModel(handlerOf(artifactsOf(artifacts)));
      const given = input();
      expect(predict(model, given)).toEqual(y);
      const { numTensors } = tf.memory();
      expect(predict(model, given)).toEqual(y);
      expect(tf.memory().numTensors).toBe(numTensors);
      await accelerate(model, { minElements: 1 });
      expect(predict(model, given)).toEqual(y);
      const again = await loadGraphModel(handlerOf(await savedAgain(model)));
      expect(predict(again, given)).toEqual(y);
      tf.dispose([model, again, given] as never);
    });
  }

  it.each([
    ['MSD', loadLayersModel],
    ['tfjs', tf.loadLayersModel],
  ] as const)('of a layers model are repacked when %s loads it, and saved as they are now', async (_, load) => {
    const { artifacts, y } = golden.layers;
    await withoutLeaks(async () => {
      const model = await load(tf.io.fromMemory(artifactsOf(artifacts)));
      const given = tf.tensor([1, 7, 29, 0, 3], [1, 5]);
      expect(predict(model, given)).toEqual(y);
      const now = await savedAgain(model);
      expect(versionsIn(now)).toEqual(['"version":2', '"version":2', '"version":2']);
      const again = await tf.loadLayersModel(tf.io.fromMemory(now));
      expect(predict(again, given)).toEqual(y);
      tf.tidy(() => again.setWeights(model.getWeights()));
      tf.tidy(() => model.setWeights(again.getWeights()));
      expect(predict(model, given)).toEqual(y);
      tf.dispose([given] as never);
      model.dispose();
      again.dispose();
    });
  });

  it('of a tensor are repacked when it meets its spec', () => {
    const { packed, spec, x, y } = golden.tensor;
    const before = tf.memory().numTensors;
    const q = quantizedTensor(tf.tensor(new Int32Array(bytesOf(packed)), undefined, 'int32'), spec as QuantizedSpec);
    const given = uniform(...(x as [number, number[]]));
    expect(q.spec).toEqual({ ...spec, version: 2 });
    expect(tf.tidy(() => Array.from(matMul(given, q).dataSync()))).toEqual(y);
    tf.dispose([q, given] as never);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('weights of a newer layout', () => {
  const message = /expected layout version 2 at most, got 3: a newer version saved them. Update @msd\/tfjs, or save/;

  it('are refused, with what to do', async () => {
    const { packed, spec } = golden.tensor;
    const tensor = tf.tensor(new Int32Array(bytesOf(packed)), undefined, 'int32');
    expect(() => quantizedTensor(undefined as never, spec as QuantizedSpec)).toThrow(
      'expected an int32 tensor, got undefined',
    );
    expect(() => quantizedTensor(tensor, { ...spec, version: 3 } as QuantizedSpec)).toThrow(message);
    expect(() => quantizedTensor(tensor, { ...spec, version: -1 } as QuantizedSpec)).toThrow(
      /spec.version, expected a positive integer, got -1/,
    );
    tensor.dispose();
    const graph = artifactsOf(golden['graph, int8'].artifacts);
    const newer = JSON.parse(JSON.stringify(graph.modelTopology), (key, value: unknown) =>
      key === 'spec'
        ? { s: btoa(JSON.stringify({ ...JSON.parse(atob((value as { s: string }).s)), version: 3 })) }
        : value,
    );
    await expect(loadGraphModel(handlerOf({ ...graph, modelTopology: newer }))).rejects.toThrow(message);
    const layers = artifactsOf(golden.layers.artifacts);
    const topology = JSON.parse(JSON.stringify(layers.modelTopology), (key, value: { kind?: string }) =>
      key === 'packed' && value.kind === 'matrix' ? { ...value, version: 3 } : value,
    );
    for (const load of [loadLayersModel, tf.loadLayersModel])
      await expect(load(tf.io.fromMemory({ ...layers, modelTopology: topology }))).rejects.toThrow(message);
  });
});
