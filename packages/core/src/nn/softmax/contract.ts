/**
 * softmax, log_softmax over the n elements of the last `axes` axes.
 *
 *   m = max x[k], exactly;  d[k] = fl(x[k] − m);  e[k] = eˣ of d[k] (exp.ts);  l = Σ e[k] in the order of rows.ts
 *   softmax       y[k] = fl(e[k] · fl(1/l))
 *   log_softmax   y[k] = fl(d[k] − log l)
 *
 * As the formula has it, and ONNX Runtime: a row with NaN or +∞ is NaN, and so is a row of nothing but −∞; −∞ beside others gives 0
 * (log_softmax: −∞). What a mask of −1e9 and the like adds to gives 0, not something small.            (docs/nn.md, "Softmax")
 */
import type { TensorType } from '../../ops/op.ts';
import { refuse } from '../refuse.ts';
import { checkAxes } from '../rows.ts';

/** Input: x. Output: y. */
export interface SoftmaxOp {
  readonly kind: 'softmax' | 'log_softmax';
  /** How many trailing axes are one row. Default 1. */
  readonly axes?: number | undefined;
}

export function inferSoftmax({ kind, axes = 1 }: SoftmaxOp, [x]: readonly (TensorType | undefined)[]): TensorType[] {
  if (!x) return refuse(kind, 'x', 'a tensor', 'none');
  if (x.dtype !== 'f32') refuse(kind, 'x', 'f32', x.dtype);
  checkAxes(kind, axes, x.dims);
  return [x];
}
