/** A decoder that chooses its own tokens in a Loop, as exports with the search inside do: keys and values go from pass to pass. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import {
  type AttributeSpec,
  type GraphSpec,
  type NodeSpec,
  type TensorSpec,
  type ValueSpec,
  writeModel,
} from '../src/write/index.ts';
import { gaussian, makeMatrix, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const [heads, size, vocabulary] = [2, 32, 48];
const width = heads * size;

interface Options {
  /** Attention as a Concat, products and a Softmax, not an operator. */
  readonly isSpelt: boolean;
}

const op = (
  opType: string,
  inputs: readonly string[],
  outputs: string | readonly string[],
  attributes: Readonly<Record<string, AttributeSpec>> = {},
  domain = '',
): NodeSpec => {
  const list = typeof outputs === 'string' ? [outputs] : outputs;
  return { opType, domain, name: `the ${opType} of ${list[0]}`, inputs, outputs: list, attributes };
};
const value = (name: string, dtype: ValueSpec['dtype'], dims: ValueSpec['dims']): ValueSpec => ({ name, dtype, dims });
const ints = (name: string, dims: readonly number[], ...data: number[]): TensorSpec => ({
  name,
  dtype: 'int64',
  dims,
  data: BigInt64Array.from(data, BigInt),
});

/** Inputs first [1, 1], count, keys and values [1, heads, past, size]; outputs tokens [count, 1, 1], logits, keys and values. */
function decoder({ isSpelt }: Options): Uint8Array {
  const matrices = Object.fromEntries(
    ['q', 'k', 'v', 'o', 'head'].map((name, i) => [
      name,
      makeMatrix({ name, N: name === 'head' ? vocabulary : width, K: width, seed: i + 3 }),
    ]),
  );
  const split = (x: string): NodeSpec[] => [
    op('Reshape', [x, 'four'], `${x} four`),
    op('Transpose', [`${x} four`], `${x} heads`, { perm: { ints: [0, 2, 1, 3] } }),
  ];
  const spelt: NodeSpec[] = [
    ...['q', 'k', 'v'].flatMap(split),
    op('Concat', ['key', 'k heads'], 'present key', { axis: { int: 2 } }),
    op('Concat', ['value', 'v heads'], 'present value', { axis: { int: 2 } }),
    op('Transpose', ['present key'], 'turned', { perm: { ints: [0, 1, 3, 2] } }),
    op('MatMul', ['q heads', 'turned'], 'products'),
    op('Div', ['products', 'root'], 'scores'),
    op('Softmax', ['scores'], 'weights', { axis: { int: -1 } }),
    op('MatMul', ['weights', 'present value'], 'sums'),
    op('Transpose', ['sums'], 'side', { perm: { ints: [0, 2, 1, 3] } }),
    op('Reshape', ['side', 'three'], 'attended'),
  ];
  const inOne: NodeSpec[] = [
    op('Shape', ['key'], 'key shape'),
    op('Gather', ['key shape', 'two'], 'past'),
    op('Add', ['past', 'one'], 'total long'),
    op('Cast', ['total long'], 'total', { to: { int: 6 } }),
    op('Cast', ['past'], 'last', { to: { int: 6 } }),
    op('Unsqueeze', ['last', 'front'], 'lasts'),
    op(
      'GroupQueryAttention',
      ['q', 'k', 'v', 'key', 'value', 'lasts', 'total'],
      ['attended', 'present key', 'present value'],
      { num_heads: { int: heads }, kv_num_heads: { int: heads } },
      'com.microsoft',
    ),
  ];
  const body: GraphSpec = {
    nodes: [
      op('Gather', ['table', 'token'], 'x'),
      ...['q', 'k', 'v'].map((name) => matrices[name]!.node('x', name)),
      ...(isSpelt ? spelt : inOne),
      matrices.o!.node('attended', 'o'),
      op('Add', ['x', 'o'], 'added'),
      matrices.head!.node('added', 'logits'),
      op('ArgMax', ['logits'], 'next', { axis: { int: -1 }, keepdims: { int: 0 } }),
      op('Identity', ['going'], 'on'),
      op('Identity', ['next'], 'told'),
    ],
    inputs: [
      value('i', 'int64', []),
      value('going', 'bool', []),
      value('token', 'int64', [1, 1]),
      value('key', 'float32', [1, heads, 'keys', size]),
      value('value', 'float32', [1, heads, 'keys', size]),
    ],
    outputs: [
      value('on', 'bool', []),
      value('next', 'int64', [1, 1]),
      value('present key', 'float32', [1, heads, 'more', size]),
      value('present value', 'float32', [1, heads, 'more', size]),
      value('told', 'int64', [1, 1]),
      value('logits', 'float32', [1, 1, vocabulary]),
    ],
  };
  const cache = (name: string): ValueSpec => value(name, 'float32', [1, heads, 'p', size]);
  return writeModel({
    graph: {
      nodes: [
        op('Loop', ['count', '', 'first', 'keys', 'values'], ['end', 'keys_', 'values_', 'tokens', 'all'], {
          body: { graph: body },
        }),
      ],
      initializers: [
        ...Object.values(matrices).flatMap(({ initializers }) => initializers),
        { name: 'table', dtype: 'float32', dims: [vocabulary, width], data: gaussian(random(9), vocabulary * width) },
        { name: 'root', dtype: 'float32', dims: [], data: Float32Array.of(Math.sqrt(size)) },
        ints('four', [4], 0, 0, heads, size),
        ints('three', [3], 0, 0, width),
        ints('front', [1], 0),
        ints('two', [], 2),
        ints('one', [], 1),
      ],
      inputs: [value('first', 'int64', [1, 1]), value('count', 'int64', []), cache('keys'), cache('values')],
      outputs: [
        value('tokens', 'int64', ['n', 1, 1]),
        value('all', 'float32', ['n', 1, 1, vocabulary]),
        cache('keys_'),
        cache('values_'),
      ],
    },
  });
}

