/**
 * Images as rows: [batch, channels, …] and back, and the rows of a convolution. A position's channels lie side by side then, so a
 * product of rows is a convolution, and what follows element by element may stay in that order (plan/layout.ts).
 */

import { copyOnWasm as copy, pad as copyPad, transpose, windowRows, windowSlices } from '@msd/core/nn';
import { countOf } from '../../dims.ts';
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

/** x f32 [batch, …, channels] -> y [batch, channels, …], which may have no name */
export function toChannels(to: Lowering, x: Slot, y: string): Slot {
  const dims = channelDims(x.dims);
  if (isOne(x.dims.slice(1, -1)) || x.dims.at(-1) === 1) {
    if (y !== '') to.alias(y, x, dims);
    return part(x, 0, dims);
  }
  const result = to.result(y, 'f32', dims);
  to.step(toChannelsStep(x, result));
  return result;
}

/** The same as a step. */
export function toChannelsStep(x: Slot, y: Slot): OpStep {
  const op = transpose(x.dims, channelDims([...x.dims.keys()]));
  return { kind: 'op', spec: copy, op, inputs: [x], outputs: [y], isToChannels: true };
}

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
  for (const slice of windowSlices(batch, lines, perLine, 4 * K)) {
    const places = [slice.images, slice.lines, ...rest];
    const rows = emitOp(to, copy, windowRows(padded.dims, windows, places, slice), [padded], [])[0]!;
    multiply(rows, part(y, (slice.image * lines + slice.line) * perLine * N, [...places, N]));
  }
  return y;
}

function paddedOf(to: Lowering, x: Slot, before: Dims, after: Dims): Slot {
  const op = copyPad(x.dims, { before: [0, ...before, 0], after: [0, ...after, 0] });
  return emitOp(to, copy, op, [x], [])[0]!;
}

/** Which element of a row [channels, taps] of the file each element of a row [taps, channels] is; `undefined` if they are the same. */
export function tapOrder(channels: number, taps: number): Int32Array | undefined {
  if (taps === 1 || channels === 1) return undefined;
  return Int32Array.from({ length: channels * taps }, (_, k) => (k % channels) * taps + Math.floor(k / channels));
}
