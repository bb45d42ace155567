/** The part of an image that the windows of a slice look at. */
import { type WindowPlace, type WindowSlice, windowSpan } from '@msd/core/nn';
import type { ConvolutionWindow } from './window.ts';

/** An image [batch, height, width, channels], and where windows lie on it. */
export interface Placed {
  readonly window: ConvolutionWindow;
  readonly dims: readonly number[];
  /** Along height and width. */
  readonly places: readonly WindowPlace[];
}

export interface Band {
  /** First element of the image that belongs to it. */
  readonly first: number;
  /** [images, lines, columns, channels], and how many zeros there are around each. */
  readonly dims: readonly number[];
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** With the zeros. */
  readonly padded: readonly number[];
  readonly isPadded: boolean;
}

export function bandOf({ window, dims, places }: Placed, { image, images, line, lines }: WindowSlice): Band {
  const [, height, width, C] = dims as [number, number, number, number];
  const [rows, columns] = places as [WindowPlace, WindowPlace];
  // Lines of windows, counted from the top of the image: they may begin above it and end below.
  const top = line * window.strides[0] - rows.before;
  const bottom = top + (lines - 1) * window.strides[0] + windowSpan(window, 0);
  const isWhole = line === 0 && lines === rows.out;
  // At least one line of the image, also where windows lie in the zeros altogether: it is taken away again.
  const from = isWhole ? 0 : Math.min(Math.max(0, top), height - 1);
  const to = isWhole ? height : Math.max(Math.min(height, bottom), from + 1);
  // What no window reaches at the end of a whole image stays.
  const below = isWhole ? Math.max(0, bottom - to) : bottom - to;
  const right = (columns.out - 1) * window.strides[1] + windowSpan(window, 1) - columns.before - width;
  const [before, after] = [
    [0, from - top, columns.before, 0],
    [0, below, Math.max(0, right), 0],
  ];
  const own = [images, to - from, width, C];
  return {
    first: (image * height + from) * width * C,
    dims: own,
    before,
    after,
    padded: own.map((size, d) => size + before[d]! + after[d]!),
    isPadded: [...before, ...after].some((count) => count !== 0),
  };
}
