/** Expressions of functions that work element by element: one step of the device, however many nodes they stand for. */
import type { Elementwise, ElementwiseNode, FunctionId } from '@msd/core/nn';
import { isFloat } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { emitExpression } from './emit-expression.ts';
import type { Lowering, Slot } from './lowering.ts';

/** Operands of an expression, as values of JavaScript or slots. */
interface Operands {
  readonly inputs: readonly string[];
  /** In the order of the node's operands: the number of an input, or a constant. */
  readonly args: readonly (number | { readonly constant: number })[];
}

/** Scalars of the file become part of the expression, everything else is an input. */
function operandsOf(matcher: Matcher, names: readonly string[]): Operands {
  const rankOf = (name: string): number => matcher.info(name)?.dims?.length ?? 0;
  const most = Math.max(...names.map((name) => (matcher.isConstant(name) ? 0 : rankOf(name))));
  const isInline = (name: string): boolean =>
    matcher.scalar(name) !== undefined && isFloat(matcher.info(name)!.elemType) && rankOf(name) <= most;
  const rest = names.filter((name) => !isInline(name));
  const inputs = [...new Set(rest.length > 0 ? rest : names.slice(0, 1))];
  const args = names.map((name) => {
    const at = inputs.indexOf(name);
    return at >= 0 ? at : { constant: matcher.scalar(name)! };
  });
  return { inputs, args };
}

/** Builds an expression node by node; values are numbered as in {@link Elementwise}. */
export class Expression {
  readonly nodes: ElementwiseNode[] = [];
  readonly #inputs: number;

  constructor(inputs: number) {
    this.#inputs = inputs;
  }

  add(fn: FunctionId, args: readonly number[], values?: readonly number[]): number {
    this.nodes.push({ fn, args, ...(values && values.length > 0 && { values }) });
    return this.#inputs + this.nodes.length - 1;
  }

  /** A constant. */
  number(value: number): number {
    return this.add('ConstantF32', [], [value]);
  }

  /** Numbers of the operands; constants become nodes. */
  args({ args }: Operands): number[] {
    return args.map((arg) => (typeof arg === 'number' ? arg : this.number(arg.constant)));
  }

  get op(): Elementwise {
    return { nodes: this.nodes, outputs: [this.#inputs + this.nodes.length - 1] };
  }
}

/** An expression of one operand, number 0. */
export function expressionOf(build: (to: Expression, x: number) => void): Elementwise {
  const expression = new Expression(1);
  build(expression, 0);
  return expression.op;
}

/** A match of one elementwise expression. */
export function expressionMatch(
  matcher: Matcher,
  nodes: readonly GraphNode[],
  names: readonly string[],
  build: (to: Expression, args: readonly number[]) => void,
): Match {
  const operands = operandsOf(matcher, names);
  const { inputs } = operands;
  const expression = new Expression(inputs.length);
  build(expression, expression.args(operands));
  const { op } = expression;
  const outputs = [nodes.at(-1)!.outputs[0]!];
  return {
    op: 'elementwise',
    place: 'device',
    nodes,
    inputs,
    outputs,
    resources: matcher.constants(inputs),
    lower(to: Lowering) {
      const slots: Slot[] = inputs.map((name) => to.slot(name));
      emitExpression(to, op, slots, outputs[0]!);
    },
  };
}

/** Codes less their zero point, as an expression of them. */
export const withoutZero = (zeroPoint: number): Elementwise | undefined =>
  zeroPoint === 0 ? undefined : expressionOf((to, x) => to.add('Sub', [x, to.number(zeroPoint)]));
