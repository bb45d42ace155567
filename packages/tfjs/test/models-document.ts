/** docs/tfjs-models.md: samples of every layer and node with weights go through MSD, and the tables say what happened to them. */
import { loadGraphModel, loadLayersModel, type ModelOptions, type NodeReport, reportOf } from '../src/index.ts';
import { KINDS } from '../src/layers-model/kinds.ts';
import { RECURRENT_KINDS } from '../src/layers-model/recurrent/kinds.ts';
import {
  artifactsOf,
  b64,
  FLOAT,
  floats,
  type GraphEntry,
  handlerOf,
  ints,
  type NodeEntry,
  placeholder,
} from './graph.ts';
import { kerasLoop } from './keras-loops.ts';
import { saved } from './layers.ts';
import { framed, functional, unrolled } from './recurrent-graphs.ts';
import { tf } from './tf.ts';

interface LayerSample {
  /** What it is, where the class alone does not say it. */
  readonly what?: string;
  readonly shape: readonly (number | null)[];
  readonly dtype?: 'int32';
  /** What comes before it. */
  readonly first?: () => tf.layers.Layer;
  make(): tf.layers.Layer;
}

const fast = { recurrentInitializer: 'glorotNormal' } as const;
const units = 32;
const sequence = [8, 32] as const;
const image = [8, 8, 32] as const;

/** By the function of tf.layers that makes them. */
export const LAYERS: Readonly<Record<string, readonly LayerSample[]>> = {
  dense: [
    { what: 'on rows, sequences, images', shape: sequence, make: () => tf.layers.dense({ units: 64 }) },
    { what: 'of fewer than 1024 weights', shape: [16], make: () => tf.layers.dense({ units: 16 }) },
  ],
  embedding: [{ shape: [8], dtype: 'int32', make: () => tf.layers.embedding({ inputDim: 64, outputDim: 32 }) }],
  conv1d: [
    { what: 'kernel 1', shape: sequence, make: () => tf.layers.conv1d({ filters: 64, kernelSize: 1 }) },
    { what: 'kernel 3', shape: sequence, make: () => tf.layers.conv1d({ filters: 64, kernelSize: 3 }) },
  ],
  conv2d: [
    { what: '1x1', shape: image, make: () => tf.layers.conv2d({ filters: 64, kernelSize: 1 }) },
    {
      what: '1x1, in a model with larger filters',
      shape: image,
      first: () => tf.layers.conv2d({ filters: 32, kernelSize: 3 }),
      make: () => tf.layers.conv2d({ filters: 64, kernelSize: 1 }),
    },
    { what: '1x1, strides', shape: image, make: () => tf.layers.conv2d({ filters: 64, kernelSize: 1, strides: 2 }) },
    { what: '3x3', shape: image, make: () => tf.layers.conv2d({ filters: 64, kernelSize: 3 }) },
  ],
  conv3d: [{ shape: [4, ...image], make: () => tf.layers.conv3d({ filters: 4, kernelSize: 3 }) }],
  conv2dTranspose: [{ shape: image, make: () => tf.layers.conv2dTranspose({ filters: 4, kernelSize: 3 }) }],
  conv3dTranspose: [{ shape: [4, ...image], make: () => tf.layers.conv3dTranspose({ filters: 4, kernelSize: 3 }) }],
  depthwiseConv2d: [{ shape: image, make: () => tf.layers.depthwiseConv2d({ kernelSize: 3 }) }],
  separableConv2d: [{ shape: image, make: () => tf.layers.separableConv2d({ filters: 64, kernelSize: 3 }) }],
  convLstm2d: [
    { shape: [2, ...image], make: () => tf.layers.convLstm2d({ filters: 4, kernelSize: 3, ...fast } as never) },
  ],
  lstm: [{ shape: sequence, make: () => tf.layers.lstm({ units, ...fast }) }],
  gru: [{ shape: sequence, make: () => tf.layers.gru({ units, ...fast }) }],
  simpleRNN: [{ shape: sequence, make: () => tf.layers.simpleRNN({ units, ...fast }) }],
  rnn: [
    {
      what: 'of a cell of these',
      shape: sequence,
      make: () => tf.layers.rnn({ cell: tf.layers.gruCell({ units, ...fast }) } as never),
    },
    {
      what: 'of a stack of cells',
      shape: sequence,
      make: () => {
        const cells = [1, 2].map(() => tf.layers.lstmCell({ units, ...fast })) as never;
        return tf.layers.rnn({ cell: tf.layers.stackedRNNCells({ cells }) } as never);
      },
    },
  ],
  bidirectional: [
    {
      what: 'of LSTM, GRU, SimpleRNN',
      shape: sequence,
      make: () => tf.layers.bidirectional({ layer: tf.layers.lstm({ units, ...fast }) as never, mergeMode: 'concat' }),
    },
  ],
  timeDistributed: [
    {
      what: 'of any layer that is taken',
      shape: sequence,
      make: () => tf.layers.timeDistributed({ layer: tf.layers.dense({ units: 64 }) }),
    },
  ],
  batchNormalization: [{ shape: image, make: () => tf.layers.batchNormalization() }],
  layerNormalization: [{ shape: image, make: () => tf.layers.layerNormalization() }],
  prelu: [{ shape: image, make: () => tf.layers.prelu() }],
};

