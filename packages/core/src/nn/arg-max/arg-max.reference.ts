/** The specification of arg_max and arg_min, in plain loops. Nobody optimises this. */
import type { Tensor } from '../../ops/op.ts';
import { type ArgMaxOp, argMaxExtents } from './contract.ts';

export function argMaxReference(op: ArgMaxOp, [x]: readonly (Tensor | undefined)[], [y]: readonly Tensor[]): void {
  const { outer, n, inner } = argMaxExtents(op, x);
  const beats = (a: number, b: number) =>
    !Number.isNaN(b) && (Number.isNaN(a) || (op.kind === 'arg_max' ? a > b : a < b));
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      const value = (k: number) => x!.data[(o * n + k) * inner + i];
      let best = 0;
      for (let k = 1; k < n; k++) if (op.last ? !beats(value(best), value(k)) : beats(value(k), value(best))) best = k;
      y.data[o * inner + i] = best;
    }
}
