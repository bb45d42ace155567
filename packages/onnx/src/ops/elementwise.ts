/** Operators that work element by element, operands repeated to one shape, and the chains of them that spell one function. */
import { type Elementwise, type ElementwiseNode, elementwise, type FunctionId } from '@msd/core/nn';
import { isCarried } from '../carried.ts';
import { BOOL, dataTypeName, INT32, INT64, isFloat } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Match, Matcher } from '../passes/match.ts';
import { arithmeticOperators } from './arithmetic.ts';
import { emitOp, type Lowering, type Slot } from './lowering.ts';
import { type NodeView, type Operator, otherOperand, type Pattern } from './operator.ts';
import { aliasMatch } from './shape.ts';

type Kind = 'f32' | 'bool' | 'number';

/** How a node becomes one function: the types of its operands, and the numbers beside them. */
interface Mapping {
  readonly fn: FunctionId;
  readonly operands: readonly Kind[];
  readonly values?: (view: NodeView) => readonly number[];
  readonly attributes?: readonly string[];
}

const unary = (fn: FunctionId): Mapping => ({ fn, operands: ['f32'] });
const binary = (fn: FunctionId): Mapping => ({ fn, operands: ['f32', 'f32'] });
const logic = (fn: FunctionId, count = 2): Mapping => ({ fn, operands: new Array<Kind>(count).fill('bool') });
const valued = (fn: FunctionId, defaults: Readonly<Record<string, number>>): Mapping => ({
  fn,
  operands: ['f32'],
  values: (view) => Object.entries(defaults).map(([name, value]) => view.float(name, value)),
  attributes: Object.keys(defaults),
});

const MAPPINGS: Readonly<Record<string, Mapping>> = {
  Add: binary('Add'),
  Sub: binary('Sub'),
  Mul: binary('Mul'),
  Div: binary('Div'),
  Equal: { fn: 'Equal', operands: ['number', 'number'] },
  Less: { fn: 'Less', operands: ['number', 'number'] },
  LessOrEqual: { fn: 'LessOrEqual', operands: ['number', 'number'] },
  Greater: { fn: 'Greater', operands: ['number', 'number'] },
  GreaterOrEqual: { fn: 'GreaterOrEqual', operands: ['number', 'number'] },
  And: logic('And'),
  Or: logic('Or'),
  Xor: logic('Xor'),
  Not: logic('Not', 1),
  Where: { fn: 'Where', operands: ['bool', 'f32', 'f32'] },
  Abs: unary('Abs'),
  Neg: unary('Neg'),
  Sign: unary('Sign'),
  Floor: unary('Floor'),
  Ceil: unary('Ceil'),
  Round: unary('Round'),
  Sqrt: unary('Sqrt'),
  Reciprocal: unary('Reciprocal'),
  Exp: unary('Exp'),
  Log: unary('Log'),
  Erf: unary('Erf'),
  Sin: unary('Sin'),
  Cos: unary('Cos'),
  Tanh: unary('Tanh'),
  Sigmoid: unary('Sigmoid'),
  Relu: unary('Relu'),
  Softplus: unary('Softplus'),
  Softsign: unary('Softsign'),
  HardSwish: unary('HardSwish'),
  IsNaN: unary('IsNaN'),
  LeakyRelu: valued('LeakyRelu', { alpha: 0.01 }),
  Elu: valued('Elu', { alpha: 1 }),
  HardSigmoid: valued('HardSigmoid', { alpha: 0.2, beta: 0.5 }),
  'com.microsoft.QuickGelu': valued('QuickGelu', { alpha: 1.702 }),
  'com.microsoft.Gelu': unary('Gelu'),
};

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

  /** Numbers of the operands; constants become nodes. */
  args({ args }: Operands): number[] {
    return args.map((arg) => (typeof arg === 'number' ? arg : this.add('ConstantF32', [], [arg.constant])));
  }

  get op(): Elementwise {
    return { nodes: this.nodes, outputs: [this.#inputs + this.nodes.length - 1] };
  }
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
      emitOp(to, elementwise, op, slots, outputs);
    },
  };
}

