/**
 * Images as rows: [batch, channels, …] and back, and the rows of a convolution. A position's channels lie side by side then, so a
 * product of rows is a convolution, and what follows element by element may stay in that order (plan/layout.ts).
 */

import { type Copy, copy, pad as copyPad, transpose } from '@msd/core/nn';
import { countOf, stridesOf } from '../../dims.ts';
import { emitOp, type Lowering, type OpStep, part, type Slot } from '../lowering.ts';
import type { Placed, Windows } from './windows.ts';
import { isPointwise } from './windows.ts';

type Dims = readonly number[];

/** [batch, channels, …] as [batch, …, channels]. */
export const positionDims = ([batch = 0, channels = 0, ...spatial]: Dims): number[] => [batch, ...spatial, channels];

/** The other way round. */
export const channelDims = (dims: Dims): number[] => [dims[0]!, dims.at(-1)!, ...dims.slice(1, -1)];

/** A single position is the same either way. */
const isOne = (spatial: Dims): boolean => spatial.every((size) => size === 1);

/** x f32 [batch, channels, …] -> [batch, …, channels] */
export function toPositions(to: Lowering, x: Slot): Slot {
  const dims = positionDims(x.dims);
  if (isOne(x.dims.slice(2)) || x.dims[1] === 1) return part(x, 0, dims);
  const order = positionDims([...x.dims.keys()]);
  return emitOp(to, copy, transpose(x.dims, order), [x], [])[0]!;
}

/** x f32 [batch, …, channels] -> y [batch, channels, …] */
export function toChannels(to: Lowering, x: Slot, y: string): void {
  const dims = channelDims(x.dims);
  if (isOne(x.dims.slice(1, -1)) || x.dims.at(-1) === 1) {
    to.alias(y, x, dims);
    return;
  }
  const result = to.result(y, 'f32', dims);
  to.step(toChannelsStep(x, result));
}

/** The same as a step. */
export function toChannelsStep(x: Slot, y: Slot): OpStep {
  const op = transpose(x.dims, channelDims([...x.dims.keys()]));
  return { kind: 'op', spec: copy, op, inputs: [x], outputs: [y], isToChannels: true };
}

/** Bytes of rows that lie in memory at a time, and how few of them a product still likes. */
const SLICE_BYTES = 2 ** 21;
const LEAST_ROWS = 256;
const MOST_SLICES = 1024;

/**
 * The windows of x as rows [batch, …, taps · channels] times a matrix.
 *
 * @param x f32 [batch, …, channels]
 * @param multiply puts the products of rows [..., K] into y [..., N]
 * @returns f32 [batch, …, N]
 */
export function multiplyWindows(
  to: Lowering,
  windows: Windows,
  { out, before, after }: Placed,
  x: Slot,
  N: number,
  multiply: (rows: Slot, y: Slot) => void,
): Slot {
  const [batch = 0, C = 0] = [x.dims[0], x.dims.at(-1)];
  const y = to.result('', 'f32', [batch, ...out, N]);
  if (isPointwise(windows)) {
    multiply(x, y);
    return y;
  }
  const padded = [...before, ...after].some((each) => each > 0) ? paddedOf(to, x, before, after) : x;
  const K = C * countOf(windows.kernel);
  const [lines = 0, ...rest] = out;
  const perLine = countOf(rest);
  const perImage = lines * perLine;
  const most = Math.max(LEAST_ROWS, Math.floor(SLICE_BYTES / (4 * K)), Math.ceil((batch * perImage) / MOST_SLICES));
  const emit = (image: number, images: number, line: number, count: number): void => {
    const rows = emitRows(to, windows, padded, out, image, images, line, count);
    multiply(rows, part(y, (image * perImage + line * perLine) * N, [images, count, ...rest, N]));
  };
  // As many whole images as make a slice, or as many lines of one.
  const images = Math.max(1, Math.floor(most / Math.max(1, perImage)));
  const count = perImage <= most ? lines : Math.max(1, Math.floor(most / Math.max(1, perLine)));
  for (let image = 0; image < batch; image += images)
    for (let line = 0; line < lines; line += count)
      emit(image, Math.min(images, batch - image), line, Math.min(count, lines - line));
  return y;
}

function paddedOf(to: Lowering, x: Slot, before: Dims, after: Dims): Slot {
  const op = copyPad(x.dims, { before: [0, ...before, 0], after: [0, ...after, 0] });
  return emitOp(to, copy, op, [x], [])[0]!;
}

/** Windows of some lines of some images, one row each: tap after tap, each with all channels. */
function emitRows(
  to: Lowering,
  { kernel, strides, dilations }: Windows,
  x: Slot,
  out: Dims,
  image: number,
  images: number,
  line: number,
  lines: number,
): Slot {
  const [imageStride, ...rest] = stridesOf(x.dims) as [number, ...number[]];
  const spatial = rest.slice(0, -1);
  const C = x.dims.at(-1)!;
  const places = [images, lines, ...out.slice(1)];
  const result = [...places, countOf(kernel) * C];
  const dims = [...places, ...kernel, C];
  const from = {
    operand: 0,
    offset: image * imageStride + line * strides[0]! * spatial[0]!,
    strides: [
      imageStride,
      ...spatial.map((stride, d) => stride * strides[d]!),
      ...spatial.map((stride, d) => stride * dilations[d]!),
      1,
    ],
  };
  const op: Copy = {
    outputs: [result],
    parts: [{ dims, from, to: { operand: 0, offset: 0, strides: stridesOf(dims) } }],
  };
  return emitOp(to, copy, op, [x], [])[0]!;
}

/** Which element of a row [channels, taps] of the file each element of a row [taps, channels] is; `undefined` if they are the same. */
export function tapOrder(channels: number, taps: number): Int32Array | undefined {
  if (taps === 1 || channels === 1) return undefined;
  return Int32Array.from({ length: channels * taps }, (_, k) => (k % channels) * taps + Math.floor(k / channels));
}
