/** Convolutions of tfjs-layers, channels last: with windows as products of rows, separable ones after their sums over windows. */
import { conv2d, depthwiseConv2d } from '../convolution/conv2d.ts';
import { convolutionGain, depthwiseGain, LEAST_GAIN } from '../convolution/price.ts';
import { type ConvolutionWindow, isPointwise } from '../convolution/window.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import type { Field, LayerInternals, LayerKind } from './kinds.ts';
import { numbersOf, onlyOne, product, withActivation } from './products.ts';

/** What a convolution of tfjs-layers has besides what every layer has. */
interface ConvolutionLayer extends LayerInternals {
  readonly kernelSize: readonly number[];
  readonly strides: readonly number[];
  readonly dilationRate: number | readonly number[];
  readonly padding: 'same' | 'valid';
  readonly depthwiseKernel?: { read(): Tensor } | null;
}

const pairOf = (sizes: readonly number[], rank: number): [number, number] => {
  const [first = 1, second = first] = sizes;
  return rank === 1 ? [1, first] : [first, second];
};

/** @param filter its sizes. @returns or why such a layer is left alone */
export function windowOf(
  filter: readonly number[],
  rank: number,
  config: Field,
): ConvolutionWindow | { readonly reason: string } {
  const dataFormat = String(config('dataFormat') ?? 'channelsLast');
  if (!/last$/i.test(dataFormat)) return { reason: `data format ${dataFormat}` };
  const padding = config('padding') ?? 'valid';
  if (padding !== 'valid' && padding !== 'same') return { reason: `padding ${padding}` };
  const [strides, dilations] = ['strides', 'dilationRate'].map((name) => pairOf(numbersOf(config(name)), rank));
  return { kernel: pairOf(filter, rank), strides: strides!, dilations: dilations!, padding };
}

const windows = /* @__PURE__ */ new WeakMap<LayerInternals, ConvolutionWindow>();

/** Of a layer that was taken. */
function windowFor(layer: ConvolutionLayer, rank: number): ConvolutionWindow {
  const known = windows.get(layer);
  if (known) return known;
  const { kernelSize, strides, dilationRate, padding } = layer;
  const sizes = { kernel: kernelSize, strides, dilations: numbersOf(dilationRate) };
  const [kernel, steps, dilations] = Object.values(sizes).map((own) => pairOf(own, rank)) as [number, number][];
  const window: ConvolutionWindow = { kernel: kernel!, strides: steps!, dilations: dilations!, padding };
  windows.set(layer, window);
  return window;
}

/** Images of a single line for a convolution of one dimension. */
function onImages(x: Tensor, rank: number, run: (images: Tensor) => Tensor): Tensor {
  if (rank === 2) return run(x);
  const { tf } = requireRegistration('conv1d');
  const [batch, columns, channels] = x.shape as [number, number, number];
  const y = run(tf.reshape(x, [batch, 1, columns, channels]));
  return tf.reshape(y, [batch, y.shape[2]!, y.shape[3]!]);
}

export const convolution = (rank: 1 | 2): LayerKind => ({
  stock: `Conv${rank}D`,
  msd: `MsdConv${rank}D`,
  weight: 'kernel',
  leaf: 'kernel',
  isConvolution: true,
  sample: (layers) => layers[`conv${rank}d`]({ filters: 1, kernelSize: 1, name: 'msd' }),
  view(shape, config) {
    if (shape.length !== rank + 2) return { reason: `weights of ${shape.length} dimensions, expected ${rank + 2}` };
    const filter = shape.slice(0, -2);
    const window = windowOf(filter, rank, config);
    if ('reason' in window) return window;
    const [channels, N] = shape.slice(-2) as [number, number];
    const K = filter.reduce((product, size) => product * size, channels);
    const gain = convolutionGain(window, channels, N);
    return { kind: 'matrix', batchShape: [], N, K, transposed: false, gain };
  },
  run(layer, w, inputs) {
    const window = windowFor(layer as ConvolutionLayer, rank);
    if (isPointwise(window)) return product(layer, w, inputs);
    return withActivation(layer, (end) => onImages(onlyOne(inputs), rank, (x) => conv2d(x, w, window, end)));
  },
});

/** Its depthwise kernel stays floats: it is small. */
export const separable: LayerKind = {
  stock: 'SeparableConv2D',
  msd: 'MsdSeparableConv2D',
  weight: 'pointwiseKernel',
  leaf: 'pointwise_kernel',
  isConvolution: true,
  sample: (layers) => layers.separableConv2d({ filters: 1, kernelSize: 1, name: 'msd' }),
  view(shape, config) {
    if (shape.length !== 4) return { reason: `weights of ${shape.length} dimensions, expected 4` };
    if (shape[0] !== 1 || shape[1] !== 1) return { reason: `weights [${shape}], expected [1,1,channels,filters]` };
    const window = windowOf([1, 1], 2, config);
    if ('reason' in window) return window;
    const [K, N] = shape.slice(-2) as [number, number];
    const pointwise = { ...window, strides: [1, 1], dilations: [1, 1] } as const;
    return { kind: 'matrix', batchShape: [], N, K, transposed: false, gain: convolutionGain(pointwise, K, N) };
  },
  run(layer, w, inputs) {
    const own = layer as ConvolutionLayer;
    return product(layer, w, sumsOver(onlyOne(inputs), own.depthwiseKernel!.read(), windowFor(own, 2)));
  },
};

/** tfjs's depthwise convolution, or MSD's where that one is quicker. */
function sumsOver(x: Tensor, filter: Tensor, window: ConvolutionWindow): Tensor {
  const [, , channels, multiplier] = filter.shape as [number, number, number, number];
  if (multiplier === 1 && depthwiseGain(window, channels) >= LEAST_GAIN) return depthwiseConv2d(x, filter, window);
  const { tf } = requireRegistration('separableConv2d');
  const { strides, dilations, padding } = window;
  const pad = padding as 'same' | 'valid';
  return tf.depthwiseConv2d(x as never, filter as never, [...strides], pad, 'NHWC', [...dilations]);
}
