/** Convolutions of @msd/tfjs beside stock: layers of MobileNet, ResNet and Inception as graph models, and MobileNets as a whole. */
import { loadGraphModel, reportOf } from '@msd/tfjs';
import * as tf from '@tensorflow/tfjs';
import {
  artifactsOf,
  b64,
  floats,
  type GraphEntry,
  handlerOf,
  type NodeEntry,
  placeholder,
} from '../../packages/tfjs/test/graph.ts';
import { type Clock, interleave, type Timing } from './measure.ts';

interface Layer {
  readonly size: number;
  readonly channels: number;
  /** Channels out; 'depthwise': one of each. */
  readonly out: number | 'depthwise';
  readonly kernel: number;
  readonly stride?: number;
}

const LAYERS: readonly Layer[] = [
  { size: 112, channels: 32, out: 'depthwise', kernel: 3 },
  { size: 112, channels: 96, out: 'depthwise', kernel: 3, stride: 2 },
  { size: 56, channels: 144, out: 'depthwise', kernel: 3 },
  { size: 28, channels: 192, out: 'depthwise', kernel: 3 },
  { size: 14, channels: 512, out: 'depthwise', kernel: 3 },
  { size: 14, channels: 576, out: 'depthwise', kernel: 3, stride: 2 },
  { size: 7, channels: 960, out: 'depthwise', kernel: 3 },
  { size: 14, channels: 480, out: 'depthwise', kernel: 5 },
  { size: 112, channels: 32, out: 64, kernel: 1 },
  { size: 28, channels: 192, out: 32, kernel: 1 },
  { size: 28, channels: 128, out: 256, kernel: 1 },
  { size: 14, channels: 512, out: 512, kernel: 1 },
  { size: 7, channels: 160, out: 960, kernel: 1 },
  { size: 112, channels: 16, out: 32, kernel: 3 },
  { size: 56, channels: 64, out: 64, kernel: 3 },
  { size: 28, channels: 128, out: 128, kernel: 3, stride: 2 },
  { size: 14, channels: 256, out: 256, kernel: 3 },
  { size: 7, channels: 512, out: 512, kernel: 3 },
  { size: 35, channels: 48, out: 64, kernel: 5 },
  { size: 224, channels: 3, out: 64, kernel: 7, stride: 2 },
];

export interface ConvolutionTimings {
  readonly id: string;
  readonly macs: number;
  readonly timings: readonly Timing[];
}

const window = (stride: number) => ({
  strides: { list: { i: [1, stride, stride, 1] } },
  dilations: { list: { i: [1, 1, 1, 1] } },
  padding: b64('SAME'),
  data_format: b64('NHWC'),
  fused_ops: { list: { s: [btoa('BiasAdd'), btoa('Relu6')] } },
  num_args: { i: '1' },
});

/** One convolution with bias and Relu6, as the converter folds it. */
function convolution(name: string, input: string, { channels, out, kernel, stride = 1 }: Layer): GraphEntry {
  const isDepthwise = out === 'depthwise';
  const node: NodeEntry = {
    name,
    op: isDepthwise ? 'FusedDepthwiseConv2dNative' : '_FusedConv2D',
    input: [input, `${name}/w`, `${name}/b`],
    attr: window(stride),
  };
  const shape = [kernel, kernel, channels, isDepthwise ? 1 : out];
  return { nodes: [node], weights: [floats(`${name}/w`, shape), floats(`${name}/b`, [isDepthwise ? channels : out])] };
}

const macsOf = ({ size, channels, out, kernel, stride = 1 }: Layer): number =>
  Math.ceil(size / stride) ** 2 * kernel ** 2 * channels * (out === 'depthwise' ? 1 : out);

