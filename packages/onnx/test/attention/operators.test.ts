/** MultiHeadAttention, Attention of com.microsoft and ONNX's Attention beside ONNX Runtime, and what of them is refused. */

import { describe, expect, it } from 'vitest';
import { loadOperators } from '../../src/execute/families.ts';
import { buildGraph } from '../../src/ir/graph.ts';
import { inferTypes } from '../../src/ir/infer.ts';
import { matchNodes } from '../../src/passes/match.ts';
import { readModel } from '../../src/read/model.ts';
import { bytesSource } from '../../src/read/source.ts';
import { reportOf } from '../../src/register.ts';
import { type AttributeSpec, type GraphSpec, type TensorSpec, writeModel } from '../../src/write/index.ts';
import { relativeL2 } from '../close.ts';
import { gaussian, random } from '../models.ts';
import { floats, ort, session, tensor } from '../ort.ts';

await loadOperators();

interface Operand {
  readonly type: 'float32' | 'int32' | 'int64' | 'bool';
  readonly dims: readonly number[];
  /** Default: Gaussian. */
  readonly data?: readonly number[];
}
const f = (...dims: number[]): Operand => ({ type: 'float32', dims });
const i32 = (data: readonly number[], ...dims: number[]): Operand => ({ type: 'int32', dims, data });
const i64 = (data: readonly number[], ...dims: number[]): Operand => ({ type: 'int64', dims, data });
const bool = (data: readonly number[], ...dims: number[]): Operand => ({ type: 'bool', dims, data });

interface Case {
  readonly op: string;
  readonly domain?: string;
  readonly inputs: readonly (Operand | undefined)[];
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
  /** Which of its results are asked for. Default: the first. */
  readonly outputs?: readonly boolean[];
}

const mha = (inputs: Case['inputs'], attributes: Case['attributes'] = {}, ...outputs: boolean[]): Case => ({
  op: 'MultiHeadAttention',
  domain: 'com.microsoft',
  inputs,
  attributes: { num_heads: { int: 2 }, ...attributes },
  outputs: [true, ...outputs],
});
const packed = (inputs: Case['inputs'], attributes: Case['attributes'] = {}, ...outputs: boolean[]): Case => ({
  ...mha(inputs, attributes, ...outputs),
  op: 'Attention',
});
const standard = (inputs: Case['inputs'], attributes: Case['attributes'] = {}, ...outputs: boolean[]): Case => ({
  op: 'Attention',
  inputs,
  attributes,
  outputs: [true, ...outputs],
});

/** @param fixed which operands the file holds; the others are fed */
function modelOf(each: Case, fixed: (operand: number) => boolean = () => false): Uint8Array {
  const { op, domain = '', inputs, attributes = {}, outputs = [true] } = each;
  const feeds = feedsOf(each);
  const names = inputs.map((input, i) => (input ? `in${i}` : ''));
  const results = outputs.map((asked, i) => (asked ? `out${i}` : ''));
  const graph: GraphSpec = {
    nodes: [{ opType: op, domain, inputs: names, outputs: results, attributes }],
    inputs: inputs.flatMap((input, i) =>
      input && !fixed(i) ? [{ name: `in${i}`, dtype: input.type, dims: [...input.dims] }] : [],
    ),
    initializers: inputs.flatMap((input, i): TensorSpec[] =>
      input && fixed(i)
        ? [{ name: `in${i}`, dtype: input.type, dims: input.dims, data: feeds[`in${i}`]!.data as Float32Array }]
        : [],
    ),
    outputs: results.filter((name) => name !== '').map((name) => ({ name, dtype: 'float32' })),
  };
  return writeModel({ opsets: { '': 24, 'com.microsoft': 1 }, graph });
}

function feedsOf({ inputs }: Case): Record<string, ort.Tensor> {
  const next = random(7);
  return Object.fromEntries(
    inputs.flatMap((input, i) => {
      if (!input) return [];
      const { type, dims, data } = input;
      const count = dims.reduce((product, dim) => product * dim, 1);
      if (type === 'float32') return [[`in${i}`, tensor(data ? Float32Array.from(data) : gaussian(next, count), dims)]];
      const numbers = data ?? [];
      const array =
        type === 'int64'
          ? BigInt64Array.from(numbers, BigInt)
          : type === 'int32'
            ? Int32Array.from(numbers)
            : Uint8Array.from(numbers);
      return [[`in${i}`, new ort.Tensor(type, array as Int32Array, dims) as ort.Tensor]];
    }),
  );
}

