/**
 * The table of operators. ONNX Runtime runs all other operators, and nothing is known about their results. What nearly
 * every model has is there from the start; other operators come in families (execute/families), which are fetched when
 * a model has one of them.
 */

import { activationPatterns } from './activations.ts';
import { elementwiseOperators } from './elementwise.ts';
import { gatherOperators } from './gather.ts';
import { addLate, type Late } from './late.ts';
import { matMulNBitsOperators } from './mat-mul-nbits.ts';
import { normOperators } from './norm.ts';
import type { Operator, Pattern } from './operator.ts';
import { reduceOperators } from './reduce.ts';
import { addSchemas, type Schemas } from './schema.ts';
import { shapeOperators } from './shape.ts';

/** Operators that come together. */
export interface Family {
  readonly operators: readonly Operator[];
  /** Chains of nodes by the operator of the node that they are found from. */
  readonly patterns?: Readonly<Record<string, Pattern>>;
  /** What operators of others leave to it. */
  readonly late?: Partial<Late>;
  /** Of operators that no other family knows. */
  readonly schemas?: Schemas;
}

const BASE: Pick<Family, 'operators' | 'patterns'> = {
  operators: [
    ...matMulNBitsOperators,
    ...normOperators,
    ...elementwiseOperators,
    ...reduceOperators,
    ...gatherOperators,
    ...shapeOperators,
  ],
  patterns: activationPatterns,
};

/** By name, as far as they were fetched. */
export const OPERATORS: ReadonlyMap<string, Operator> = /* @__PURE__ */ new Map(
  BASE.operators.map((operator) => [operator.name, operator] as const),
);

/** Chains of nodes by the operator of the node that they are found from, as far as they were fetched. */
export const PATTERNS: ReadonlyMap<string, Pattern> = /* @__PURE__ */ new Map(Object.entries(BASE.patterns!));

/** Adds a family that was fetched. Again is no harm. */
export function addFamily({ operators, patterns = {}, late = {}, schemas }: Family): void {
  addLate(late);
  if (schemas) addSchemas(schemas);
  for (const operator of operators) (OPERATORS as Map<string, Operator>).set(operator.name, operator);
  for (const [name, pattern] of Object.entries(patterns)) (PATTERNS as Map<string, Pattern>).set(name, pattern);
}

/**
 * Something that is fetched by itself, as it is. All that is goes through here: so it is built on the table above, and bundlers keep
 * what such pieces share with each other in one file, instead of one for every pair of them.
 */
export const piece = <T>(content: T): T => content;
