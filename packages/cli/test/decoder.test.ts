import { random as seededRandom } from '@msd/core/numerics';
import { writeModel } from '@msd/onnx/write';
import * as ort from 'onnxruntime-web';
import { describe, expect, it } from 'vitest';
import { greedyRun } from '../../../examples/story-model/src/greedy-run.ts';
import { initialWeights, type ModelConfig } from '../../../examples/story-model/src/model.ts';
import { decoderGraph } from '../../../examples/story-model/src/onnx-graph.ts';
import { DecoderSession } from '../src/run/decoder.ts';
import { UserError } from '../src/shared/errors.ts';

ort.env.wasm.numThreads = 1;

const SIZES: ModelConfig = {
  vocabSize: 32,
  hiddenSize: 32,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 16,
  mlpSize: 32,
  context: 12,
  normEps: 1e-5,
  ropeTheta: 10000,
};
const CONFIG = { context: SIZES.context };
const MODEL = decoderGraph(SIZES, initialWeights(SIZES, seededRandom(1)));

const create = (bytes: Uint8Array): Promise<ort.InferenceSession> =>
  ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });

describe('DecoderSession', () => {
  it('reads a prompt at once or token by token, and again after reset', async () => {
    const decoder = new DecoderSession(await create(writeModel(MODEL)), CONFIG);
    const ids = [1, 9, 4, 9, 30];
    const atOnce = (await decoder.read(ids)).slice();
    expect(atOnce).toHaveLength(SIZES.vocabSize);
    expect(decoder.position).toBe(ids.length);
    decoder.reset();
    let last = new Float32Array(0);
    for (const id of ids) last = (await decoder.read([id])) as Float32Array<ArrayBuffer>;
    // float32 sums in another order
    last.forEach((value, i) => {
      expect(value).toBeCloseTo(atOnce[i] as number, 5);
    });
  });

  it('refuses to read past the context', async () => {
    const decoder = new DecoderSession(await create(writeModel(MODEL)), CONFIG);
    await decoder.read(new Array<number>(SIZES.context).fill(1));
    await expect(decoder.read([1])).rejects.toThrow(/context of 12 tokens is full/);
  });

  it('feeds position_ids to models that ask for them', async () => {
    const { graph } = MODEL;
    const withPositions = {
      ...MODEL,
      graph: { ...graph, inputs: [...graph.inputs, { name: 'position_ids', dtype: 'int64' as const, dims: [1, 's'] }] },
    };
    const decoder = new DecoderSession(await create(writeModel(withPositions)), CONFIG);
    expect(await decoder.read([1, 2])).toHaveLength(SIZES.vocabSize);
  });

  it('says what is missing or unknown in a model of another form', async () => {
    const bytes = writeModel({
      graph: {
        nodes: [{ opType: 'Relu', inputs: ['pixels'], outputs: ['logits'] }],
        inputs: [{ name: 'pixels', dtype: 'float32', dims: [1] }],
        outputs: [{ name: 'logits', dtype: 'float32', dims: [1] }],
      },
    });
    const session = await create(bytes);
    expect(() => new DecoderSession(session, CONFIG)).toThrow(UserError);
    expect(() => new DecoderSession(session, CONFIG)).toThrow(/missing: input_ids, .*unknown: pixels/);
  });
});

describe('greedyRun', () => {
  it('writes the asked number of tokens, or stops when told', async () => {
    const decoder = new DecoderSession(await create(writeModel(MODEL)), CONFIG);
    const { ids } = await greedyRun(decoder, [1, 5], 8);
    expect(ids).toHaveLength(8);
    const seen: number[] = [];
    const stopped = await greedyRun(decoder, [1, 5], 8, (id, count) => {
      seen.push(id);
      return count === 3;
    });
    expect(stopped.ids).toEqual(ids.slice(0, 3));
    expect(seen).toEqual(stopped.ids);
  });
});