function refusedOperand(matcher: Matcher, what: string, name: string, kind: Kind): string | undefined {
  const elemType = matcher.info(name)?.elemType ?? 0;
  if (isFloat(elemType) && kind !== 'bool') return matcher.notFloat(what, name);
  if (kind === 'number' && isWide(matcher, name)) return `${what} is int64`;
  const isFine = kind === 'bool' ? elemType === BOOL : kind === 'number' && matcher.isInteger(name);
  return isFine ? undefined : `${what} is ${elemType === 0 ? 'of unknown type' : dataTypeName(elemType)}`;
}

/** int64 beyond 32 bits would not fit on the device; what JavaScript has at hand are masks, positions and sizes. */
function isWide(matcher: Matcher, name: string): boolean {
  return matcher.info(name)?.elemType === INT64 && !matcher.isConstant(name) && !matcher.isHostOperand(name);
}

/** The node itself as one function. */
function matchMapping(mapping: Mapping): Operator['match'] {
  return (view, matcher) => {
    const { node } = view;
    const names = node.inputs.slice(0, mapping.operands.length);
    for (const [i, kind] of mapping.operands.entries()) {
      const refused = refusedOperand(matcher, `operand ${i}`, names[i] ?? '', kind);
      if (refused !== undefined) return refused;
    }
    const values = mapping.values?.(view);
    return expressionMatch(matcher, [node], names, (to, args) => to.add(mapping.fn, args, values));
  };
}

