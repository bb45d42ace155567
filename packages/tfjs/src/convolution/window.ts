/** Windows of a convolution over images [batch, height, width, channels]: what attributes of nodes and configs of layers say. */
import { samePlace, type WindowPlace, type WindowShape, windowSpan } from '@msd/core/nn';

type Pair = readonly [number, number];

/** Plain data: it travels in attributes of nodes. All sizes: down, then across. */
export interface ConvolutionWindow extends WindowShape {
  readonly kernel: Pair;
  readonly strides: Pair;
  readonly dilations: Pair;
  /** Or how many zeros there are at the top, the bottom, the left and the right. */
  readonly padding: 'same' | 'valid' | readonly number[];
}

const isSizes = (sizes: unknown, length: number, least: number): boolean =>
  Array.isArray(sizes) &&
  sizes.length === length &&
  sizes.every((size) => Number.isSafeInteger(size) && size >= least && size < 2 ** 16);

/** @throws `RangeError` if it is none. It came from outside */
export function checkWindow(given: unknown, where: string): ConvolutionWindow {
  const window = (given ?? {}) as Partial<Record<string, unknown>>;
  const refuse = (name: string, expected: string): never => {
    throw new RangeError(`${where}: window.${name}, expected ${expected}, got ${JSON.stringify(window[name])}.`);
  };
  for (const name of ['kernel', 'strides', 'dilations'])
    if (!isSizes(window[name], 2, 1)) refuse(name, 'two positive integers');
  const { padding } = window;
  if (padding !== 'same' && padding !== 'valid' && !isSizes(padding, 4, 0))
    refuse('padding', "'same', 'valid' or four counts");
  return window as unknown as ConvolutionWindow;
}

export const tapsOf = ({ kernel: [down, across] }: ConvolutionWindow): number => down * across;

/** Is every window one element, in its place? */
export const isPointwise = ({ kernel, strides, padding }: ConvolutionWindow): boolean =>
  [...kernel, ...strides].every((size) => size === 1) && (typeof padding === 'string' || padding.every((n) => n === 0));

/** Where windows lie along height and width. @throws `RangeError` if none fits */
export function placesOf(window: ConvolutionWindow, image: readonly number[], where: string): WindowPlace[] {
  const { strides, padding } = window;
  return [image[1]!, image[2]!].map((size, d) => {
    const span = windowSpan(window, d);
    if (padding === 'same') return samePlace(size, strides[d]!, span);
    const [before, after] = padding === 'valid' ? [0, 0] : [padding[2 * d]!, padding[2 * d + 1]!];
    const room = size + before + after - span;
    if (room < 0)
      throw new RangeError(
        `${where}: x, expected at least ${span} elements along dimension ${d + 1}, padding included, got ${size + before + after} of [${image}].`,
      );
    return { out: Math.floor(room / strides[d]!) + 1, before, after };
  });
}

/** The same as tfjs's own operations take it. */
export const stockPadding = ({ padding }: ConvolutionWindow): 'same' | 'valid' | [number, number][] =>
  typeof padding === 'string'
    ? padding
    : [
        [0, 0],
        [padding[0]!, padding[1]!],
        [padding[2]!, padding[3]!],
        [0, 0],
      ];
