/**
 * windows: sums, means or maxima of each channel in windows that slide over an image with its channels last.
 *
 *   weighted   y[b,p,c] = Σ_t x[b, p·stride + t·dilation, c] · w[t,c]  (+ bias[c]), clamped       a depthwise convolution
 *   mean       y[b,p,c] = fl(Σ_t x / number of taps)
 *   max        y[b,p,c] = the largest x; NaN if there is one; −0 is below 0
 *
 * p and t have two dimensions each. Taps t in order, the last dimension fastest, from +0, one f32 rounding per operation. Windows
 * lie inside of x, or pads are elements of it like others; those of 'weighted' may reach over its edge, where there is nothing to sum.
 *
 * Error at most (taps + 1) · 2⁻²⁴ · Σ |x·w|.                                                     (docs/nn.md, "Windows")
 */
import { elementCount, type TensorType } from '../../ops/op.ts';
import { refuse } from '../refuse.ts';

/** Inputs: x f32 [batch, height, width, channels]; for 'weighted' w f32 [taps, channels] and, perhaps, a bias f32 [channels]. */
export interface WindowsOp {
  readonly kind: 'weighted' | 'mean' | 'max';
  /** Taps, down and across. */
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /**
   * For 'weighted': how far windows extend over the top, the bottom, the left and the right of x. Default: not at all.
   */
  readonly pads?: readonly [number, number, number, number] | undefined;
  /** For 'weighted': results are limited to this range; NaN stays. */
  readonly clamp?: readonly [number, number] | undefined;
}

type Operands = readonly (TensorType | undefined)[];

export function inferWindows(
  { kind, kernel, strides, dilations, pads }: WindowsOp,
  [x, w, bias]: Operands,
): TensorType[] {
  const op = `windows_${kind}`;
  if (x?.dtype !== 'f32' || x.dims.length !== 4)
    return refuse(op, 'x', 'f32 [batch, height, width, channels]', x ? `${x.dtype} [${x.dims}]` : 'nothing');
  for (const [name, sizes] of Object.entries({ kernel, strides, dilations }))
    if (!sizes.every((size) => Number.isInteger(size) && size > 0))
      refuse(op, name, 'positive whole numbers', `[${sizes}]`);
  if (pads && !(kind === 'weighted' && pads.every((pad) => Number.isInteger(pad) && pad >= 0)))
    refuse(op, 'pads', kind === 'weighted' ? 'four whole numbers' : 'none', `[${pads}]`);
  const [batch, height, width, channels] = x.dims;
  const taps = elementCount(kernel);
  const isOf = (operand: TensorType | undefined, ...dims: number[]): boolean =>
    operand?.dtype === 'f32' && operand.dims.join() === dims.join();
  if (kind === 'weighted' && !isOf(w, taps, channels))
    refuse(op, 'w', `f32 [${taps},${channels}]`, w ? `[${w.dims}]` : 'nothing');
  if (kind === 'weighted' && bias && !isOf(bias, channels)) refuse(op, 'bias', `f32 [${channels}]`, `[${bias.dims}]`);
  const out = [height, width].map((size, d) => {
    const padded = size + (pads ? pads[2 * d] + pads[2 * d + 1] : 0);
    const room = padded - ((kernel[d] - 1) * dilations[d] + 1);
    if (room < 0) refuse(op, 'x', `at least ${padded - room} elements along dimension ${d + 1}`, `${padded}`);
    return Math.floor(room / strides[d]) + 1;
  });
  return [{ dtype: 'f32', dims: [batch, ...out, channels] }];
}
