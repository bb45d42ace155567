/** A loop of a graph, whatever it is written as: frames, or a While with functions. */
import type { Constant, Constants } from '../../weights/source.ts';
import { rootOf } from '../recognise.ts';
import { type NodeDef, parseInput, type Scope } from '../topology.ts';

/** What an input inside of the loop is. */
export type Inner =
  | { readonly kind: 'variable'; readonly index: number }
  /** The same at each position; named as around the loop. */
  | { readonly kind: 'outer'; readonly input: string }
  | { readonly kind: 'node'; readonly node: NodeDef; readonly output: number };

export interface LoopVariable {
  /** As the scope around the loop names it. */
  readonly initial: string;
  /** As the body names it. */
  readonly next: string;
}

export interface Loop {
  readonly name: string;
  readonly op: string;
  readonly outer: Scope;
  readonly inner: Scope;
  readonly variables: readonly LoopVariable[];
  find(input: string): Inner;
  /** The loop goes on as long as this holds. */
  readonly condition: { readonly scope: Scope; readonly input: string; find(input: string): Inner };
  /** Nodes of the outer scope that read what a variable is in the end, or a name that stands for it. */
  readonly ends: readonly LoopEnd[];
  /** Is the node a part of the loop? */
  has(node: NodeDef): boolean;
}

export interface LoopEnd {
  readonly variable: number;
  /** An Exit of that name; `undefined`: an output of the node. */
  readonly exit: NodeDef | undefined;
}

/** Why a loop stays as it is. */
export class Refusal {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

export const refuse = (reason: string): never => {
  throw new Refusal(reason);
};

/**
 * Says what inputs inside of a loop are, behind identities.
 *
 * @param known what a name stands for, if not for a node of the body's own
 */
export function finderIn(
  scope: Scope,
  known: (name: string, node: NodeDef | undefined) => Inner | undefined,
): (input: string) => Inner {
  return (input) => {
    let { node: name, index: output } = parseInput(input);
    for (let depth = 0; depth < 64; depth++) {
      const node = scope.nodes.get(name);
      const found = known(name, node);
      if (found) return found;
      if (!node) break;
      const [own] = node.input ?? [];
      if (node.op !== 'Identity' || own === undefined) return { kind: 'node', node, output };
      ({ node: name, index: output } = parseInput(own));
    }
    return { kind: 'node', node: { name, op: 'nothing' }, output };
  };
}

/** Does a variable keep its value? */
export const isInvariant = (loop: Loop, index: number): boolean => {
  const next = loop.find(loop.variables[index]!.next);
  return next.kind === 'variable' && next.index === index;
};

/** The input around the loop that something inside of it always is. */
export function outerInput(loop: Loop, found: Inner): string | undefined {
  if (found.kind === 'outer') return found.input;
  return found.kind === 'variable' && isInvariant(loop, found.index) ? loop.variables[found.index]!.initial : undefined;
}

/** Name of the constant behind something inside of the loop. */
export function constantName(loop: Loop, found: Inner): string | undefined {
  if (found.kind === 'node') return found.node.op === 'Const' ? found.node.name : undefined;
  const input = outerInput(loop, found);
  return input === undefined ? undefined : rootOf(loop.outer, input);
}

export function constantAt(loop: Loop, found: Inner, constants: Constants): Constant | undefined {
  const name = constantName(loop, found);
  return name === undefined ? undefined : constants.get(name); // a damaged file may have a weight without a name
}

/** A single int32. */
export function integerOf(constant: Constant | undefined): number | undefined {
  if (constant?.dtype !== 'int32' || constant.shape.some((size) => size !== 1)) return undefined;
  return constant.integers()[0];
}
