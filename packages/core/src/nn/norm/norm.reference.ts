/** Both specifications of norm, in plain loops: contract.ts line by line. Nobody optimises this. */
import type { Arithmetic } from '../../decompose/decompose.reference.ts';
import type { Tensor } from '../../ops/op.ts';
import { roundingOf } from '../rounding.ts';
import { sumOf } from '../rows.ts';
import { type NormOp, normExtras, normShape } from './contract.ts';

export function normReference(
  op: NormOp,
  inputs: readonly (Tensor | undefined)[],
  outputs: readonly Tensor[],
  arithmetic: Arithmetic,
): void {
  const fl = roundingOf(arithmetic);
  const [x, scale, bias, skip, skipBias] = inputs.map((input) => input?.data);
  const [y, ...extras] = outputs.map(({ data }) => data);
  const extra = Object.fromEntries(normExtras(op).map((name, i) => [name, extras[i]]));
  const { rows, n, skipRows } = normShape(op, inputs);
  const epsilon = Math.fround(op.epsilon);
  for (let r = 0; r < rows; r++) {
    const z = Array.from({ length: n }, (_, k) => {
      let value = x![r * n + k];
      if (skip) value = fl(value + skip[(r % skipRows) * n + k]);
      if (skipBias) value = fl(value + skipBias[k]);
      return value;
    });
    const mean = fl(sumOf(n, (k) => z[k], fl) / n);
    const d = z.map((value) => (op.kind === 'layer' ? fl(value - mean) : value));
    const variance = fl(sumOf(n, (k) => fl(d[k] * d[k]), fl) / n);
    const invStdDev = fl(1 / fl(Math.sqrt(fl(variance + epsilon))));
    d.forEach((value, k) => {
      let result = fl(value * invStdDev);
      if (scale) result = fl(result * scale[k]);
      if (bias) result = fl(result + bias[k]);
      y[r * n + k] = result;
    });
    if (extra.mean) extra.mean[r] = mean;
    if (extra.invStdDev) extra.invStdDev[r] = invStdDev;
    extra.sum?.set(z, r * n);
  }
}
