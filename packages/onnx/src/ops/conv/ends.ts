/** What all convolutions have beside their windows: a bias, and what x and y go through. */
import { type Elementwise, elementwiseOnWasm as elementwise } from '@msd/core/nn';
import type { Matcher } from '../../passes/matcher.ts';
import { emitOp, type Lowering, type Resource, type Slot } from '../lowering.ts';

/** By its name, or as a constant of a match alone; '' = none. */
export type Bias = string | Extract<Resource, { kind: 'values' }>;

/** Operands of a match that are looked up by name. */
export const biasInputs = (x: string, bias: Bias): string[] => [x, typeof bias === 'string' ? bias : ''];

export const biasResources = (matcher: Matcher, x: string, bias: Bias): Resource[] =>
  typeof bias === 'string' ? matcher.constants([x, bias]) : [bias, ...matcher.constants([x])];

export function biasSlot(to: Lowering, bias: Bias): Slot | undefined {
  if (bias === '') return undefined;
  return to.slot(typeof bias === 'string' ? bias : bias.key);
}

/** The result of an expression, if there is one. */
export function through(to: Lowering, expression: Elementwise | undefined, x: Slot): Slot {
  return expression ? emitOp(to, elementwise, expression, [x], [])[0]! : x;
}
