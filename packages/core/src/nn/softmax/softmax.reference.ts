/** Both specifications of softmax, in plain loops: contract.ts line by line. Nobody optimises this. */
import { scalar } from '../../activations/activations.reference.ts';
import type { Arithmetic } from '../../decompose/decompose.reference.ts';
import type { Tensor } from '../../ops/op.ts';
import { expOrZero } from '../exp.ts';
import { roundingOf } from '../rounding.ts';
import { rowShape, sumOf } from '../rows.ts';
import type { SoftmaxOp } from './contract.ts';

export function softmaxReference(
  { axes = 1 }: SoftmaxOp,
  [x]: readonly (Tensor | undefined)[],
  [y]: readonly Tensor[],
  arithmetic: Arithmetic,
): void {
  const fl = roundingOf(arithmetic);
  const exp = arithmetic === 'float32' ? (value: number) => expOrZero(scalar, value) : Math.exp;
  const { rows, n } = rowShape(x!.dims, axes);
  for (let r = 0; r < rows; r++) {
    const row = Array.from(x!.data.subarray(r * n, (r + 1) * n));
    const max = row.reduce((most, value) => Math.max(value, most), Number.NEGATIVE_INFINITY);
    const e = row.map((value) => exp(fl(value - max)));
    const inverse = fl(1 / sumOf(n, (k) => e[k], fl));
    e.forEach((value, k) => {
      y.data[r * n + k] = fl(value * inverse);
    });
  }
}
