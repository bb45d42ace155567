/** Norms whose scale and bias are not one number for each element of a row: one for all of them, or others for other rows. */
import { type Elementwise, elementwise, type NormOp, norm } from '@msd/core/nn';
import { emitOp, type Lowering, type Slot } from './lowering.ts';

/** As the norm has it, one rounding each: y · scale, then + bias. */
const scaled: Elementwise = { nodes: [{ fn: 'Mul', args: [0, 1] }], outputs: [2] };
const scaledAndMoved: Elementwise = {
  nodes: [
    { fn: 'Mul', args: [0, 1] },
    { fn: 'Add', args: [3, 2] },
  ],
  outputs: [4],
};

/**
 * @param slots x, scale and bias, as far as it is there
 * @param names of the result, then of the others that are asked for
 */
export function repeatedNorm(
  to: Lowering,
  op: NormOp,
  [x, scale, bias]: readonly (Slot | undefined)[],
  [y, ...others]: readonly string[],
): void {
  const [rows] = emitOp(to, norm, op, [x], ['', ...others]);
  if (bias) emitOp(to, elementwise, scaledAndMoved, [rows, scale, bias], [y!]);
  else emitOp(to, elementwise, scaled, [rows, scale], [y!]);
}