/** Functions of tf.layers whose layers have no weights, or that are cells of those above. */
export const OTHERS: readonly string[] =
  `Layer RNN RNNCell activation add alphaDropout average averagePooling1d averagePooling2d averagePooling3d avgPool1d avgPool2d avgPool3d
  avgPooling1d avgPooling2d avgPooling3d categoryEncoding centerCrop concatenate convLstm2dCell cropping2D dot dropout elu flatten
  gaussianDropout gaussianNoise globalAveragePooling1d globalAveragePooling2d globalMaxPool1d globalMaxPool2d globalMaxPooling1d
  globalMaxPooling2d gruCell input inputLayer leakyReLU lstmCell masking maxPool1d maxPool2d maxPooling1d maxPooling2d maxPooling3d
  maximum minimum multiply permute randomWidth reLU repeatVector rescaling reshape resizing simpleRNNCell softmax spatialDropout1d
  stackedRNNCells thresholdedReLU upSampling2d zeroPadding2d`.split(/\s+/);

async function layerReport({ shape, dtype, first, make }: LayerSample, options: ModelOptions): Promise<NodeReport> {
  const input = tf.input({ shape: shape as number[], ...(dtype && { dtype }) });
  const stock = tf.model({
    inputs: input,
    outputs: make().apply(first?.().apply(input) ?? input) as tf.SymbolicTensor,
  });
  const model = await loadLayersModel(tf.io.fromMemory(await saved(stock)), options);
  const node = reportOf(model)!.nodes.at(-1);
  model.dispose();
  stock.dispose();
  return node!;
}

interface NodeSample {
  readonly what?: string;
  readonly nodes: readonly NodeEntry[];
  readonly weights: GraphEntry['weights'];
  readonly functions?: readonly object[];
  readonly outputs?: readonly string[];
  /** Whose line it is: 'y' by default. */
  readonly at?: string;
}

const strides = { list: { i: ['1', '1', '1', '1'] } };
const y = (op: string, input: string[], attr: Record<string, unknown> = {}): NodeEntry => ({
  name: 'y',
  op,
  input,
  attr: { T: FLOAT, ...attr },
});
const w = (...shape: number[]) => floats('w', shape);
const product = (op: string, attr: Record<string, unknown> = {}, right = true): NodeSample => ({
  nodes: [placeholder('x'), y(op, right ? ['x', 'w'] : ['w', 'x'], attr)],
  weights: [w(64, 64)],
});
const convolution = (op: string, size: number, attr: Record<string, unknown> = {}): NodeSample => ({
  nodes: [placeholder('x'), y(op, ['x', 'w'], { strides, padding: b64('SAME'), ...attr })],
  weights: [w(size, size, 32, 64)],
});

const depthwise = (op: string): NodeSample => ({ ...convolution(op, 3), weights: [w(3, 3, 128, 1)] });

const inCnn: NodeSample = {
  nodes: [
    placeholder('x'),
    { name: 'larger', op: 'Conv2D', input: ['x', 'filter'], attr: { strides, padding: b64('SAME'), T: FLOAT } },
    y('Conv2D', ['larger', 'w'], { strides, padding: b64('SAME') }),
  ],
  weights: [floats('filter', [3, 3, 32, 32]), w(1, 1, 32, 64)],
};

