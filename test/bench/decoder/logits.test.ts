/**
 * Logits of the 0.5B shape: what a cache of int16 adds to the error of two components, against ONNX Runtime on the same weights in f32. The
 * whole model in the long tier, four layers of its width and few words otherwise.
 */

import { type ModelSpec, type NodeSpec, writeModel } from '@msd/onnx/write';
import { describe, expect, it } from 'vitest';
import { random } from '../../../packages/core/test/seeded.ts';
import { relativeL2 } from '../../../packages/onnx/test/close.ts';
import { floats, ort, session } from '../../../packages/onnx/test/ort.ts';
import { DECODERS, type DecoderShape, decoderModel } from '../models/decoder.ts';

/** Three pages of a cache, and keys of the first one are floats. */
const TOKENS = 160;

const qwen = DECODERS.find(({ name }) => name === 'qwen2.5-0.5b')!;
const shapes: readonly DecoderShape[] = [
  { ...qwen, name: 'four layers', layers: 4, vocabSize: 2048 },
  ...(process.env.MSD_TEST_ALL === '1' ? [qwen] : []),
];

/** Products whose activations stay f32: accuracy level 4 would let ONNX Runtime make int8 of them. */
function exact(model: ModelSpec): ModelSpec {
  const nodes = (model.graph.nodes as NodeSpec[]).map((node) => {
    const { accuracy_level: _, ...attributes } = node.attributes ?? {};
    return { ...node, attributes };
  });
  return { ...model, graph: { ...model.graph, nodes } };
}

describe('logits of the 0.5B shape (the whole of it: test:all)', () => {
  it.each(shapes)('$name', { timeout: 600_000 }, async (shape) => {
    const { layers, kvHeads, headDim, vocabSize } = shape;
    const bytes = writeModel(exact(decoderModel(shape, 'int4')));
    const next = random(20);
    const ids = BigInt64Array.from({ length: TOKENS }, () => BigInt(Math.floor(next() * vocabSize)));
    const empty = new ort.Tensor('float32', new Float32Array(0), [1, kvHeads, 0, headDim]);
    const pasts = Array.from({ length: layers }, (_, i) =>
      ['key', 'value'].map((part) => `past_key_values.${i}.${part}`),
    );
    const feeds = {
      input_ids: new ort.Tensor('int64', ids, [1, TOKENS]),
      attention_mask: new ort.Tensor('int64', new BigInt64Array(TOKENS).fill(1n), [1, TOKENS]),
      ...Object.fromEntries(pasts.flat().map((name) => [name, empty])),
    };
    const logitsOf = async (provider: Parameters<typeof session>[1]): Promise<Float32Array> => {
      const s = await session(bytes, provider);
      const { logits } = await s.run(feeds, ['logits']);
      const values = floats(logits).slice();
      await s.release();
      return values;
    };
    const want = await logitsOf('wasm');
    expect(want).toHaveLength(TOKENS * vocabSize);
    const errors: number[] = [];
    for (const kvCache of ['model', 'int16'])
      errors.push(relativeL2(await logitsOf({ name: 'msd', claim: 'all', kvCache }), want));
    const [two, both] = errors as [number, number];
    console.log(
      `${shape.name}: logits are off by ${two.toExponential(2)}, with a cache of int16 by ${both.toExponential(2)}`,
    );
    expect(two).toBeGreaterThan(0);
    expect(both).toBeLessThanOrEqual(1.5 * two);
  });
});
