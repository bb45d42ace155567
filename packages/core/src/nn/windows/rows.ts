/** Windows over images with their channels last, [batch, …, channels], as rows of a matrix: a convolution is a product of them. */
import { elementCount } from '../../ops/op.ts';
import { stridesOf } from '../../ops/strides.ts';
import type { Copy } from '../copy/contract.ts';

type Dims = readonly number[];

/** Sizes along each spatial dimension. */
export interface WindowShape {
  readonly kernel: Dims;
  readonly strides: Dims;
  readonly dilations: Dims;
}

/** Along one dimension: how many windows there are, and how many elements are added before and after. */
export interface WindowPlace {
  readonly out: number;
  readonly before: number;
  readonly after: number;
}

/** Elements that a window spans along a dimension. */
export const windowSpan = ({ kernel, dilations }: WindowShape, d: number): number => (kernel[d] - 1) * dilations[d] + 1;

/** As many windows as strides fit into `size`; of an odd number of pads one more comes after, or before. */
export function samePlace(size: number, stride: number, span: number, more: 'after' | 'before' = 'after'): WindowPlace {
  const out = Math.ceil(size / stride);
  const total = Math.max(0, (out - 1) * stride + span - size);
  const before = more === 'after' ? Math.floor(total / 2) : Math.ceil(total / 2);
  return { out, before, after: total - before };
}

/**
 * Copies windows into rows: tap after tap, each with all channels.
 *
 * @param dims of the images, pads included
 * @param places how many windows: [images, …]
 * @param first image and line of the first of them
 */
export function windowRows(
  dims: Dims,
  { kernel, strides, dilations }: WindowShape,
  places: Dims,
  first: { readonly image: number; readonly line: number } = { image: 0, line: 0 },
): Copy {
  const [image, ...rest] = stridesOf(dims) as [number, ...number[]];
  const spatial = rest.slice(0, -1);
  const C = dims.at(-1)!;
  const whole = [...places, ...kernel, C];
  const from = {
    operand: 0,
    offset: first.image * image + first.line * strides[0] * spatial[0],
    strides: [image, ...spatial.map((own, d) => own * strides[d]), ...spatial.map((own, d) => own * dilations[d]), 1],
  };
  return {
    outputs: [[...places, elementCount(kernel) * C]],
    parts: [{ dims: whole, from, to: { operand: 0, offset: 0, strides: stridesOf(whole) } }],
  };
}

/** Bytes of rows that are in memory at a time, and the fewest rows with which a product is still fast. */
const SLICE_BYTES = 2 ** 21;
const LEAST_ROWS = 256;
const MOST_SLICES = 1024;

export interface WindowSlice {
  readonly image: number;
  readonly images: number;
  readonly line: number;
  readonly lines: number;
}

/**
 * Cuts windows into slices whose rows stay in the cache: as many whole images as fit, or as many lines of one.
 *
 * @param rowBytes of one row
 */
export function windowSlices(batch: number, lines: number, perLine: number, rowBytes: number): WindowSlice[] {
  const perImage = lines * perLine;
  const most = Math.max(LEAST_ROWS, Math.floor(SLICE_BYTES / rowBytes), Math.ceil((batch * perImage) / MOST_SLICES));
  const images = Math.max(1, Math.floor(most / Math.max(1, perImage)));
  const count = perImage <= most ? lines : Math.max(1, Math.floor(most / Math.max(1, perLine)));
  const slices: WindowSlice[] = [];
  for (let image = 0; image < batch; image += images)
    for (let line = 0; line < lines; line += count)
      slices.push({
        image,
        images: Math.min(images, batch - image),
        line,
        lines: Math.min(count, lines - line),
      });
  return slices;
}
