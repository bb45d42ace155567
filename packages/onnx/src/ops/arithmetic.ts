/** Elementwise operators: types of their results, and in plain JavaScript what shape arithmetic needs of them. */

import { BOOL, INT32, INT64, isFloat } from '../data-types.ts';
import { countOf } from '../dims.ts';
import { HOST_TYPES, type Info, isKnown, type Size, type Symbols } from '../ir/info.ts';
import { combine, repeated, repeater, stored, zip } from './host.ts';
import { broadcast, type NodeView, type Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

interface Binary {
  /** On elements. Absent: floats only, not in plain JavaScript. */
  readonly compute?: (a: number, b: number, elemType: number) => number;
  /** What is known without knowing a size. */
  readonly symbolic?: (a: Size, b: Size, symbols: Symbols) => Size | undefined;
  readonly compares?: boolean;
}

const isWhole = (elemType: number): boolean => elemType === INT32 || elemType === INT64;

const nothing = (): undefined => undefined;
const isSize = (size: Size): boolean => typeof size === 'string' || size >= 0;
/** Sizes are at least 0, whatever they are. */
const sameOrNegative = (a: Size, b: Size): Size | undefined =>
  a === b ? 1 : (typeof a === 'number' && a < 0) || (typeof b === 'number' && b < 0) ? 0 : undefined;

const BINARY: Readonly<Record<string, Binary>> = {
  Add: {
    compute: (a, b) => a + b,
    symbolic: (a, b, symbols) => (isSize(a) && isSize(b) ? symbols.sum(a, b) : undefined),
  },
  Sub: { compute: (a, b) => a - b, symbolic: (a, b, symbols) => symbols.rest(a, b) },
  Mul: {
    compute: (a, b) => a * b,
    symbolic: (a, b, symbols) =>
      isSize(a) && isSize(b) ? symbols.product([a, b]) : a === 1 ? b : b === 1 ? a : undefined,
  },
  Div: { compute: divide, symbolic: (a, b) => (b === 1 ? a : undefined) },
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

function divide(a: number, b: number, elemType: number): number {
  if (!isWhole(elemType)) return a / b;
  return b === 0 ? Number.NaN : Math.trunc(a / b);
}

/** The sign is the divisor's; of floats (`fmod`) the dividend's, which nothing here asks for. */
function modulo(a: number, b: number, elemType: number): number {
  return isWhole(elemType) && b !== 0 ? a - b * Math.floor(a / b) : Number.NaN;
}

interface Known {
  readonly dims: readonly number[];
  readonly data: readonly number[];
}
const isAllKnown = (info: Info): info is Info & Known => isKnown(info.dims) && isKnown(info.data);

function binary(name: string): Operator {
  const { compute, symbolic = nothing, compares = false } = BINARY[name]!;
  const infer = (node: NodeView, [a, b]: Inputs, symbols: Symbols): [Info] => {
    const operandType = a?.elemType || b?.elemType || 0;
    const elemType = compares ? BOOL : operandType;
    const dims = broadcast(node, [a?.dims, b?.dims], symbols);
    if (!compute || !a?.data || !b?.data || !isKnown(dims)) return [{ elemType, dims }];
    if (!isFloat(operandType) && name === 'Div' && b.data.includes(0)) node.fail('divisor', 'none of 0', '0');
    const numbers = (x: number, y: number): number =>
      compares ? compute(x, y, operandType) : stored(compute(x, y, operandType), elemType);
    if (isAllKnown(a) && isAllKnown(b)) return [{ elemType, dims, data: combine(a, b, dims, numbers) }];
    const operands = [a, b].map((each) => repeated(each.data!, each.dims as number[], dims));
    const open = (x: Size, y: Size): Size | undefined => symbolic(x, y, symbols);
    const data = zip(operands[0]!, operands[1]!, elemType, (x, y) => compute(x, y, operandType), open);
    return [{ elemType, dims, data }];
  };
  return { name, infer, host: compute !== undefined };
}

/** Min and Max take any number of operands. */
function variadic(name: 'Min' | 'Max' | 'Sum'): Operator {
  const pair = binary(name === 'Sum' ? 'Add' : name);
  return {
    name,
    host: true,
    infer: (node, inputs, symbols) => [inputs.reduce((a, b) => pair.infer(node, [a, b], symbols)[0])],
  };
}

interface Unary {
  readonly compute?: (a: number) => number;
}

const UNARY: Readonly<Record<string, Unary>> = {
  Neg: { compute: (a) => -a },
  Abs: { compute: Math.abs },
  Floor: { compute: Math.floor },
  Ceil: { compute: Math.ceil },
  Sqrt: { compute: Math.sqrt },
  Not: { compute: (a) => (a === 0 ? 1 : 0) },
  // Of distances, which T5 puts into buckets. Engines agree on it once it is rounded to float.
  Log: { compute: Math.log },
  Reciprocal: {},
  Exp: {},
  Erf: {},
  Tanh: {},
  Sigmoid: {},
  Sin: {},
  Cos: {},
  Relu: {},
  LeakyRelu: {},
  Elu: {},
  Softplus: {},
  Softsign: {},
  Gelu: {},
  HardSigmoid: {},
  HardSwish: {},
  Round: {},
  Sign: {},
  Clip: {},
  'com.microsoft.QuickGelu': {},
  'com.microsoft.Gelu': {},
  // Their second operand is a bias [N].
  'com.microsoft.FastGelu': {},
  'com.microsoft.BiasGelu': {},
};

function unary(name: string): Operator {
  const { compute } = UNARY[name]!;
  const infer = (_: NodeView, [x]: Inputs): [Info | undefined] => {
    if (!x) return [undefined];
    const { elemType, dims } = x;
    const data = compute && isKnown(x.data) ? x.data.map((value) => stored(compute(value), elemType)) : undefined;
    return [{ elemType, dims, data }];
  };
  return { name, infer, host: compute !== undefined };
}

const cast = (node: NodeView, [x]: Inputs): [Info] => [castTo(x, node.int('to', 0))];

function castTo(x: Info | undefined, elemType: number): Info {
  // Symbols are sizes: every whole type holds them as they are.
  const data = isKnown(x?.data)
    ? x.data.map((value) => stored(value, elemType))
    : isWhole(elemType)
      ? x?.data
      : undefined;
  return { elemType, dims: x?.dims, data: HOST_TYPES.has(elemType) ? data : undefined };
}

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

export const arithmeticOperators: readonly Operator[] = [
  ...Object.keys(BINARY)
    .filter((name) => name !== 'Min' && name !== 'Max')
    .map(binary),
  variadic('Min'),
  variadic('Max'),
  variadic('Sum'),
  ...Object.keys(UNARY).map(unary),
  { name: 'IsNaN', infer: (_, [x]) => [{ elemType: BOOL, dims: x?.dims }] },
  { name: 'Cast', infer: cast, host: true },
  { name: 'CastLike', infer: (_, [x, like]) => [castTo(x, like?.elemType ?? 0)] },
  { name: 'Where', infer: where, host: true },
];
