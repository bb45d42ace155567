/** Attention between products. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../../src/register.ts';
import { type NodeSpec, writeModel } from '../../src/write/index.ts';
import { makeMatrix } from '../models.ts';
import { session } from '../ort.ts';

/** Two quantized products with attention between; `keys`: dims of key and value, with heads first, or those of this run. */
function model(keys?: readonly (number | string)[]): Uint8Array {
  const [a, b] = [makeMatrix({ name: 'a', N: 512, K: 512 }), makeMatrix({ name: 'b', N: 512, K: 512, seed: 2 })];
  const attention: NodeSpec = {
    opType: 'MultiHeadAttention',
    domain: 'com.microsoft',
    name: 'attention',
    inputs: keys ? ['q', 'k', 'v'] : ['q', 'q', 'q'],
    outputs: ['h'],
    attributes: { num_heads: { int: 8 } },
  };
  return writeModel({
    graph: {
      nodes: [a.node('x', 'q'), attention, b.node('h', 'y')],
      initializers: [...a.initializers, ...b.initializers],
      inputs: [
        { name: 'x', dtype: 'float32', dims: ['batch', 'rows', 512] },
        ...(keys ? ['k', 'v'].map((name) => ({ name, dtype: 'float32' as const, dims: [...keys] })) : []),
      ],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['batch', 'rows', 512] }],
    },
  });
}

async function attentionOf(bytes: Uint8Array) {
  const s = await session(bytes, 'msd');
  const node = reportOf(s)?.nodes.find(({ name }) => name === 'attention');
  await s.release();
  return node;
}

describe('prices of attention', () => {
  it('take attention over what the run brings', async () => {
    expect(await attentionOf(model())).toMatchObject({ where: 'msd' });
  });

  it('take keys that are fed in every run: to make integers of them costs no more than to hand them on', async () => {
    for (const keys of ['encoder_sequence_length', 1500])
      expect(await attentionOf(model(['batch', 8, keys, 64]))).toMatchObject({ where: 'msd' });
  });
});