function distance(got: ort.Tensor, expected: ort.Tensor): number {
  expect(got.dims).toEqual(expected.dims);
  return relativeL2(floats(got), floats(expected));
}

/** What becomes of the one node. */
function decisionOf(model: Uint8Array): string {
  const [decision] = matchNodes(inferTypes(buildGraph(readModel(bytesSource(model))))).values();
  return typeof decision === 'string' ? decision : (decision?.op ?? '');
}

const [B, M, D] = [2, 5, 32];
const x = f(B, M, D);
const past = f(B, 2, 3, 16);
const seen = [1, 1, 1, 0, 0, 1, 1, 1, 1, 1];
const seenLong = [1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];

const cases: readonly (readonly [string, Case])[] = [
  ['MHA', mha([x, x, x])],
  ['MHA, a bias of projections', mha([x, x, x, f(3 * D)])],
  ['MHA, values of another size', mha([x, x, f(B, M, 48)])],
  ['MHA, a bias, values of another size', mha([x, x, f(B, M, 48), f(2 * D + 48)])],
  ['MHA, cross-attention', mha([x, f(B, 9, D), f(B, 9, D)])],
  ['MHA, cross-attention with heads first', mha([x, f(B, 2, 9, 16), f(B, 2, 9, 16)])],
  ['MHA, scale and causal', mha([x, x, x], { scale: { float: 0.4 }, unidirectional: { int: 1 } })],
  ['MHA, causal with fewer keys than queries', mha([x, f(B, 3, D), f(B, 3, D)], { unidirectional: { int: 1 } })],
  ['MHA, a past that nobody takes notice of', mha([x, x, x, undefined, undefined, undefined, past, past])],
  ['MHA, key lengths', mha([x, x, x, undefined, i32([3, 5], B)])],
  ['MHA, key lengths, and where each begins', mha([x, x, x, undefined, i32([3, 5, 0, 5, 10, 0, 5, 10], 3 * B + 2)])],
  ['MHA, a padding mask', mha([x, x, x, undefined, i32(seen, B, M)])],
  [
    'MHA, a padding mask and another filter',
    mha([x, x, x, undefined, i32(seen, B, M)], { mask_filter_value: { float: -2 } }),
  ],
  [
    'MHA, a mask of every query',
    mha([
      x,
      x,
      x,
      undefined,
      i32(
        Array.from({ length: 50 }, (_, i) => +(i % 3 > 0)),
        B,
        M,
        M,
      ),
    ]),
  ],
  ['MHA, nothing but padding', mha([x, x, x, undefined, i32([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], B, M)])],
  ['MHA, attention bias', mha([x, x, x, undefined, undefined, f(1, 2, M, M)])],
  ['MHA, attention bias and padding', mha([x, x, x, undefined, i32(seen, B, M), f(B, 1, M, M)])],
  ['MHA, present without past', mha([x, x, x, f(3 * D)], {}, true, true)],
  ['MHA, past', mha([x, x, x, undefined, undefined, undefined, past, past], {}, true, true)],
  [
    'MHA, past, causal',
    mha([x, x, x, undefined, undefined, undefined, past, past], { unidirectional: { int: 1 } }, true, true),
  ],
  ['MHA, past and padding', mha([x, x, x, undefined, i32(seenLong, B, 8), undefined, past, past], {}, true, true)],
  [
    'MHA, past, attention bias, padding',
    mha([x, x, x, undefined, i32(seenLong, B, 8), f(1, 2, M, 8), past, past], {}, true, true),
  ],
  [
    'MHA, an empty past',
    mha([x, x, x, undefined, undefined, undefined, f(B, 2, 0, 16), f(B, 2, 0, 16)], {}, true, true),
  ],
  ['Attention of com.microsoft', packed([x, f(D, 3 * D), f(3 * D)])],
  [
    'Attention of com.microsoft, causal, scale',
    packed([x, f(D, 96), f(96)], { unidirectional: { int: 1 }, scale: { float: 0.1 } }),
  ],
  [
    'Attention of com.microsoft, unequal sizes',
    packed([x, f(D, 80), f(80)], { qkv_hidden_sizes: { ints: [24, 24, 32] } }),
  ],
  ['Attention of com.microsoft, lengths', packed([x, f(D, 96), f(96), i32([4, 5], B)])],
  [
    'Attention of com.microsoft, lengths, and where each begins',
    packed([x, f(D, 96), f(96), i32([4, 5, 0, 5, 10, 0, 5, 10], 3 * B + 2)]),
  ],
  ['Attention of com.microsoft, lengths and starts', packed([x, f(D, 96), f(96), i32([4, 5, 1, 2], 2 * B)])],
  ['Attention of com.microsoft, a mask', packed([x, f(D, 96), f(96), i32(seen, B, M)])],
  ['Attention of com.microsoft, bias', packed([x, f(D, 96), f(96), undefined, undefined, f(B, 2, M, M)])],
  ['Attention of com.microsoft, present', packed([x, f(D, 96), f(96)], {}, true)],
  [
    'Attention of com.microsoft, past',
    packed([x, f(D, 96), f(96), undefined, f(2, B, 2, 3, 16)], { unidirectional: { int: 1 } }, true),
  ],
  [
    'Attention of com.microsoft, past and mask',
    packed([x, f(D, 96), f(96), i32(seenLong, B, 8), f(2, B, 2, 3, 16)], {}, true),
  ],
  ['Attention-24', standard([f(B, 4, M, 16), f(B, 2, 7, 16), f(B, 2, 7, 24)])],
  [
    'Attention-24, rows',
    standard([f(B, M, 64), f(B, 7, 32), f(B, 7, 32)], { q_num_heads: { int: 4 }, kv_num_heads: { int: 2 } }),
  ],
  [
    'Attention-24, causal, softcap, scale',
    standard([f(B, 2, M, 16), f(B, 2, M, 16), f(B, 2, M, 16)], {
      is_causal: { int: 1 },
      softcap: { float: 1.5 },
      scale: { float: 0.2 },
    }),
  ],
  [
    'Attention-24, a bool mask',
    standard([f(1, 2, 2, 16), f(1, 2, 3, 16), f(1, 2, 3, 16), bool([1, 0, 1, 0, 1, 1], 2, 3)]),
  ],
  [
    'Attention-24, a bool mask that leaves nothing',
    standard([f(1, 2, 2, 16), f(1, 2, 3, 16), f(1, 2, 3, 16), bool([0, 0, 0, 0, 1, 1], 2, 3)]),
  ],
  ['Attention-24, a bias', standard([f(B, 2, M, 16), f(B, 2, M, 16), f(B, 2, M, 16), f(B, 1, M, M)])],
  [
    'Attention-24, past, causal',
    standard(
      [f(B, 2, M, 16), f(B, 2, M, 16), f(B, 2, M, 16), undefined, past, past],
      { is_causal: { int: 1 } },
      true,
      true,
    ),
  ],
  [
    'Attention-24, past and mask',
    standard([f(B, 2, M, 16), f(B, 2, M, 16), f(B, 2, M, 16), f(1, 1, M, 8), past, past], {}, true, true),
  ],
  ['Attention-24, scores', standard([f(B, 4, M, 16), f(B, 2, 7, 16), f(B, 2, 7, 24)], {}, false, false, true)],
  [
    'Attention-24, scores with a bias, past',
    standard(
      [f(B, 2, M, 16), f(B, 2, M, 16), f(B, 2, M, 16), f(B, 1, M, 3 + M), past, past],
      { qk_matmul_output_mode: { int: 2 }, scale: { float: 0.2 } },
      ...[true, true, true],
    ),
  ],
  [
    'Attention-24, probabilities, rows, present',
    standard(
      [f(B, M, 64), f(B, M, 32), f(B, M, 32)],
      { q_num_heads: { int: 4 }, kv_num_heads: { int: 2 }, qk_matmul_output_mode: { int: 3 } },
      ...[true, true, true],
    ),
  ],
  ['MHA, no tokens', mha([f(B, 0, D), f(B, 0, D), f(B, 0, D)])],
  ['MHA, no tokens and no keys, bias', mha([f(B, 0, D), f(B, 0, D), f(B, 0, D), undefined, undefined, f(B, 2, 0, 0)])],
  [
    'MHA, no tokens behind a past',
    mha(
      [f(B, 0, D), f(B, 0, D), f(B, 0, D), undefined, undefined, undefined, f(B, 2, 4, 16), f(B, 2, 4, 16)],
      {},
      true,
      true,
    ),
  ],
  [
    'Attention-24, valid keys',
    standard([f(B, 2, M, 16), f(B, 2, 8, 16), f(B, 2, 8, 16), undefined, undefined, undefined, i64([6, 8], B)]),
  ],
  [
    'Attention-24, valid keys, causal',
    standard([f(B, 2, M, 16), f(B, 2, 8, 16), f(B, 2, 8, 16), undefined, undefined, undefined, i64([6, 8], B)], {
      is_causal: { int: 1 },
    }),
  ],
];