const GATHER: NodeSample = {
  nodes: [placeholder('x', 'DT_INT32'), y('GatherV2', ['w', 'x', 'axis'])],
  weights: [w(64, 32), ints('axis', [0], [])],
};
const segments = (op: string): NodeSample => ({
  nodes: [placeholder('x', 'DT_INT32'), placeholder('ids', 'DT_INT32'), y(op, ['w', 'x', 'ids'])],
  weights: [w(64, 32)],
});
const einsum = (equation: string, ...shape: number[]): NodeSample => ({
  nodes: [placeholder('x'), y('Einsum', ['x', 'w'], { equation: b64(equation) })],
  weights: [w(...shape)],
});
const LOOP = { kind: 'lstm', positions: 3, K: 32, units: 32 } as const;

const KERAS = { kind: 'lstm', K: 32, units: 32 } as const;

function otherLoop(): NodeSample {
  const entry = kerasLoop(KERAS);
  return { ...entry, nodes: entry.nodes.map((node) => (node.name.endsWith('/g') ? { ...node, op: 'Sin' } : node)) };
}

/** By op. */
export const NODES: Readonly<Record<string, readonly NodeSample[]>> = {
  MatMul: [
    { what: 'a constant on the right, transposed or not', ...product('MatMul') },
    { what: 'a constant on the left', ...product('MatMul', {}, false) },
    { what: 'x transposed', ...product('MatMul', { transpose_a: { b: true } }) },
    { what: 'in a loop, of frames', ...framed(LOOP), at: 'while/cell/mm1' },
    { what: 'in the body of a While or If', ...functional(LOOP), at: 'cell_mm1' },
  ],
  _FusedMatMul: [
    {
      what: 'BiasAdd, and Relu, Relu6, Elu, Sigmoid, Tanh, LeakyRelu, Prelu',
      nodes: [
        placeholder('x'),
        y('_FusedMatMul', ['x', 'w', 'b'], { fused_ops: { list: { s: [btoa('BiasAdd'), btoa('Relu')] } } }),
      ],
      weights: [w(64, 64), floats('b', [64])],
    },
  ],
  BatchMatMul: [product('BatchMatMul')],
  BatchMatMulV2: [product('BatchMatMulV2')],
  BatchMatMulV3: [product('BatchMatMulV3')],
  Einsum: [
    { what: 'rows with one matrix: `abc,cde->abde`', ...einsum('abc,cde->abde', 32, 4, 32) },
    { what: 'others: `abc,bcd->abd`', ...einsum('abc,bcd->abd', 8, 32, 32) },
  ],
  Conv2D: [
    { what: '1x1', ...convolution('Conv2D', 1) },
    { what: '1x1, in a model with larger filters', ...inCnn },
    { what: '1x1, strides', ...convolution('Conv2D', 1, { strides: { list: { i: ['1', '2', '2', '1'] } } }) },
    { what: '3x3', ...convolution('Conv2D', 3) },
  ],
  _FusedConv2D: [{ what: '1x1', ...convolution('_FusedConv2D', 1) }],
  DepthwiseConv2dNative: [depthwise('DepthwiseConv2dNative')],
  FusedDepthwiseConv2dNative: [depthwise('FusedDepthwiseConv2dNative')],
  GatherV2: [
    { what: 'rows of a constant table', ...GATHER },
    { what: 'along another axis', ...GATHER, weights: [w(64, 32), ints('axis', [1], [])] },
  ],
  SparseSegmentMean: [segments('SparseSegmentMean')],
  SparseSegmentSum: [segments('SparseSegmentSum')],
  LoopCond: [
    { what: 'of a recurrent layer, as Keras and the converter write it', ...kerasLoop(KERAS), at: 'while/loop_cond' },
    { what: 'of another body', ...otherLoop(), at: 'while/loop_cond' },
  ],
  StatelessWhile: [{ what: 'of a recurrent layer', ...kerasLoop({ ...KERAS, form: 'while' }), at: 'while' }],
  Split: [
    { what: 'of an LSTM cell, and what follows up to c and h', ...unrolled(LOOP), at: 'cell0/split' },
    { what: 'of a GRU cell, and what follows up to h', ...unrolled({ ...LOOP, kind: 'gru' }), at: 'cell0/split1' },
  ],
  BiasAdd: [{ nodes: [placeholder('x'), y('BiasAdd', ['x', 'b'])], weights: [floats('b', [64])] }],
};

