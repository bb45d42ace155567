/** Both specifications of rotary, in plain loops: contract.ts line by line. Nobody optimises this. */
import type { Arithmetic } from '../../decompose/decompose.reference.ts';
import type { Tensor } from '../../ops/op.ts';
import { roundingOf } from '../rounding.ts';
import { type RotaryOp, rotaryShape } from './contract.ts';

export function rotaryReference(
  op: RotaryOp,
  inputs: readonly (Tensor | undefined)[],
  [y]: readonly Tensor[],
  arithmetic: Arithmetic,
): void {
  const fl = roundingOf(arithmetic);
  const [x, cos, sin, positions] = inputs.map((input) => input?.data);
  const { batch, sequence, heads, size, half, headsFirst, positions: from, cacheRows } = rotaryShape(op, inputs);
  for (let b = 0; b < batch; b++)
    for (let s = 0; s < sequence; s++) {
      const token = b * sequence + s;
      const position = from === 'token' ? token : from === 'ids' ? positions![token] : positions![0] + s;
      const row = half * (position >= 0 && position < cacheRows ? position : cacheRows - 1);
      for (let h = 0; h < heads; h++) {
        const at = size * (headsFirst ? (b * heads + h) * sequence + s : token * heads + h);
        for (let k = 2 * half; k < size; k++) y.data[at + k] = x![at + k];
        for (let j = 0; j < half; j++) {
          const [i, k] = op.interleaved ? [at + 2 * j, at + 2 * j + 1] : [at + j, at + j + half];
          const [c, d] = [cos![row + j], sin![row + j]];
          y.data[i] = fl(fl(x![i] * c) - fl(x![k] * d));
          y.data[k] = fl(fl(x![k] * c) + fl(x![i] * d));
        }
      }
    }
}