describe('operators of attention', () => {
  it.each(cases)('%s', async (title, each) => {
    const bytes = modelOf(each);
    const plain = await session(bytes.slice(), 'wasm');
    const msd = await session(bytes.slice(), { name: 'msd', claim: 'all' });
    expect(reportOf(msd)?.nodes[0]).toMatchObject({ where: 'msd' });
    const expected = await plain.run(feedsOf(each));
    const got = await msd.run(feedsOf(each));
    // Scores of −10000 are 0.001 apart.
    const bound = title.includes('nothing but padding') ? 1e-3 : 1e-4;
    for (const name of plain.outputNames) expect(distance(got[name]!, expected[name]!), name).toBeLessThan(bound);
    await plain.release();
    await msd.release();
  });

  it.each(cases)('%s, with operands of the file', async (title, each) => {
    const given = each.inputs.flatMap((input, i) => (input ? [i] : []));
    const bound = title.includes('nothing but padding') ? 1e-3 : 1e-4;
    for (const fixed of [...given.map((i) => [i]), given.slice(1)]) {
      const bytes = modelOf(each, (i) => fixed.includes(i));
      const plain = await session(bytes.slice(), 'wasm');
      const msd = await session(bytes.slice(), { name: 'msd', claim: 'all' });
      const feeds = Object.fromEntries(
        Object.entries(feedsOf(each)).filter(([name]) => plain.inputNames.includes(name)),
      );
      const [got, expected] = [await msd.run(feeds), await plain.run(feeds)];
      for (const name of plain.outputNames)
        expect(distance(got[name]!, expected[name]!), `${name}, [${fixed}] in the file`).toBeLessThan(bound);
      await plain.release();
      await msd.release();
    }
  });

  /** ONNX Runtime has these on GPUs only. */
  it.each<readonly [string, Case, (parts: readonly Float32Array[]) => Case]>([
    ['queries, keys and values in one', mha([f(B, M, 2, 3, 16)]), () => mha([x, x, x])],
    ['keys and values in one', mha([x, f(B, M, 2, 2, 16)]), () => mha([x, x, x])],
  ])('MHA, %s', async (_, each, separate) => {
    const feeds = feedsOf(each);
    const last = Object.keys(feeds).at(-1)!;
    const { dims } = feeds[last]!;
    const count = dims[3]!;
    const data = floats(feeds[last]);
    const parts = Array.from({ length: count }, (_, part) => {
      const out = new Float32Array(B * M * D);
      for (let i = 0; i < out.length; i++) out[i] = data[(Math.floor(i / 16) * count + part) * 16 + (i % 16)]!;
      return tensor(out, [B, M, D]);
    });
    const all = count === 3 ? parts : [feeds.in0!, ...parts];
    const plain = await session(modelOf(separate([])), 'wasm');
    const msd = await session(modelOf(each), { name: 'msd', claim: 'all' });
    expect(reportOf(msd)?.nodes[0]).toMatchObject({ where: 'msd' });
    const expected = await plain.run({ in0: all[0]!, in1: all[1]!, in2: all[2]! });
    expect(distance((await msd.run(feeds)).out0!, expected.out0!)).toBeLessThan(1e-4);
    await plain.release();
    await msd.release();
  });

  it.each<readonly [string, Case, string]>([
    [
      'a bias beside packed operands',
      mha([f(B, M, 2, 3, 16), undefined, undefined, f(96)]),
      'a bias beside packed operands',
    ],
    ['no heads', { ...mha([x, x, x]), attributes: { num_heads: { int: 0 } } }, 'num_heads is not given'],
    ['scores as a result', mha([x, x, x], {}, true, true, true), 'the scores are an output'],
    [
      'a buffer that past and present share',
      mha([x, x, x, undefined, undefined, undefined, past, past, i32([3], 1)], {}, true, true),
      'past and present share a buffer',
    ],
    [
      'a mask of a past that nobody takes notice of',
      mha([x, x, x, undefined, i32(seenLong, B, 8), undefined, past, past]),
      'a mask or bias beside a past, and no present',
    ],
    [
      'a bias of a past that nobody takes notice of',
      mha([x, x, x, undefined, undefined, f(1, 2, M, 8), past, past]),
      'a mask or bias beside a past, and no present',
    ],
    [
      'unidirectional with more keys than queries',
      mha([x, f(B, 2, 9, 16), f(B, 2, 9, 16)], { unidirectional: { int: 1 } }),
      'unidirectional with more keys than queries: ONNX Runtime shows all of them to the last query',
    ],
    ['rotary inside', packed([x, f(D, 96), f(96)], { do_rotary: { int: 1 } }), 'do_rotary is not 0'],
    [
      'an unknown attribute',
      packed([x, f(D, 96), f(96)], { rotary_embedding_dim: { int: 8 } }),
      "attribute 'rotary_embedding_dim' is not known",
    ],
    [
      'a shared buffer',
      packed([x, f(D, 96), f(96), undefined, f(2, B, 2, 3, 16)], { past_present_share_buffer: { int: 1 } }, true),
      'past and present share a buffer',
    ],
    ['heads of unequal widths', packed([x, f(D, 90), f(90)], { num_heads: { int: 4 } }), 'heads of unequal widths'],
    [
      'scores as a result of ONNX beside a softcap',
      standard([f(B, 2, M, 16), f(B, 2, M, 16), f(B, 2, M, 16)], { softcap: { float: 2 } }, false, false, true),
      'scores are asked for beside a softcap or more than one mask',
    ],
    [
      'valid keys beside a past',
      standard([x, x, x, undefined, past, past, i64([1, 2], B)]),
      'nonpad_kv_seqlen beside a past',
    ],
  ])('refuses %s', (_, each, reason) => {
    expect(decisionOf(modelOf(each))).toBe(`${each.op}: ${reason}`);
  });

  it('MHA, unidirectional: sizes that follow from each other are MSD’s, others ONNX Runtime’s', async () => {
    const own = (keys: string): Uint8Array =>
      writeModel({
        opsets: { '': 21, 'com.microsoft': 1 },
        graph: {
          nodes: [
            {
              opType: 'MultiHeadAttention',
              domain: 'com.microsoft',
              inputs: ['q', 'k', 'v'],
              outputs: ['y'],
              attributes: { num_heads: { int: 2 }, unidirectional: { int: 1 } },
            },
          ],
          inputs: ['q', 'k', 'v'].map((name) => ({
            name,
            dtype: 'float32' as const,
            dims: ['batch', name === 'q' ? 'rows' : keys, D],
          })),
          initializers: [],
          outputs: [{ name: 'y', dtype: 'float32' }],
        },
      });
    const feeds = (keys: number) => {
      const { in0: q, in1: k, in2: v } = feedsOf(mha([x, f(B, keys, D), f(B, keys, D)]));
      return { q: q!, k: k!, v: v! };
    };
    for (const [keys, where, sizes] of [
      ['rows', 'msd', [M]],
      ['keys', 'ort', [M, 1, 9]],
    ] as const) {
      const [plain, msd] = [await session(own(keys), 'wasm'), await session(own(keys), { name: 'msd', claim: 'all' })];
      expect(reportOf(msd)?.nodes[0]).toMatchObject({ where });
      for (const size of sizes)
        expect(distance((await msd.run(feeds(size))).y!, (await plain.run(feeds(size))).y!)).toBeLessThan(1e-4);
      if (where === 'msd')
        await expect(msd.run(feeds(9))).rejects.toThrow('(MultiHeadAttention): key, expected at most 5 rows');
      await plain.release();
      await msd.release();
    }
  });
});
