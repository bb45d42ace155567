/** Operators that come together: a module that is fetched when a model has one of them. */
import type { Operator, Pattern } from './operator.ts';

export interface Family {
  readonly operators: readonly Operator[];
  /** Chains of nodes by the operator of the node that they are found from. */
  readonly patterns?: Readonly<Record<string, Pattern>>;
  /** Families that it is built on: whoever has this one has them. */
  readonly needs?: readonly Family[];
}
