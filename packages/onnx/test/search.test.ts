/** Searches with a decoder inside (BeamSearch and its kin) are ONNX Runtime's, and write what they write without MSD. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import { type AttributeSpec, type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { gaussian, gaussianSpec, random } from './models.ts';
import { ort, session, tensor } from './ort.ts';

const [VOCABULARY, WIDTH, HEADS] = [20, 8, 2];
const next = random(31);
const fixed = (name: string, ...dims: number[]): TensorSpec => gaussianSpec(next, name, ...dims);

/** One layer of a GPT-2, in the form that the searches take. */
const decoder: GraphSpec = {
  name: 'decoder',
  nodes: [
    { opType: 'Gather', inputs: ['words', 'input_ids'], outputs: ['word'] },
    { opType: 'Gather', inputs: ['places', 'position_ids'], outputs: ['place'] },
    { opType: 'Add', inputs: ['word', 'place'], outputs: ['x'] },
    {
      opType: 'Attention',
      domain: 'com.microsoft',
      inputs: ['x', 'qkv', 'bias', 'attention_mask', 'past_0'],
      outputs: ['attended', 'present_0'],
      attributes: { num_heads: { int: HEADS }, unidirectional: { int: 1 } },
    },
    { opType: 'Add', inputs: ['x', 'attended'], outputs: ['y'] },
    { opType: 'MatMul', inputs: ['y', 'head'], outputs: ['logits'] },
  ],
  initializers: [
    fixed('words', VOCABULARY, WIDTH),
    fixed('places', 32, WIDTH),
    fixed('qkv', WIDTH, 3 * WIDTH),
    fixed('bias', 3 * WIDTH),
    fixed('head', WIDTH, VOCABULARY),
  ],
  inputs: [
    ...['input_ids', 'position_ids'].map((name) => ({ name, dtype: 'int32' as const, dims: ['batch', 'rows'] })),
    { name: 'attention_mask', dtype: 'int32', dims: ['batch', 'keys'] },
    { name: 'past_0', dtype: 'float32', dims: [2, 'batch', HEADS, 'past', WIDTH / HEADS] },
  ],
  outputs: [
    { name: 'logits', dtype: 'float32', dims: ['batch', 'rows', VOCABULARY] },
    { name: 'present_0', dtype: 'float32', dims: [2, 'batch', HEADS, 'keys', WIDTH / HEADS] },
  ],
};

const settings: readonly (readonly [name: string, dtype: 'int32' | 'float32', value: number])[] = [
  ['max_length', 'int32', 10],
  ['min_length', 'int32', 1],
  ['num_beams', 'int32', 3],
  ['num_return_sequences', 'int32', 2],
  ['length_penalty', 'float32', 1],
  ['repetition_penalty', 'float32', 1],
];

/** @param isBehindProduct whether the first tokens come out of a product that MSD takes */
function modelOf(opType: string, isBehindProduct: boolean): Uint8Array {
  const used = settings.filter(
    ([name]) => opType === 'BeamSearch' || ['max_length', 'min_length', 'repetition_penalty'].includes(name),
  );
  const attributes: Record<string, AttributeSpec> = {
    eos_token_id: { int: VOCABULARY - 1 },
    pad_token_id: { int: VOCABULARY - 1 },
    model_type: { int: 0 },
    decoder: { graph: decoder },
    ...(opType === 'Sampling' && { top_p: { float: 0.5 }, vocab_size: { int: VOCABULARY } }),
  };
  const product: readonly NodeSpec[] = [
    { opType: 'MatMul', inputs: ['image', 'w'], outputs: ['scores'] },
    {
      opType: 'ArgMax',
      inputs: ['scores'],
      outputs: ['best'],
      attributes: { axis: { int: -1 }, keepdims: { int: 0 } },
    },
    { opType: 'Cast', inputs: ['best'], outputs: ['ids'], attributes: { to: { int: 6 } } },
  ];
  return writeModel({
    irVersion: 8,
    opsets: { '': 17, 'com.microsoft': 1 },
    graph: {
      nodes: [
        ...(isBehindProduct ? product : []),
        {
          opType,
          domain: 'com.microsoft',
          inputs: ['ids', ...used.map(([name]) => name)],
          outputs: ['sequences'],
          attributes,
        },
      ],
      initializers: [
        ...used.map(([name, dtype, value]) => ({
          name,
          dtype,
          dims: [1],
          data: dtype === 'int32' ? Int32Array.of(value) : Float32Array.of(value),
        })),
        ...(isBehindProduct ? [fixed('w', WIDTH, VOCABULARY)] : []),
      ],
      inputs: isBehindProduct
        ? [{ name: 'image', dtype: 'float32', dims: ['batch', 'rows', WIDTH] }]
        : [{ name: 'ids', dtype: 'int32', dims: ['batch', 'rows'] }],
      outputs: [{ name: 'sequences', dtype: 'int32' }],
    },
  });
}

describe.each(['BeamSearch', 'GreedySearch', 'Sampling'])('%s', (opType) => {
  it.each([false, true])('behind a product: %s', async (isBehindProduct) => {
    const bytes = modelOf(opType, isBehindProduct);
    const feeds: Record<string, ort.Tensor> = isBehindProduct
      ? { image: tensor(gaussian(next, 2 * 3 * WIDTH), [2, 3, WIDTH]) }
      : { ids: new ort.Tensor('int32', Int32Array.of(1, 5, 2, 7, 3, 4), [2, 3]) };
    const plain = await session(bytes, 'wasm');
    const { sequences: expected } = await plain.run(feeds);
    for (const provider of ['msd', { name: 'msd', claim: 'all' }] as const) {
      const msd = await session(bytes, provider);
      const report = reportOf(msd)!.nodes;
      expect(report.find((node) => node.opType === opType)!.where).toBe('ort');
      if (isBehindProduct && provider !== 'msd') expect(report[0]!.where).toBe('msd');
      for (let run = 0; run < 2; run++) {
        const { sequences } = await msd.run(feeds);
        expect([sequences!.dims, sequences!.data]).toEqual([expected!.dims, expected!.data]);
      }
      await msd.release();
    }
    await plain.release();
  });
});
