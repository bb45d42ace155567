/** Whole models, as converters export them: a BERT-style layer, Keras' MultiHeadAttention in Einsum, a MobileNet-style block. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadGraphModel, register, reportOf, unregister } from '../src/index.ts';
import {
  artifactsOf,
  b64,
  floats,
  type GraphEntry,
  handlerOf,
  ints,
  type NodeEntry,
  placeholder,
  type WeightEntry,
} from './graph.ts';
import { relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const [TOKENS, WIDTH, HEADS] = [6, 64, 4];
const HEAD = WIDTH / HEADS;

/** y = reshape(x · w) + b, as Keras' Dense on a sequence is exported. */
function dense(
  name: string,
  input: string,
  K: number,
  N: number,
  stored?: WeightEntry['stored'],
): { nodes: NodeEntry[]; weights: WeightEntry[] } {
  return {
    nodes: [
      { name: `${name}/flat`, op: 'Reshape', input: [input, `${name}/flat_shape`] },
      { name: `${name}/MatMul`, op: 'MatMul', input: [`${name}/flat`, `${name}/kernel`] },
      { name: `${name}/Tensordot`, op: 'Reshape', input: [`${name}/MatMul`, `${name}/shape`] },
      { name: `${name}/BiasAdd`, op: 'BiasAdd', input: [`${name}/Tensordot`, `${name}/bias`] },
    ],
    weights: [
      floats(`${name}/kernel`, [K, N], stored),
      floats(`${name}/bias`, [N]),
      ints(`${name}/flat_shape`, [-1, K]),
      ints(`${name}/shape`, [-1, TOKENS, N]),
    ],
  };
}

function bert(stored?: WeightEntry['stored']): GraphEntry {
  const parts = [
    dense('q', 'x', WIDTH, WIDTH, stored),
    dense('k', 'x', WIDTH, WIDTH, stored),
    dense('v', 'x', WIDTH, WIDTH, stored),
    dense('out', 'joined', WIDTH, WIDTH, stored),
    dense('up', 'residual', WIDTH, 4 * WIDTH, stored),
    dense('down', 'up/Relu', 4 * WIDTH, WIDTH, stored),
  ];
  const heads = (name: string): NodeEntry[] => [
    { name: `${name}/split`, op: 'Reshape', input: [`${name}/BiasAdd`, 'heads'] },
    { name: `${name}/heads`, op: 'Transpose', input: [`${name}/split`, 'perm'] },
  ];
  return {
    nodes: [
      placeholder('x'),
      ...parts.flatMap(({ nodes }) => nodes),
      ...['q', 'k', 'v'].flatMap(heads),
      { name: 'scores', op: 'BatchMatMulV2', input: ['q/heads', 'k/heads'], attr: { adj_y: { b: true } } },
      { name: 'weights', op: 'Softmax', input: ['scores'] },
      { name: 'mixed', op: 'BatchMatMulV2', input: ['weights', 'v/heads'] },
      { name: 'mixed/back', op: 'Transpose', input: ['mixed', 'perm'] },
      { name: 'joined', op: 'Reshape', input: ['mixed/back', 'width'] },
      { name: 'residual', op: 'AddV2', input: ['out/BiasAdd', 'x'] },
      { name: 'up/Relu', op: 'Relu', input: ['up/BiasAdd'] },
      { name: 'y', op: 'AddV2', input: ['down/BiasAdd', 'residual'] },
    ],
    weights: [
      ...parts.flatMap(({ weights }) => weights),
      ints('heads', [-1, TOKENS, HEADS, HEAD]),
      ints('perm', [0, 2, 1, 3]),
      ints('width', [-1, TOKENS, WIDTH]),
    ],
    outputs: ['y'],
  };
}

const einsum = (name: string, inputs: string[], equation: string): NodeEntry => ({
  name,
  op: 'Einsum',
  input: inputs,
  attr: { equation: b64(equation) },
});

