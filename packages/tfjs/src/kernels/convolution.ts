/**
 * Convolutions of images [batch, height, width, channels].
 *
 *   MsdConv2D            y[…,n] = Σ over a window of x · w, w packed [taps · channels, N]   (+ bias[n])
 *   MsdDepthwiseConv2D   y[…,c] = Σ over a window of x[…,c] · w[tap,c], w f32 [down, across, channels, 1]   (+ bias[c])
 *
 * attrs: where windows lie, and who runs it: that comes along, so that pages without convolutions do not download it.
 */
import type { ActivationBlock, ActivationId, ArenaHandle } from '@msd/core';
import type { Placed } from '../convolution/band.ts';
import type { ConvolutionCalls } from '../convolution/calls.ts';
import type { MatrixSpec } from '../spec.ts';
import type { TensorInfo } from '../tf.ts';
import type { Host } from './host.ts';
import { multiply } from './mat-mul.ts';

interface Inputs {
  readonly x: TensorInfo;
  readonly w: TensorInfo;
  readonly bias?: TensorInfo;
}

export interface Conv2DAttrs {
  readonly image: Placed;
  readonly calls: ConvolutionCalls;
  readonly spec: MatrixSpec;
  readonly components: 1 | 2;
  readonly activationBlock: ActivationBlock;
  /** Only for weights of one plane without an offset. */
  readonly activation?: ActivationId | undefined;
}

export interface DepthwiseAttrs {
  readonly image: Placed;
  readonly calls: ConvolutionCalls;
  readonly clamp?: readonly [number, number] | undefined;
}

const shapeOf = ({ dims, places }: Placed, channels: number): number[] => [
  dims[0]!,
  ...places.map(({ out }) => out),
  channels,
];

export function msdConv2D(
  { x, w, bias }: Inputs,
  { image, calls, spec, components, activationBlock, activation }: Conv2DAttrs,
  host: Host,
): TensorInfo {
  const memory = host.memory!;
  return host.output(shapeOf(image, spec.N), bias ? [x, w, bias] : [x, w], (y) =>
    memory.places([x, bias, y], ([xAt, biasAt, yAt]) =>
      calls.product(image, { x: xAt!, y: yAt! }, spec.N, (rows, M, out) => {
        const options = { M, components, activationBlock, activation, bias: biasAt, out };
        multiply<ArenaHandle>(memory, rows, w, spec, 0, options);
      }),
    ),
  );
}

export function msdDepthwiseConv2D(
  { x, w, bias }: Inputs,
  { image, calls, clamp }: DepthwiseAttrs,
  host: Host,
): TensorInfo {
  return host.output(shapeOf(image, image.dims[3]!), bias ? [x, w, bias] : [x, w], (y) =>
    host.memory!.places([x, w, bias, y], ([xAt, wAt, biasAt, yAt]) =>
      calls.depthwise(image, { x: xAt!, w: wAt!, bias: biasAt, y: yAt! }, clamp),
    ),
  );
}