describe.each([true, false])('a decoder in a Loop, attention spelt out: %s', (isSpelt) => {
  const bytes = decoder({ isSpelt });
  const feedsOf = (count: number, past: number): Record<string, ort.Tensor> => ({
    first: new ort.Tensor('int64', BigInt64Array.of(5n), [1, 1]),
    count: new ort.Tensor('int64', BigInt64Array.of(BigInt(count)), []),
    keys: tensor(gaussian(random(1), heads * past * size), [1, heads, past, size]),
    values: tensor(gaussian(random(2), heads * past * size), [1, heads, past, size]),
  });

  it('chooses the tokens that onnxruntime-web chooses, in caches and with few plans', async () => {
    const msd = await session(bytes);
    const plain = await session(bytes, 'wasm');
    for (const [count, past] of [
      [12, 0],
      [3, 7],
      [0, 2],
    ] as const) {
      const feeds = feedsOf(count, past);
      const [got, expected] = [await msd.run(feeds), await plain.run(feeds)];
      // What is read lies in an array from then on.
      if (count > 0) expect(reportOf(msd)!.kvCache!.byteLength).toBeGreaterThan(0);
      expect(got.tokens!.data).toEqual(expected.tokens!.data);
      for (const name of plain.outputNames) expect(got[name]!.dims, name).toEqual(expected[name]!.dims);
      for (const name of ['all', 'keys_', 'values_']) {
        const [own, wanted] = [floats(got[name]), floats(expected[name])];
        const most = wanted.reduce((max, each) => Math.max(max, Math.abs(each)), 1e-3);
        const error = own.reduce((max, each, i) => Math.max(max, Math.abs(each - wanted[i]!)), 0);
        expect(error / most, name).toBeLessThan(2e-3);
      }
    }
    const { nodes, foreignRunsPerCall, plans, kvCache } = reportOf(msd)!;
    expect(nodes.filter(({ where, region }) => where === 'ort' && region >= 0)).toEqual([]);
    expect(foreignRunsPerCall).toBe(0);
    expect(plans).toBeLessThanOrEqual(3);
    expect(kvCache!.byteLength).toBe(0);
    await msd.release();
    await plain.release();
  });

  it('what it leaves in a cache is a past like any other, and gone with the session', async () => {
    const msd = await session(bytes);
    const plain = await session(bytes, 'wasm');
    const feeds = feedsOf(4, 0);
    const [got, expected] = [await msd.run(feeds), await plain.run(feeds)];
    const on = (results: ort.InferenceSession.OnnxValueMapType): Record<string, ort.Tensor> => ({
      ...feeds,
      keys: results.keys_ as ort.Tensor,
      values: results.values_ as ort.Tensor,
    });
    const [more, wanted] = [await msd.run(on(got)), await plain.run(on(expected))];
    expect(more.tokens!.data).toEqual(wanted.tokens!.data);
    expect(more.keys_!.dims).toEqual([1, heads, 8, size]);
    const { keys_: keys } = more;
    await msd.release();
    expect(() => keys!.data).toThrow('release');
    await plain.release();
  });
});
