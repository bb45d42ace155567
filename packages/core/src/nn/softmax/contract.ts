/**
 * softmax, log_softmax over the n elements of the last `axes` axes.
 *
 *   m = max x[k], exactly;  d[k] = fl(x[k] − m);  e[k] = eˣ of d[k] (exp.ts);  l = Σ e[k] in the order of rows.ts
 *   softmax       y[k] = fl(e[k] · fl(1/l))
 *   log_softmax   y[k] = fl(d[k] − log l)
 *
 * By the formula, as in ONNX Runtime, a row with NaN or +∞ is NaN, and so is a row of only −∞; −∞ beside others gives 0
 * (log_softmax: −∞). Elements under an additive mask of −1e9 or the like give exactly 0.            (docs/nn.md,
 * "Softmax")
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
