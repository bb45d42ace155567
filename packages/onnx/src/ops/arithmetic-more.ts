/** Elementwise operators that fewer graphs have: as arithmetic.ts. */

import { BOOL } from '../data-types.ts';
import { countOf } from '../dims.ts';
import { type Info, isKnown, type Size, type Symbols } from '../ir/info.ts';
import { arithmeticOperators, type Binary, binary, castTo, isWhole, unary } from './arithmetic.ts';
import { repeater } from './host.ts';
import { broadcast, type NodeView, type Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

/** Sizes are at least 0, whatever they are. */
const sameOrNegative = (a: Size, b: Size): Size | undefined =>
  a === b ? 1 : (typeof a === 'number' && a < 0) || (typeof b === 'number' && b < 0) ? 0 : undefined;

const BINARY: Readonly<Record<string, Binary>> = {
  Mod: { compute: (a, b, elemType) => modulo(a, b, elemType) },
  Min: { compute: (a, b) => Math.min(a, b), symbolic: (a, b) => (a === b ? a : undefined) },
  Max: { compute: (a, b) => Math.max(a, b), symbolic: (a, b) => (a === b ? a : undefined) },
  Equal: { compute: (a, b) => +(a === b), symbolic: sameOrNegative, compares: true },
  Less: { compute: (a, b) => +(a < b), compares: true },
  LessOrEqual: { compute: (a, b) => +(a <= b), compares: true },
  Greater: { compute: (a, b) => +(a > b), compares: true },
  GreaterOrEqual: { compute: (a, b) => +(a >= b), compares: true },
  And: { compute: (a, b) => a & b, compares: true },
  Or: { compute: (a, b) => a | b, compares: true },
  Xor: { compute: (a, b) => a ^ b, compares: true },
  Pow: {},
};

/** The sign is the divisor's; of floats (`fmod`) the dividend's, which nothing here asks for. */
function modulo(a: number, b: number, elemType: number): number {
  return isWhole(elemType) && b !== 0 ? a - b * Math.floor(a / b) : Number.NaN;
}

const sum = /* @__PURE__ */ arithmeticOperators.find(({ name }) => name === 'Add')!;

/** Min and Max take any number of operands. */
function variadic(name: 'Min' | 'Max' | 'Sum'): Operator {
  const pair = name === 'Sum' ? sum : binary(name, BINARY[name]!);
  return {
    name,
    host: true,
    infer: (node, inputs, symbols) => [inputs.reduce((a, b) => pair.infer(node, [a, b], symbols)[0])],
  };
}

const UNARY: Readonly<Record<string, ((a: number) => number) | undefined>> = {
  Neg: (a) => -a,
  Abs: Math.abs,
  Floor: Math.floor,
  Ceil: Math.ceil,
  Sqrt: Math.sqrt,
  Not: (a) => (a === 0 ? 1 : 0),
  // Of distances, which T5 puts into buckets. Engines agree on it once it is rounded to float.
  Log: Math.log,
  Reciprocal: undefined,
  Exp: undefined,
  Erf: undefined,
  Tanh: undefined,
  Sin: undefined,
  Cos: undefined,
  Relu: undefined,
  LeakyRelu: undefined,
  Elu: undefined,
  Softplus: undefined,
  Softsign: undefined,
  Gelu: undefined,
  HardSigmoid: undefined,
  HardSwish: undefined,
  Round: undefined,
  Sign: undefined,
  Clip: undefined,
  'com.microsoft.QuickGelu': undefined,
  'com.microsoft.Gelu': undefined,
  // Their second operand is a bias [N].
  'com.microsoft.FastGelu': undefined,
  'com.microsoft.BiasGelu': undefined,
};

function where(node: NodeView, [condition, a, b]: Inputs, symbols: Symbols): [Info] {
  const elemType = a?.elemType || b?.elemType || 0;
  const dims = broadcast(node, [condition?.dims, a?.dims, b?.dims], symbols);
  if (!isKnown(condition?.data) || !a?.data || !b?.data || !isKnown(dims)) return [{ elemType, dims }];
  const [is, yes, no] = [condition!, a, b].map((info) => repeater(info.data!, info.dims as number[], dims)) as [
    (i: number) => Size,
    (i: number) => Size,
    (i: number) => Size,
  ];
  const data = new Array<Size>(countOf(dims));
  for (let i = 0; i < data.length; i++) data[i] = is(i) ? yes(i) : no(i);
  return [{ elemType, dims, data }];
}

export const moreArithmeticOperators: readonly Operator[] = [
  ...Object.keys(BINARY)
    .filter((name) => name !== 'Min' && name !== 'Max')
    .map((name) => binary(name, BINARY[name]!)),
  variadic('Min'),
  variadic('Max'),
  variadic('Sum'),
  ...Object.entries(UNARY).map(([name, compute]) => unary(name, compute)),
  { name: 'IsNaN', infer: (_, [x]) => [{ elemType: BOOL, dims: x?.dims }] },
  { name: 'CastLike', infer: (_, [x, like]) => [castTo(x, like?.elemType ?? 0)] },
  { name: 'Where', infer: where, host: true },
];
