/**
 * How much faster than tfjs's wasm backend a convolution will be: what decides whether it is taken. Nanoseconds per position of the
 * result, measured on one thread, many positions, so that sizes of images do not matter (docs/tfjs.md, "Convolutions").
 */
import { type ConvolutionWindow, isPointwise, tapsOf } from './window.ts';

/** Below, a convolution stays tfjs's. */
export const LEAST_GAIN = 1.2;

/** A multiplication of XNNPACK's products, and of its depthwise convolutions. */
const STOCK_MAC = 1 / 16.3;
const STOCK_WINDOW_MAC = 1 / 6;
/** A call and its ends, whatever they are. */
const ENDS = 8;

/** Products of integers: a multiplication, a result, an element that becomes an integer. */
const MAC = 1 / 42;
const RESULT = 0.5;
const INTEGER = 0.35;
/** Results lie in panels of so many, k in steps; what a panel or a step does not fill costs as much. */
const [PANEL, STEP] = [16, 32];
/** An element of a row that is a window, and each piece that lies together in the image. */
const ROW_ELEMENT = 0.12;
const ROW_PIECE = 1.5;
/** An element of a line that gets zeros beside it. */
const PADDED = 0.15;

/** Sums over windows: a multiplication, by four channels or by one. */
const WINDOW_MAC = 1 / 9;
const WINDOW_MAC_ALONE = 1 / 2;
/** So much longer they take if columns of the image lie whole or half pages of 4 KB apart: those under a window share a few lines of the cache. */
const sharedLines = (channels: number): number => (channels % 1024 === 0 ? 2.1 : channels % 512 === 0 ? 1.3 : 1);

const upTo = (size: number, step: number): number => Math.ceil(size / step) * step;

/** Elements of the image for each position of the result, if there are zeros around it. */
function paddedElements({ kernel, padding, strides }: ConvolutionWindow, channels: number): number {
  const hasNone = padding === 'valid' || (padding === 'same' && kernel[0] === 1 && kernel[1] === 1);
  return hasNone ? 0 : channels * strides[0] * strides[1];
}

/** Of a convolution with packed weights. */
export function convolutionGain(window: ConvolutionWindow, channels: number, N: number): number {
  const { kernel, dilations } = window;
  const K = tapsOf(window) * channels;
  const pieces = kernel[0] * (dilations[1] === 1 ? 1 : kernel[1]);
  const rows = isPointwise(window)
    ? 0
    : ROW_ELEMENT * K + ROW_PIECE * pieces + PADDED * paddedElements(window, channels);
  const product = upTo(N, PANEL) * (MAC * upTo(K, STEP) + RESULT) + INTEGER * K + ENDS;
  return (STOCK_MAC * K * N + ENDS) / (product + rows);
}

/** Of one with a filter for each channel. */
export function depthwiseGain(window: ConvolutionWindow, channels: number): number {
  const taps = tapsOf(window);
  const alone = channels % 4;
  const sums = sharedLines(channels) * taps * (WINDOW_MAC * (channels - alone) + WINDOW_MAC_ALONE * alone);
  return (STOCK_WINDOW_MAC * taps * channels + ENDS) / (sums + ENDS);
}

/** As the report has it. */
export const roundedGain = (gain: number): number => Math.round(100 * gain) / 100;

/** As the report says it. */
export const refusedGain = (gain: number): string =>
  `predicted to run at ${gain.toFixed(1)} times the speed of tfjs's wasm backend, less than ${LEAST_GAIN}`;