function notFloats(matcher: Matcher, names: readonly string[]): string | undefined {
  for (const [i, name] of names.entries()) {
    const refused = matcher.notFloat(`operand ${i}`, name);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

/** Min, Max, Sum: any number of operands. */
function matchVariadic(fn: FunctionId): Operator['match'] {
  return ({ node }, matcher) => {
    const refused = notFloats(matcher, node.inputs);
    if (refused !== undefined) return refused;
    return expressionMatch(matcher, [node], node.inputs, (to, args) => {
      let value = args[0]!;
      if (args.length === 1) to.add('CastToF32', [value]);
      for (const arg of args.slice(1)) value = to.add(fn, [value, arg]);
    });
  };
}

function matchPow({ node }: NodeView, matcher: Matcher): Match | string {
  const [x = '', y = ''] = node.inputs;
  const refused = matcher.notFloat('x', x);
  if (refused !== undefined) return refused;
  const exponent = matcher.scalar(y);
  if (exponent !== undefined && (matcher.info(y)!.dims?.length ?? 0) <= (matcher.info(x)?.dims?.length ?? 0))
    return expressionMatch(matcher, [node], [x], (to, [value]) => to.add('PowConstant', [value!], [exponent]));
  return matcher.notFloat('y', y) ?? expressionMatch(matcher, [node], [x, y], (to, args) => to.add('Pow', args));
}

/** Limits are attributes up to version 10, operands afterwards; either may be left out. */
function matchClip(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', min = '', max = ''] = node.inputs;
  const names = view.version < 11 ? [x] : [x, min, max].filter((name) => name !== '');
  const refused = notFloats(matcher, names);
  if (refused !== undefined) return refused;
  if (names.length === 3) return expressionMatch(matcher, [node], names, (to, args) => to.add('Clip', args));
  if (names.length === 2)
    return expressionMatch(matcher, [node], names, (to, args) => to.add(min === '' ? 'Min' : 'Max', args));
  const limits = [view.float('min', -3.4028234663852886e38), view.float('max', 3.4028234663852886e38)];
  return expressionMatch(matcher, [node], names, (to, [value]) =>
    view.version < 11
      ? to.add('Clip', [value!, ...limits.map((limit) => to.add('ConstantF32', [], [limit]))])
      : to.add('CastToF32', [value!]),
  );
}

function matchCast(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = ''] = node.inputs;
  const from = matcher.info(x)?.elemType ?? 0;
  const to = view.int('to', 0);
  const isF32 = isFloat(from) || isCarried(from);
  if (!isF32 && ![BOOL, INT32, INT64].includes(from)) return `x is ${dataTypeName(from)}`;
  if (!isFloat(to) && to !== BOOL) return `to ${dataTypeName(to)}`;
  if (isWide(matcher, x)) return 'x is int64';
  if (isF32 && isFloat(to)) return sameFloats(view, matcher);
  const refused = isF32 ? matcher.notMovable(x) : undefined;
  if (refused !== undefined) return refused;
  return expressionMatch(matcher, [node], [x], (expression, args) =>
    expression.add(isFloat(to) ? 'CastToF32' : 'CastToBool', args),
  );
}

/** The device has one type for all of them: nothing is rounded but what leaves. */
const sameFloats = /* @__PURE__ */ aliasMatch(
  'cast',
  (_, [x]) => [x],
  () => [],
);

/** To the type that another value has: of floats, nothing. */
function matchCastLike(view: NodeView, matcher: Matcher): Match | string {
  const [x = '', like = ''] = view.node.inputs;
  const type = matcher.info(like)?.elemType ?? 0;
  if (!isFloat(type)) return `target is ${type === 0 ? 'of unknown type' : dataTypeName(type)}`;
  return matcher.notFloat('x', x) ?? sameFloats(view, matcher);
}

/** x, then a bias that is added first, if there is one. */
function matchBiased(fn: FunctionId): Operator['match'] {
  return ({ node }, matcher) => {
    const names = node.inputs.filter((name) => name !== '');
    return (
      notFloats(matcher, names) ??
      expressionMatch(matcher, [node], names, (to, args) =>
        to.add(fn, [args.length === 2 ? to.add('Add', args) : args[0]!]),
      )
    );
  };
}

function matchGelu(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const approximate = view.string('approximate', 'none');
  if (approximate !== 'none' && approximate !== 'tanh') return `approximate is '${approximate}'`;
  const [x = ''] = node.inputs;
  return (
    matcher.notFloat('x', x) ??
    expressionMatch(matcher, [node], [x], (to, args) => to.add(approximate === 'tanh' ? 'GeluTanh' : 'Gelu', args))
  );
}

const OWN: Readonly<Record<string, Pick<Operator, 'match' | 'attributes'>>> = {
  Min: { match: matchVariadic('Min') },
  Max: { match: matchVariadic('Max') },
  Sum: { match: matchVariadic('Add') },
  Pow: { match: matchPow },
  Clip: { match: matchClip, attributes: ['min', 'max'] },
  Cast: { match: matchCast, attributes: ['to', 'saturate'] },
  CastLike: { match: matchCastLike, attributes: ['saturate'] },
  Gelu: { match: matchGelu, attributes: ['approximate'] },
  'com.microsoft.FastGelu': { match: matchBiased('GeluTanh') },
  'com.microsoft.BiasGelu': { match: matchBiased('Gelu') },
};

export const elementwiseOperators: readonly Operator[] = arithmeticOperators.map((operator) => {
  const mapping = MAPPINGS[operator.name];
  const own = mapping && { match: matchMapping(mapping), attributes: mapping.attributes ?? [] };
  return { ...operator, ...(OWN[operator.name] ?? own) };
});

/** Constants of spelt-out functions are rounded by their writers. */
const isNear = (value: number | undefined, expected: number): boolean =>
  value !== undefined && Math.abs(value - expected) <= 1e-4 * Math.abs(expected);

/** The node whose result alone `name` goes to, if it is this operation with a constant near `value`. */
function nextWith(matcher: Matcher, name: string, opType: string, value: number): GraphNode | undefined {
  const node = matcher.soleConsumer(name);
  const other = otherOperand(node, opType, name);
  return other !== undefined && isNear(matcher.scalar(other), value) ? node : undefined;
}

/** The node that makes `name` as this operation of something and a constant near `value`, and that something. */
function madeWith(
  matcher: Matcher,
  name: string,
  opType: string,
  value: number,
): { readonly node: GraphNode; readonly x: string } | undefined {
  const node = matcher.producer(name);
  if (node?.domain !== '' || node.opType !== opType || node.inputs.length !== 2) return undefined;
  const [a = '', b = ''] = node.inputs;
  if (isNear(matcher.scalar(b), value)) return { node, x: a };
  return opType !== 'Div' && isNear(matcher.scalar(a), value) ? { node, x: b } : undefined;
}

/** A chain as one function of x. */
function chain(
  matcher: Matcher,
  fn: FunctionId,
  x: string,
  nodes: readonly GraphNode[],
  values?: readonly number[],
): Match | undefined {
  if (matcher.notFloat('x', x) !== undefined) return undefined;
  const sorted = [...nodes].sort((a, b) => a.index - b.index);
  if (!matcher.isClosed(sorted)) return undefined;
  return expressionMatch(matcher, sorted, [x], (to, args) => to.add(fn, args, values));
}

/** x · sigmoid(x), and x · sigmoid(1.702 · x). */
const sigmoidChain: Pattern = (matcher, node) => {
  const [inner = ''] = node.inputs;
  const [sigmoid = ''] = node.outputs;
  const last = matcher.soleConsumer(sigmoid);
  const x = otherOperand(last, 'Mul', sigmoid);
  if (x === undefined) return undefined;
  if (x === inner) return chain(matcher, 'Silu', x, [node, last!]);
  const scaled = madeWith(matcher, inner, 'Mul', 1.702);
  return scaled?.x === x ? chain(matcher, 'QuickGelu', x, [scaled.node, node, last!], [1.702]) : undefined;
};

/**
 * What comes after the inner function of a Gelu: (1 + inner) times x and ½, in any order.
 *
 * @returns the nodes, `undefined` if it is something else
 */
function geluTail(matcher: Matcher, inner: string, x: string): GraphNode[] | undefined {
  const sum = nextWith(matcher, inner, 'Add', 1);
  if (!sum) return undefined;
  const [s = ''] = sum.outputs;
  const first = matcher.soleConsumer(s);
  const other = otherOperand(first, 'Mul', s);
  if (other === undefined) return undefined;
  const [product = ''] = first!.outputs;
  if (isNear(matcher.scalar(other), 0.5)) {
    const second = matcher.soleConsumer(product);
    return otherOperand(second, 'Mul', product) === x ? [sum, first!, second!] : undefined;
  }
  if (other === x) {
    const second = nextWith(matcher, product, 'Mul', 0.5);
    return second && [sum, first!, second];
  }
  const half = madeWith(matcher, other, 'Mul', 0.5);
  return half?.x === x ? [sum, half.node, first!] : undefined;
}

/** x · ½ · (1 + erf(x / √2)). */
const erfChain: Pattern = (matcher, node) => {
  const [inner = ''] = node.inputs;
  const scaled = madeWith(matcher, inner, 'Div', Math.SQRT2) ?? madeWith(matcher, inner, 'Mul', Math.SQRT1_2);
  if (!scaled) return undefined;
  const tail = geluTail(matcher, node.outputs[0]!, scaled.x);
  return tail && chain(matcher, 'Gelu', scaled.x, [scaled.node, node, ...tail]);
};

/** x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³))). */
const tanhChain: Pattern = (matcher, node) => {
  const scaled = madeWith(matcher, node.inputs[0]!, 'Mul', Math.sqrt(2 / Math.PI));
  const sum = scaled && matcher.producer(scaled.x);
  if (sum?.opType !== 'Add') return undefined;
  for (const [x = '', term = ''] of [sum.inputs, sum.inputs.toReversed()]) {
    const cubed = madeWith(matcher, term, 'Mul', 0.044715);
    const power = cubed && madeWith(matcher, cubed.x, 'Pow', 3);
    if (power?.x !== x) continue;
    const tail = geluTail(matcher, node.outputs[0]!, x);
    if (tail) return chain(matcher, 'GeluTanh', x, [power.node, cubed!.node, sum, scaled!.node, node, ...tail]);
  }
  return undefined;
};

export const elementwisePatterns: Readonly<Record<string, Pattern>> = {
  Sigmoid: sigmoidChain,
  Erf: erfChain,
  Tanh: tanhChain,
};