/** MobileNet at 224 x 224, width 1: the convolutions alone. Of each block: channels out, stride; of version 2, expansion too. */
function mobileNet(version: 1 | 2): { entry: GraphEntry; macs: number } {
  const layers: Layer[] = [{ size: 224, channels: 3, out: 32, kernel: 3, stride: 2 }];
  let [size, channels] = [112, 32];
  const add = (layer: Omit<Layer, 'size' | 'channels'>): void => {
    layers.push({ size, channels, ...layer });
    size = Math.ceil(size / (layer.stride ?? 1));
    if (layer.out !== 'depthwise') channels = layer.out;
  };
  const first: readonly [number, number][] = [
    [64, 1],
    [128, 2],
    [128, 1],
    [256, 2],
    [256, 1],
    [512, 2],
  ];
  const blocks: readonly [number, number][] = [
    ...first,
    ...Array<[number, number]>(5).fill([512, 1]),
    [1024, 2],
    [1024, 1],
  ];
  if (version === 1)
    for (const [out, stride] of blocks) {
      add({ out: 'depthwise', kernel: 3, stride });
      add({ out, kernel: 1 });
    }
  else {
    const stages: readonly [number, number, number, number][] = [
      [1, 16, 1, 1],
      [6, 24, 2, 2],
      [6, 32, 3, 2],
      [6, 64, 4, 2],
      [6, 96, 3, 1],
      [6, 160, 3, 2],
      [6, 320, 1, 1],
    ];
    for (const [expansion, out, count, stride] of stages)
      for (let i = 0; i < count; i++) {
        if (expansion > 1) add({ out: expansion * channels, kernel: 1 });
        add({ out: 'depthwise', kernel: 3, stride: i ? 1 : stride });
        add({ out, kernel: 1 });
      }
    add({ out: 1280, kernel: 1 });
  }
  const parts = layers.map((layer, i) => convolution(`c${i}`, i ? `c${i - 1}` : 'x', layer));
  const entry = {
    nodes: [placeholder('x'), ...parts.flatMap(({ nodes }) => nodes)],
    weights: parts.flatMap(({ weights }) => weights),
    outputs: [`c${layers.length - 1}`],
  };
  return { entry, macs: layers.reduce((sum, layer) => sum + macsOf(layer), 0) };
}

const idOf = ({ size, channels, out, kernel, stride = 1 }: Layer): string =>
  `${out === 'depthwise' ? 'depthwise' : 'conv'} ${kernel}x${kernel}${stride > 1 ? ` s${stride}` : ''}, ${size}x${size}x${channels}${out === 'depthwise' ? '' : ` -> ${out}`}`;

export async function* convolutions(
  relativeL2: (got: ArrayLike<number>, want: ArrayLike<number>) => number,
  options: { readonly rounds: number; readonly clock: Clock },
): AsyncGenerator<ConvolutionTimings> {
  for (const layer of LAYERS) {
    const { nodes, weights } = convolution('y', 'x', layer);
    const entry: GraphEntry = { nodes: [placeholder('x'), ...nodes], weights, outputs: ['y'] };
    const shape = [1, layer.size, layer.size, layer.channels];
    yield {
      id: idOf(layer),
      macs: macsOf(layer),
      timings: await compare(entry, shape, macsOf(layer), relativeL2, options),
    };
  }
  for (const version of [1, 2] as const) {
    const { entry, macs } = mobileNet(version);
    yield {
      id: `MobileNet v${version}, 224x224`,
      macs,
      timings: await compare(entry, [1, 224, 224, 3], macs, relativeL2, options),
    };
  }
}

async function compare(
  entry: GraphEntry,
  shape: number[],
  macs: number,
  relativeL2: (got: ArrayLike<number>, want: ArrayLike<number>) => number,
  { rounds, clock }: { readonly rounds: number; readonly clock: Clock },
): Promise<readonly Timing[]> {
  const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
  const int8 = await loadGraphModel(handlerOf(artifactsOf(entry)), { convolutions: true, minElements: 0 });
  if (!reportOf(int8)!.nodes.some(({ where }) => where === 'msd')) throw new Error(`${shape}: nothing was taken.`);
  const x = tf.randomUniform(shape);
  const values = [stock, int8].map((model) => tf.tidy(() => (model.execute(x) as tf.Tensor).dataSync().slice()));
  const error = relativeL2(values[1]!, values[0]!);
  // Random layers one after the other add their errors up.
  if (!(error < (entry.nodes.length > 2 ? 0.3 : 0.02))) throw new Error(`${shape}: relative error ${error}`);
  const timings = await interleave(
    Object.entries({ stock, int8 }).map(([name, model]) => ({
      name,
      macs,
      run: () => (model.execute(x) as tf.Tensor).dispose(),
    })),
    { rounds, sampleMs: clock === 'cpu' ? 80 : 30, clock },
  );
  x.dispose();
  stock.dispose();
  int8.dispose();
  return timings;
}
