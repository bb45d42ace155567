/** Both specifications of softmax, in plain loops: contract.ts line by line. Nobody optimises this. */
import type { Arithmetic } from '../../decompose/decompose.reference.ts';
import type { Tensor } from '../../ops/op.ts';
import { scalarLanes } from '../elementwise/lanes.reference.ts';
import { logarithm } from '../elementwise/math/exponential.ts';
import { expOrZero } from '../exp.ts';
import { roundingOf } from '../rounding.ts';
import { rowShape, sumOf } from '../rows.ts';
import type { SoftmaxOp } from './contract.ts';

export function softmaxReference(
  { kind, axes = 1 }: SoftmaxOp,
  [x]: readonly (Tensor | undefined)[],
  [y]: readonly Tensor[],
  arithmetic: Arithmetic,
): void {
  const fl = roundingOf(arithmetic);
  const isExact = arithmetic === 'float64';
  const exp = isExact ? Math.exp : (value: number) => expOrZero(scalarLanes, value);
  const log = isExact ? Math.log : (value: number) => logarithm(scalarLanes, value);
  const { rows, n } = rowShape(x!.dims, axes);
  for (let r = 0; r < rows; r++) {
    const row = Array.from(x!.data.subarray(r * n, (r + 1) * n));
    const max = row.reduce((most, value) => Math.max(value, most), Number.NEGATIVE_INFINITY);
    const d = row.map((value) => fl(value - max));
    const e = d.map(exp);
    const sum = sumOf(n, (k) => e[k], fl);
    const result = {
      softmax: (k: number) => fl(e[k] * fl(1 / sum)),
      log_softmax: (k: number) => fl(d[k] - log(sum)),
    }[kind];
    for (let k = 0; k < n; k++) y.data[r * n + k] = result(k);
  }
}
