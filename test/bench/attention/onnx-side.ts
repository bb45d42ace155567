/** onnxruntime-web's GroupQueryAttention on the same keys and values, f32: as a decoder runs it, past in and present out. */
import { writeModel } from '@msd/onnx/write';
import type * as Ort from 'onnxruntime-web';
import type { AttentionCase, AttentionData } from './case.ts';

export interface OnnxAttention {
  run(): Promise<unknown>;
  /** As MSD's: [heads, rows, d]. */
  out(): Promise<Float32Array>;
  release(): Promise<void>;
}

export async function groupQueryAttention(
  ort: typeof Ort,
  { headSize: d, heads, rows, keys }: AttentionCase,
  { q, k, v }: AttentionData,
): Promise<OnnxAttention> {
  const past = keys - rows;
  const float = (name: string, dims: (number | string)[]) => ({ name, dtype: 'float32' as const, dims });
  const int = (name: string, dims: number[]) => ({ name, dtype: 'int32' as const, dims });
  const names = ['query', 'key', 'value', 'past_key', 'past_value', 'seqlens_k', 'total_sequence_length'];
  const model = writeModel({
    graph: {
      nodes: [
        {
          opType: 'GroupQueryAttention',
          domain: 'com.microsoft',
          inputs: names,
          outputs: ['out', 'present_key', 'present_value'],
          attributes: { num_heads: { int: heads }, kv_num_heads: { int: 1 } },
        },
      ],
      inputs: [
        float('query', [1, rows, heads * d]),
        float('key', [1, rows, d]),
        float('value', [1, rows, d]),
        float('past_key', [1, 1, past, d]),
        float('past_value', [1, 1, past, d]),
        int('seqlens_k', [1]),
        int('total_sequence_length', [1]),
      ],
      outputs: ['out', 'present_key', 'present_value'].map((name) => ({ name })),
    },
  });
  const session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'], logSeverityLevel: 3 });
  const tensor = (data: Float32Array, dims: number[]) => new ort.Tensor('float32', data, dims);
  const feeds = {
    query: tensor(swapped(q, heads, rows, d), [1, rows, heads * d]),
    key: tensor(k.slice(past * d), [1, rows, d]),
    value: tensor(v.slice(past * d), [1, rows, d]),
    past_key: tensor(k.slice(0, past * d), [1, 1, past, d]),
    past_value: tensor(v.slice(0, past * d), [1, 1, past, d]),
    seqlens_k: new ort.Tensor('int32', Int32Array.of(keys - 1), [1]),
    total_sequence_length: new ort.Tensor('int32', Int32Array.of(keys), [1]),
  };
  return {
    run: () => session.run(feeds),
    out: async () => {
      const { out } = await session.run(feeds);
      return swapped(out!.data as Float32Array, rows, heads, d);
    },
    release: () => session.release(),
  };
}

/** [a, b, d] -> [b, a, d] */
function swapped(x: Float32Array, a: number, b: number, d: number): Float32Array {
  const y = new Float32Array(x.length);
  for (let i = 0; i < a; i++)
    for (let j = 0; j < b; j++) y.set(x.subarray((i * b + j) * d, (i * b + j + 1) * d), (j * a + i) * d);
  return y;
}
