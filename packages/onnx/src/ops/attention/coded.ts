/** New keys and values for a cache of int8 with scales of the model (codes.ts). */

import { elementwiseOnWasm as elementwise } from '@msd/core/nn';
import { countOf } from '../../dims.ts';
import { Expression } from '../expression.ts';
import { emitOp, type Heads, headsOfRows, type Lowering, type Slot } from '../lowering.ts';
import { copyOf } from './facts.ts';

/** The multiples of a scale that int8 can hold, each the nearest one; half to even. */
export function coded(
  to: Lowering,
  { slot, begin, strides }: Heads,
  { batch, rows, heads, size }: { batch: number; rows: number; heads: number; size: number },
  scale: string,
): Heads {
  const dims = [batch, rows, heads * size];
  const x = begin === 0 ? slot : copyOf(to, slot, begin, dims, [strides.batch, strides.row, 1]);
  const scales = to.slot(scale);
  const row = { ...scales, dims: [countOf(scales.dims)] };
  const expression = new Expression(2);
  const code = expression.add('Round', [expression.add('Div', [0, 1])]);
  const [lowest, highest] = [-128, 127].map((value) => expression.number(value)) as [number, number];
  expression.add('Mul', [expression.add('Clip', [code, lowest, highest]), 1]);
  const [y] = emitOp(to, elementwise, expression.op, [x, row], []) as [Slot];
  return headsOfRows(y, rows, size);
}
