/** Norms whose scale and bias are not one number for each element of a row: one for all of them, or others for other rows. */
import { type Elementwise, elementwiseOnWasm as elementwise, type NormOp, normOnWasm as norm } from '@msd/core/nn';
import { emitOp, type Lowering, type Slot } from './lowering.ts';
import type { NodeView } from './operator.ts';

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
 * @throws {@link RangeError} where the result would be larger than x
 */
export function repeatedNorm(
  to: Lowering,
  view: NodeView,
  op: NormOp,
  [x, scale, bias]: readonly (Slot | undefined)[],
  [y, ...others]: readonly string[],
): void {
  const { dims } = x!;
  for (const [name, slot] of Object.entries({ scale, bias }))
    if (slot && !repeatsTo(slot.dims, dims))
      view.fail(name, `dimensions that repeat to [${dims.join(', ')}], those of x`, `[${slot.dims.join(', ')}]`);
  const [rows] = emitOp(to, norm, op, [x], ['', ...others]);
  if (bias) emitOp(to, elementwise, scaledAndMoved, [rows, scale, bias], [y!]);
  else emitOp(to, elementwise, scaled, [rows, scale], [y!]);
}

const repeatsTo = (own: readonly number[], dims: readonly number[]): boolean =>
  own.length <= dims.length && own.every((dim, i) => dim === 1 || dim === dims.at(i - own.length));
