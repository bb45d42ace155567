/** Convolutions as graph models and layers call them: on MSD's kernels where they are, else on tfjs's own. */
import type { ActivationId } from '@msd/core';
import { dequantized, realTensor, runsHere } from '../fallback.ts';
import { hostOf } from '../kernels/hosts.ts';
import { CONV_2D, DEPTHWISE } from '../kernels/index.ts';
import { canFuse } from '../kernels/mat-mul.ts';
import { type Activation, activationOf, FUSED } from '../mat-mul.ts';
import { type ArithmeticOptions, resolveArithmetic } from '../options.ts';
import type { QuantizedTensor } from '../quantized-tensor.ts';
import type { MatrixSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor, TfNamespace } from '../tf.ts';
import type { ConvolutionCalls } from './calls.ts';
import { convolutionCalls } from './kernels.ts';
import { rowsConv2d } from './rows.ts';
import { type ConvolutionWindow, placesOf, stockPadding, tapsOf } from './window.ts';

export interface ConvolutionOptions extends ArithmeticOptions {
  readonly bias?: Tensor | undefined;
  readonly activation?: Activation | undefined;
}

/** Gradients are tfjs's: while it records them its own operations run. */
const isRecording = (tf: TfNamespace): boolean => tf.engine().state.gradientDepth > 0;

/** Where MSD's kernels run now. */
const callsFor = (tf: TfNamespace): ConvolutionCalls | undefined =>
  isRecording(tf) ? undefined : convolutionCalls(hostOf(tf.backend(), tf.getBackend()));

/**
 * Like `tf.conv2d` with packed weights.
 *
 * @param x float32 [batch, height, width, channels]
 * @param w packed, [taps · channels, N]
 */
export function conv2d(
  x: Tensor,
  w: QuantizedTensor,
  window: ConvolutionWindow,
  options: ConvolutionOptions = {},
): Tensor {
  const where = 'conv2d';
  const { tf, options: defaults } = requireRegistration(where);
  const spec = w.spec as MatrixSpec;
  const channels = spec.K / tapsOf(window);
  checkImage(x, channels, where);
  const { bias, activation = 'linear' } = options;
  checkBias(bias, spec.N, where);
  const activate = activationOf(tf, activation);
  return tf.tidy(() => {
    const calls = callsFor(tf);
    if (!calls && (isRecording(tf) || !runsHere(tf)))
      return finished(tf, floatConv2d(tf, x, w, window, channels), bias, activate);
    const image = { window, dims: x.shape, places: placesOf(window, x.shape, where) };
    const arithmetic = resolveArithmetic(options, defaults, where);
    if (!calls) return rowsConv2d(tf, x, w, image, { ...arithmetic, bias, activation });
    const fuses = FUSED.includes(activation) && canFuse(spec);
    const attrs = {
      ...{ image, calls, spec, ...arithmetic },
      ...(fuses && { activation: activation as ActivationId }),
    };
    const inputs = { x, w: w.packed, ...(bias && { bias }) };
    const y = tf.engine().runKernel(CONV_2D, inputs, attrs as never) as Tensor;
    return activate && !fuses ? activate(y) : y;
  });
}

/** Ends of a clamp that is an activation, for those that are one. */
const CLAMPS: Readonly<Partial<Record<Activation, readonly [number, number]>>> = {
  relu: [0, Number.POSITIVE_INFINITY],
  relu6: [0, 6],
};

/**
 * Like `tf.depthwiseConv2d`, with float weights: they are few.
 *
 * @param x float32 [batch, height, width, channels]
 * @param filter float32 [down, across, channels, 1]
 */
export function depthwiseConv2d(
  x: Tensor,
  filter: Tensor,
  window: ConvolutionWindow,
  { bias, activation = 'linear' }: Pick<ConvolutionOptions, 'bias' | 'activation'> = {},
): Tensor {
  const where = 'depthwiseConv2d';
  const { tf } = requireRegistration(where);
  checkImage(x, filter.shape[2]!, where);
  checkBias(bias, filter.shape[2]!, where);
  const activate = activationOf(tf, activation);
  return tf.tidy(() => {
    const calls = callsFor(tf);
    if (!calls) {
      const { strides, dilations } = window;
      const pad = stockPadding(window) as never;
      const y = tf.depthwiseConv2d(x as never, filter as never, [...strides], pad, 'NHWC', [...dilations]) as Tensor;
      return finished(tf, y, bias, activate);
    }
    const image = { window, dims: x.shape, places: placesOf(window, x.shape, where) };
    const clamp = CLAMPS[activation];
    const inputs = { x, w: filter, ...(bias && { bias }) };
    const y = tf.engine().runKernel(DEPTHWISE, inputs, { image, calls, clamp } as never) as Tensor;
    return activate && !clamp ? activate(y) : y;
  });
}

function checkImage({ shape, dtype }: Tensor, channels: number, where: string): void {
  if (dtype !== 'float32') throw new TypeError(`${where}: x, expected float32, got ${dtype}.`);
  if (shape.length !== 4 || shape[3] !== channels)
    throw new RangeError(`${where}: x, expected [batch, height, width, ${channels}], got [${shape}].`);
}

function checkBias(bias: Tensor | undefined, N: number, where: string): void {
  if (bias && (bias.dtype !== 'float32' || bias.size !== N))
    throw new RangeError(`${where}: bias, expected float32 [${N}], got ${bias.dtype} [${bias.shape}].`);
}

function floatConv2d(
  tf: TfNamespace,
  x: Tensor,
  w: QuantizedTensor,
  window: ConvolutionWindow,
  channels: number,
): Tensor {
  // Real weights of a backend without kernels are kept; those for a gradient are not.
  const real = runsHere(tf) ? dequantized(tf, w) : realTensor(tf, w);
  const filter = tf.reshape(real, [...window.kernel, channels, (w.spec as MatrixSpec).N]);
  const { strides, dilations } = window;
  return tf.conv2d(x as never, filter as never, [...strides], stockPadding(window) as never, 'NHWC', [...dilations]);
}

function finished(
  tf: TfNamespace,
  y: Tensor,
  bias: Tensor | undefined,
  activate: ((y: Tensor) => Tensor) | undefined,
): Tensor {
  const sum = bias ? tf.add(y, bias) : y;
  return activate ? activate(sum) : sum;
}
