import type { InferenceSession } from 'onnxruntime-web';
import { describe, expect, it } from 'vitest';
import { feedsOf } from './feeds.ts';

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

  it('have sizes for dimensions without a name, which are 2³² − 1 in metadata', async () => {
    const inputMetadata = [{ name: 'X', isTensor: true, type: 'float32', shape: [2 ** 32 - 1, 64] }];
    const feeds = await feedsOf({ inputMetadata } as unknown as InferenceSession, { ids: [3, 4] });
    expect(feeds.X!.dims).toEqual([1, 64]);
    await expect(feedsOf(session(2 ** 32 - 1), { ids: [3, 4] })).rejects.toThrow(
      /the last of its sizes, which has no name, is open/,
    );
  });

  it('name a cache whose head size the file leaves open', async () => {
    await expect(feedsOf(session('kv_cache_dim'), { ids: [3, 4] })).rejects.toThrow(
      /past_key_values\.0\.key: the last of its sizes, kv_cache_dim, is open.*--inputs/,
    );
  });
});
