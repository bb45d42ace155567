/**
 * Whole models in small, as converters export them: layers of BERT and of Keras' MultiHeadAttention in Einsum, a sentence encoder of
 * TensorFlow 1, MobileNet's blocks with a head that classifies, Inception's branches.
 */
import {
  artifactsOf,
  b64,
  floats,
  type GraphEntry,
  ints,
  type NodeEntry,
  placeholder,
  type WeightEntry,
} from './graph.ts';
import { gaussian, tf } from './tf.ts';

export const [TOKENS, WIDTH, HEADS] = [6, 64, 4];
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

export function bert(stored?: WeightEntry['stored']): GraphEntry {
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

export const multiHeadAttention: GraphEntry = {
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

export const mobileNet: GraphEntry = {
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

/** A classifier of images: a first convolution, two blocks, a mean over all positions, a product, probabilities. */
export function imageClassifier(stored?: WeightEntry['stored']): GraphEntry {
  const six = ['BiasAdd', 'Relu6'];
  const block = (name: string, input: string, residual: boolean, strides: number): NodeEntry[] => [
    convolution(`${name}/expand`, '_FusedConv2D', [input, `${name}/w1`, `${name}/b1`], six),
    convolution(
      `${name}/spatial`,
      'FusedDepthwiseConv2dNative',
      [`${name}/expand`, `${name}/w2`, `${name}/b2`],
      six,
      strides,
    ),
    convolution(`${name}/project`, '_FusedConv2D', [`${name}/spatial`, `${name}/w3`, `${name}/b3`], ['BiasAdd']),
    ...(residual ? [{ name: `${name}/add`, op: 'AddV2', input: [`${name}/project`, input] }] : []),
  ];
  const weights = (name: string, taps: number): WeightEntry[] => [
    floats(`${name}/w1`, [1, 1, 32, 96], stored),
    floats(`${name}/b1`, [96]),
    floats(`${name}/w2`, [taps, taps, 96, 1], stored),
    floats(`${name}/b2`, [96]),
    floats(`${name}/w3`, [1, 1, 96, 32], stored),
    floats(`${name}/b3`, [32]),
  ];
  return {
    nodes: [
      placeholder('x'),
      convolution('first', '_FusedConv2D', ['x', 'first/w', 'first/b'], six, 2),
      ...block('one', 'first', true, 1),
      ...block('two', 'one/add', false, 2),
      convolution('last', '_FusedConv2D', ['two/project', 'last/w', 'last/b'], six),
      { name: 'mean', op: 'Mean', input: ['last', 'axes'], attr: { keep_dims: { b: false } } },
      {
        name: 'logits',
        op: '_FusedMatMul',
        input: ['mean', 'head/w', 'head/b'],
        attr: { fused_ops: { list: { s: [btoa('BiasAdd')] } }, num_args: { i: '1' } },
      },
      { name: 'y', op: 'Softmax', input: ['logits'] },
    ],
    weights: [
      floats('first/w', [3, 3, 3, 32], stored),
      floats('first/b', [32]),
      ...weights('one', 5),
      ...weights('two', 3),
      floats('last/w', [3, 3, 32, 128], stored),
      floats('last/b', [128]),
      floats('head/w', [128, 33], stored),
      floats('head/b', [33]),
      ints('axes', [1, 2]),
    ],
    outputs: ['y'],
  };
}

/** Branches of windows of several sizes beside each other. */
export function branches(): GraphEntry {
  const relu = ['BiasAdd', 'Relu'];
  const shapes: Readonly<Record<string, number[]>> = {
    one: [1, 1, 64, 32],
    reduce: [1, 1, 64, 48],
    five: [5, 5, 48, 32],
    left: [3, 3, 64, 48],
    wide: [1, 7, 48, 32],
  };
  const inputs: Readonly<Record<string, string>> = { one: 'x', reduce: 'x', five: 'reduce', left: 'x', wide: 'left' };
  return {
    nodes: [
      placeholder('x'),
      ...Object.keys(shapes).map((name) =>
        convolution(name, '_FusedConv2D', [inputs[name]!, `${name}/w`, `${name}/b`], relu),
      ),
      { name: 'y', op: 'ConcatV2', input: ['one', 'five', 'wide', 'axis'], attr: { N: { i: '3' } } },
    ],
    weights: [
      ...Object.entries(shapes).flatMap(([name, shape]) => [
        floats(`${name}/w`, shape),
        floats(`${name}/b`, [shape[3]!]),
      ]),
      ints('axis', [3], []),
    ],
    outputs: ['y'],
  };
}

/** Token ids -> a unit vector: a table, 1x1 convolutions over [1, tokens, 1, width], a softmax of rows, a tanh. */
export function sentenceEncoder(stored?: WeightEntry['stored']): GraphEntry {
  const pointwise = (name: string, input: string): NodeEntry[] => [
    convolution(`${name}/Conv2D`, 'Conv2D', [input, `${name}/w`], []),
    { name: `${name}/BiasAdd`, op: 'BiasAdd', input: [`${name}/Conv2D`, `${name}/b`] },
  ];
  const heads = (name: string): NodeEntry[] => [
    { name: `${name}/split`, op: 'Reshape', input: [`${name}/BiasAdd`, 'heads'] },
    { name: `${name}/heads`, op: 'Transpose', input: [`${name}/split`, 'perm'] },
  ];
  return {
    nodes: [
      placeholder('x', 'DT_INT32'),
      { name: 'embedded', op: 'GatherV2', input: ['table', 'x', 'zero'] },
      { name: 'image', op: 'Reshape', input: ['embedded', 'image/shape'] },
      ...['q', 'k', 'v'].flatMap((name) => [...pointwise(name, 'image'), ...heads(name)]),
      { name: 'scores', op: 'BatchMatMul', input: ['q/heads', 'k/heads'], attr: { adj_y: { b: true } } },
      { name: 'shape', op: 'Shape', input: ['scores'] },
      { name: 'columns', op: 'Slice', input: ['shape', 'begin', 'one'] },
      { name: 'flat', op: 'ConcatV2', input: ['minus', 'columns', 'zero'], attr: { N: { i: '2' } } },
      { name: 'rows', op: 'Reshape', input: ['scores', 'flat'] },
      { name: 'softmax', op: 'Softmax', input: ['rows'] },
      { name: 'back', op: 'Reshape', input: ['softmax', 'shape'] },
      { name: 'mixed', op: 'BatchMatMul', input: ['back', 'v/heads'] },
      { name: 'merged', op: 'Transpose', input: ['mixed', 'perm'] },
      { name: 'joined', op: 'Reshape', input: ['merged', 'image/shape'] },
      ...pointwise('out', 'joined'),
      { name: 'mean', op: 'Mean', input: ['out/BiasAdd', 'axes'], attr: { keep_dims: { b: false } } },
      { name: 'hidden', op: 'MatMul', input: ['mean', 'hidden/w'] },
      { name: 'biased', op: 'BiasAdd', input: ['hidden', 'hidden/b'] },
      { name: 'y', op: 'Tanh', input: ['biased'] },
    ],
    weights: [
      floats('table', [60, WIDTH], stored),
      ...['q', 'k', 'v', 'out'].flatMap((name) => [
        floats(`${name}/w`, [1, 1, WIDTH, WIDTH], stored),
        floats(`${name}/b`, [WIDTH]),
      ]),
      floats('hidden/w', [WIDTH, 48], stored),
      floats('hidden/b', [48]),
      ints('image/shape', [1, -1, 1, WIDTH]),
      ints('heads', [1, -1, HEADS, HEAD]),
      ints('perm', [0, 2, 1, 3]),
      ints('begin', [3]),
      ints('one', [1]),
      ints('minus', [-1]),
      ints('zero', [0], []),
      ints('axes', [1, 2]),
    ],
    outputs: ['y'],
  };
}

/** A classifier of images as Keras writes it: batch norms of their own, a depthwise layer, a separable one. */
export function layersClassifier(): tf.LayersModel {
  const conv = (config: object) => tf.layers.conv2d({ padding: 'same', useBias: false, ...config } as never);
  const model = tf.sequential({
    layers: [
      conv({ filters: 32, kernelSize: 3, strides: 2, inputShape: [24, 24, 3], name: 'first' }),
      tf.layers.batchNormalization({ name: 'first_bn' }),
      tf.layers.reLU({ maxValue: 6, name: 'first_relu' }),
      tf.layers.depthwiseConv2d({ kernelSize: 3, padding: 'same', name: 'spatial' }),
      conv({ filters: 64, kernelSize: 1, name: 'project' }),
      tf.layers.batchNormalization({ name: 'project_bn' }),
      tf.layers.separableConv2d({ filters: 64, kernelSize: 3, activation: 'relu', name: 'separable' }),
      conv({ filters: 96, kernelSize: 3, strides: 2, activation: 'relu6', name: 'last' }),
      tf.layers.globalAveragePooling2d({ dataFormat: 'channelsLast', name: 'pool' }),
      tf.layers.dense({ units: 33, activation: 'softmax', name: 'head' }),
    ],
  });
  const values = model.getWeights().map(({ shape, size }, seed) =>
    // Variances are positive.
    tf.tensor(
      gaussian(seed + 1, size).map((value) => (shape.length === 1 ? 1 + Math.abs(value) / 8 : value / 8)),
      shape,
    ),
  );
  model.setWeights(values);
  tf.dispose(values);
  return model;
}

/** By name: what makes it, and what is fed to it. */
export const WHOLE_MODELS: Readonly<
  Record<
    string,
    {
      readonly artifacts: () => tf.io.ModelArtifacts;
      readonly input: readonly number[] | Int32Array;
      readonly options: { readonly convolutions?: true };
    }
  >
> = {
  'a classifier of images': {
    artifacts: () => artifactsOf(imageClassifier()),
    input: [1, 24, 24, 3],
    options: { convolutions: true },
  },
  'a classifier of images, uint8': {
    artifacts: () => artifactsOf(imageClassifier('uint8')),
    input: [1, 24, 24, 3],
    options: { convolutions: true },
  },
  'branches of windows': {
    artifacts: () => artifactsOf(branches()),
    input: [1, 9, 9, 64],
    options: { convolutions: true },
  },
  'a layer of BERT': { artifacts: () => artifactsOf(bert()), input: [2, TOKENS, WIDTH], options: {} },
  'a layer of BERT, float16': { artifacts: () => artifactsOf(bert('float16')), input: [2, TOKENS, WIDTH], options: {} },
  'a sentence encoder': {
    artifacts: () => artifactsOf(sentenceEncoder()),
    input: Int32Array.of(1, 7, 59, 0, 7),
    options: {},
  },
  'a sentence encoder, uint8': {
    artifacts: () => artifactsOf(sentenceEncoder('uint8')),
    input: Int32Array.of(1, 7, 59, 0, 7),
    options: {},
  },
};