async function nodeReport(
  { nodes, weights, functions, outputs, at = 'y' }: NodeSample,
  options: ModelOptions,
): Promise<NodeReport> {
  const entry = { nodes, weights, ...(functions && { functions }), outputs: outputs ?? ['y'] };
  const model = await loadGraphModel(handlerOf(artifactsOf(entry)), options);
  const node = reportOf(model)!.nodes.find(({ name }) => name === at);
  model.dispose();
  return node!;
}

const row = (name: string, what: string | undefined, { where, msdOp, reason }: NodeReport): string =>
  `| \`${name}\`${what === undefined ? '' : `, ${what}`} | ${where === 'msd' ? `\`${msdOp}\`` : '–'} | ${reason ?? ''} |`;

async function table<Sample extends { readonly what?: string }>(
  samples: Readonly<Record<string, readonly Sample[]>>,
  report: (sample: Sample, options: ModelOptions) => Promise<NodeReport>,
  nameOf: (key: string, node: NodeReport) => string,
): Promise<string> {
  const rows: string[] = [];
  for (const [key, own] of Object.entries(samples))
    for (const sample of own) {
      const node = await report(sample, {});
      const asked = node.where === 'msd' ? node : await report(sample, { convolutions: true });
      const isOnRequest = node.where === 'tfjs' && asked.where === 'msd';
      const said = isOnRequest ? { ...asked, reason: node.reason! } : node;
      rows.push(row(nameOf(key, node), sample.what, said));
    }
  return rows.join('\n');
}

/** The class that a factory of tf.layers makes. */
const classOf = (factory: string): string => LAYERS[factory]![0]!.make().getClassName();

export async function modelsDocument(): Promise<string> {
  const layers = await table(LAYERS, layerReport, (factory) => classOf(factory));
  const nodes = await table(NODES, nodeReport, (op) => op);
  const classes = [...KINDS, ...RECURRENT_KINDS].map(({ msd }) => msd);
  return `<!-- Written by \`vitest run packages/tfjs/test/models-document.test.ts -u\`: samples of each go through MSD. Do not edit. -->

# What happens to my model

\`loadGraphModel\`, \`loadLayersModel\` and \`accelerate\` of @msd/tfjs look at every layer and node. Those in the tables get packed integer
weights and MSD's kernels. Everything else stays with TensorFlow.js and gives the same results as before.

    const model = await loadLayersModel('https://…/model.json');
    console.log(formatReport(reportOf(model)));         // a line for each layer or node with weights

**The report names every layer and node that has weights.** If MSD took it over: the format, its bytes now, where the integers come from,
and the error of the weights. If not: its bytes and the reason. \`stockBytes\` and \`weightBytes\` are the totals before and after.

This page was written by loading a sample of each with \`loadLayersModel\` and \`loadGraphModel\`, with default options; "–" means that it stays
with TensorFlow.js. The samples have ordinary shapes. Any of them is left alone, and the report says so, if it has fewer weights than \`minElements\`
(1024), or NaN or Infinity among them, if another layer shares them, or if its class is one of your own under a known name.

## Layers

| layer | becomes | note |
|---|---|---|
${layers}

Layers without weights are not listed. Models are saved with MSD's classes (${classes.map((msd) => `\`${msd}\``).join(', ')}):
such files load with \`loadLayersModel\` of @msd/tfjs, and with \`tf.loadLayersModel\` if MSD is registered.

**LSTM, GRU and SimpleRNN** run all positions in one call on cpu and wasm, with \`goBackwards\`, \`returnSequences\`, \`returnState\`, \`stateful\`,
masks and initial states. They run position by position, still with packed weights, on WebGPU, while gradients are recorded, with dropout in
training, with activations that look at a whole row (softmax), and as cells of an RNN.

## Nodes of graph models

| node | becomes | note |
|---|---|---|
${nodes}

**A loop of an LSTM, GRU or SimpleRNN**, written as frames or as a While, becomes one node, \`MsdRecurrent\`, for all positions: with lists or arrays,
backwards, masked, stacked. If a loop stays with TensorFlow.js, the report's line for its LoopCond or While says why. In unrolled cells the matrix
multiplications and, for each cell, the gates become nodes of MSD's. On WebGPU loops run position by position.
A Reshape, bias or activation behind a matrix multiplication is fused into it if nothing else reads its input. Attention (multiply, scale, mask, softmax,
multiply) becomes \`MsdAttention\`. A constant that something else reads as floats stays float, for all of its readers.
`;
}
