import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ModelSpec, writeModel } from '@msd/onnx/write';
import type { InferenceSession } from 'onnxruntime-web';
import { describe, expect, it } from 'vitest';
import { sessionOfFile } from './engines.ts';
import { feedsOf } from './feeds.ts';

/** Four heads over two, of 16, as onnxruntime-genai writes their caches. */
const attentionModel: ModelSpec = {
  irVersion: 8,
  opsets: { '': 21, 'com.microsoft': 1 },
  graph: {
    nodes: [
      {
        opType: 'GroupQueryAttention',
        domain: 'com.microsoft',
        inputs: ['q', 'k', 'v', 'past_key', 'past_value', 'last', 'total'],
        outputs: ['y', 'present_key', 'present_value'],
        attributes: { num_heads: { int: 4 }, kv_num_heads: { int: 2 } },
      },
    ],
    initializers: [
      { name: 'last', dtype: 'int32', dims: [1], data: Int32Array.of(1) },
      { name: 'total', dtype: 'int32', dims: [], data: Int32Array.of(2) },
    ],
    inputs: [
      { name: 'q', dtype: 'float32', dims: ['batch', 'rows', 64] },
      { name: 'k', dtype: 'float32', dims: ['batch', 'rows', 32] },
      { name: 'v', dtype: 'float32', dims: ['batch', 'rows', 32] },
      { name: 'past_key', dtype: 'float32', dims: ['batch', 2, 'past', 'kv_cache_dim'] },
      { name: 'past_value', dtype: 'float32', dims: ['batch', 2, 'past', 'kv_cache_dim'] },
    ],
    outputs: ['y', 'present_key', 'present_value'].map((name) => ({ name, dtype: 'float32' })),
  },
};

const session = (last: string | number) =>
  ({
    inputMetadata: [
      { name: 'input_ids', isTensor: true, type: 'int64', shape: ['batch_size', 'sequence_length'] },
      {
        name: 'past_key_values.0.key',
        isTensor: true,
        type: 'float32',
        shape: ['batch_size', 2, 'past_sequence_length', last],
      },
    ],
  }) as unknown as InferenceSession;

describe('feeds of a first run', () => {
  it('hold an empty cache', async () => {
    const feeds = await feedsOf(session(16), { ids: [3, 4] });
    expect(feeds['past_key_values.0.key']!.dims).toEqual([1, 2, 0, 16]);
  });

  it.each(['ort', 'msd-2'] as const)(
    'take the size of heads from the graph where the file leaves it open: %s',
    async (engine) => {
      const folder = mkdtempSync(join(tmpdir(), 'msd-feeds-'));
      const path = join(folder, 'model.onnx');
      writeFileSync(path, writeModel(attentionModel));
      const model = await sessionOfFile(path, engine, []);
      rmSync(folder, { recursive: true });
      const feeds = await feedsOf(model, { ids: [3, 4] });
      expect(feeds.past_key!.dims).toEqual([1, 2, 0, 16]);
      expect((await model.run(feeds)).y!.dims).toEqual([1, 2, 64]);
      await model.release();
    },
  );

  it('name a cache whose head size the file leaves open', async () => {
    await expect(feedsOf(session('kv_cache_dim'), { ids: [3, 4] })).rejects.toThrow(
      /past_key_values\.0\.key: the last of its sizes, kv_cache_dim, is open.*--inputs/,
    );
  });
});
