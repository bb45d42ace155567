/**
 * A convolution as a product of rows, in operations of tfjs's: where MSD's own kernels for windows are not (WebGPU), the weights stay
 * integers all the same. Each tap of the window is a slice of the padded image; side by side, they are the rows.
 */
import { windowSpan } from '@msd/core/nn';
import { type MatMulOptions, matMul } from '../mat-mul.ts';
import type { QuantizedTensor } from '../quantized-tensor.ts';
import type { MatrixSpec } from '../spec.ts';
import type { Tensor, TfNamespace } from '../tf.ts';
import type { Placed } from './band.ts';
import { tapsOf } from './window.ts';

/** Bytes of rows that there are at once, or those of one line. */
const ROW_BYTES = 2 ** 24;

/** @param w packed, [taps · channels, N] */
export function rowsConv2d(
  tf: TfNamespace,
  x: Tensor,
  w: QuantizedTensor,
  { window, dims, places }: Placed,
  options: MatMulOptions,
): Tensor {
  const [batch, , , channels] = dims as [number, number, number, number];
  const [{ out: lines }, { out: columns }] = places as [Placed['places'][0], Placed['places'][0]];
  const { N } = w.spec as MatrixSpec;
  if (batch * lines * columns === 0) return tf.zeros([batch, lines, columns, N]);
  const { kernel, strides, dilations } = window;
  const around = places.map(({ before, out }, d): [number, number] => {
    const reach = (out - 1) * strides[d]! + windowSpan(window, d);
    return [before, Math.max(0, reach - before - dims[1 + d]!)];
  });
  const isPadded = around.some(([before, after]) => before > 0 || after > 0);
  const image = isPadded ? tf.pad(x, [[0, 0], ...around, [0, 0]]) : x;
  /** What one element of the windows of some lines sees. */
  const tap = (down: number, across: number, line: number, count: number): Tensor => {
    const [top, left] = [line * strides[0] + down * dilations[0], across * dilations[1]];
    const end = [batch, top + (count - 1) * strides[0] + 1, left + (columns - 1) * strides[1] + 1, channels];
    return tf.stridedSlice(image, [0, top, left, 0], end, [1, ...strides, 1]);
  };
  const most = Math.max(1, Math.floor(ROW_BYTES / (4 * batch * columns * tapsOf(window) * channels)));
  const parts: Tensor[] = [];
  for (let line = 0; line < lines; line += most) {
    const count = Math.min(most, lines - line);
    parts.push(
      tf.tidy(() => {
        const taps: Tensor[] = [];
        for (let down = 0; down < kernel[0]; down++)
          for (let across = 0; across < kernel[1]; across++) taps.push(tap(down, across, line, count));
        return matMul(taps.length === 1 ? taps[0]! : tf.concat(taps, 3), w, options);
      }),
    );
  }
  return parts.length === 1 ? parts[0]! : tf.concat(parts, 1);
}