const multiHeadAttention: GraphEntry = {
  nodes: [
    placeholder('x'),
    ...['q', 'k', 'v'].flatMap((name): NodeEntry[] => [
      einsum(`${name}/einsum`, ['x', `${name}/kernel`], 'abc,cde->abde'),
      { name, op: 'AddV2', input: [`${name}/einsum`, `${name}/bias`] },
    ]),
    einsum('scores', ['k', 'q'], 'aecd,abcd->acbe'),
    { name: 'weights', op: 'Softmax', input: ['scores'] },
    einsum('mixed', ['weights', 'v'], 'acbe,aecd->abcd'),
    einsum('y', ['mixed', 'out/kernel'], 'abcd,cde->abe'),
  ],
  weights: [
    ...['q', 'k', 'v'].flatMap((name) => [
      floats(`${name}/kernel`, [WIDTH, HEADS, HEAD]),
      floats(`${name}/bias`, [HEADS, HEAD]),
    ]),
    floats('out/kernel', [HEADS, HEAD, WIDTH]),
  ],
  outputs: ['y'],
};

const convolution = (name: string, op: string, inputs: string[], fused: string[], strides = 1): NodeEntry => ({
  name,
  op,
  input: inputs,
  attr: {
    strides: { list: { i: [1, strides, strides, 1] } },
    dilations: { list: { i: [1, 1, 1, 1] } },
    padding: b64('SAME'),
    data_format: b64('NHWC'),
    fused_ops: { list: { s: fused.map((text) => btoa(text)) } },
    num_args: { i: '1' },
  },
});

const mobileNet: GraphEntry = {
  nodes: [
    placeholder('x'),
    convolution('expand', '_FusedConv2D', ['x', 'w1', 'b1'], ['BiasAdd', 'Relu6']),
    convolution('spatial', 'FusedDepthwiseConv2dNative', ['expand', 'w2', 'b1'], ['BiasAdd', 'Relu6']),
    convolution('project', '_FusedConv2D', ['spatial', 'w3', 'b3'], ['BiasAdd']),
    { name: 'y', op: 'AddV2', input: ['project', 'x'] },
  ],
  weights: [
    floats('w1', [1, 1, 32, 96]),
    floats('b1', [96]),
    floats('w2', [3, 3, 96, 1]),
    floats('w3', [1, 1, 96, 32]),
    floats('b3', [32]),
  ],
  outputs: ['y'],
};

describe.each<[string, GraphEntry, number[], object, number, string]>([
  ['BERT-style layer', bert(), [2, TOKENS, WIDTH], {}, 7, 'wasm'],
  ['BERT-style layer, uint8 manifest', bert('uint8'), [2, TOKENS, WIDTH], {}, 7, 'wasm'],
  ['BERT-style layer, int4', bert(), [2, TOKENS, WIDTH], { format: 'int4' }, 7, 'wasm'],
  ['Keras MultiHeadAttention', multiHeadAttention, [2, TOKENS, WIDTH], {}, 5, 'wasm'],
  ['Keras MultiHeadAttention, through copies', multiHeadAttention, [2, TOKENS, WIDTH], {}, 5, 'cpu'],
  ['MobileNet-style block, on request', mobileNet, [1, 7, 7, 32], { convolutions: true }, 2, 'wasm'],
])('%s', (name, entry, shape, options, taken, backend) => {
  beforeAll(() => useBackend(backend));

  it('runs as stock does, within its format’s error, twice, without leaks', async () => {
    const run = (model: tf.GraphModel) =>
      tf.tidy(() => (model.execute(tensor(3, shape), 'y') as tf.Tensor).dataSync().slice() as Float32Array);
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const want = run(stock);
    stock.dispose();
    await withoutLeaks(async () => {
      const model = await loadGraphModel(handlerOf(artifactsOf(entry)), options);
      expect(reportOf(model)!.nodes.filter(({ where }) => where === 'msd')).toHaveLength(taken);
      const got = run(model);
      const bound = name.includes('uint8') ? 2e-4 : name.includes('int4') ? 0.15 : 0.015;
      expect(relativeL2(got, want)).toBeLessThan(bound);
      expect(run(model)).toEqual(got);
      model.dispose();
    });
  });
});
