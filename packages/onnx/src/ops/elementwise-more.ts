/** Operators that work element by element, and that fewer graphs have. */
import type { FunctionId } from '@msd/core/nn';
import { dataTypeName, isFloat } from '../data-types.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { moreArithmeticOperators } from './arithmetic-more.ts';
import { type Kind, type Mapping, sameFloats, unary, withMatches } from './elementwise.ts';
import { expressionMatch } from './expression.ts';
import type { NodeView, Operator } from './operator.ts';

const logic = (fn: FunctionId, count = 2): Mapping => ({ fn, operands: new Array<Kind>(count).fill('bool') });
const valued = (fn: FunctionId, defaults: Readonly<Record<string, number>>): Mapping => ({
  fn,
  operands: ['f32'],
  values: (view) => Object.entries(defaults).map(([name, value]) => view.float(name, value)),
  attributes: Object.keys(defaults),
});

const MAPPINGS: Readonly<Record<string, Mapping>> = {
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

/** What limits are that are left out: infinities become numbers. */
const LARGEST = 3.4028234663852886e38;

/** Limits are attributes up to version 10, operands afterwards; either may be left out. */
function matchClip(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', min = '', max = ''] = view.version < 11 ? node.inputs.slice(0, 1) : node.inputs;
  const names = [x, min, max].filter((name) => name !== '');
  const refused = notFloats(matcher, names);
  if (refused !== undefined) return refused;
  const isOld = view.version < 11;
  const [least, most] = isOld ? [view.float('min', -LARGEST), view.float('max', LARGEST)] : [-LARGEST, LARGEST];
  return expressionMatch(matcher, [node], names, (to, [value, ...limits]) => {
    const low = min === '' ? to.number(least) : limits.shift()!;
    to.add('Clip', [value!, low, limits[0] ?? to.number(most)]);
  });
}

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
  CastLike: { match: matchCastLike, attributes: ['saturate'] },
  Gelu: { match: matchGelu, attributes: ['approximate'] },
  'com.microsoft.FastGelu': { match: matchBiased('GeluTanh') },
  'com.microsoft.BiasGelu': { match: matchBiased('Gelu') },
};

export const moreElementwiseOperators: readonly Operator[] = /* @__PURE__ */ withMatches(
  moreArithmeticOperators,
  MAPPINGS,
  OWN,
);
