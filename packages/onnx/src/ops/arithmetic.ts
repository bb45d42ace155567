/**
 * Elementwise operators: types of their results, and in plain JavaScript what shape arithmetic needs of them. Those that nearly every
 * graph has; the others are in arithmetic-more.ts.
 */

import { BOOL, INT32, INT64, isFloat } from '../data-types.ts';
import { HOST_TYPES, type Info, int64Elements, isKnown, type Size, type Symbols, wideNumber } from '../ir/info.ts';
import { combine, repeated, stored, zip } from './host.ts';
import { broadcast, type NodeView, type Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

export interface Binary {
  /** On elements. Absent: floats only, not in plain JavaScript. */
  readonly compute?: (a: number, b: number, elemType: number) => number;
  /** What is known without knowing a size. */
  readonly symbolic?: (a: Size, b: Size, symbols: Symbols) => Size | undefined;
  readonly compares?: boolean;
}

export const isWhole = (elemType: number): boolean => elemType === INT32 || elemType === INT64;

const nothing = (): undefined => undefined;
const isSize = (size: Size): boolean => typeof size === 'string' || size >= 0;
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
};

function divide(a: number, b: number, elemType: number): number {
  if (!isWhole(elemType)) return a / b;
  return b === 0 ? Number.NaN : Math.trunc(a / b);
}

/** int64 as BigInts. */
type Wide = (a: bigint, b: bigint) => bigint;
const WIDE: Readonly<Record<string, Wide>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
  Mod: (a, b) => ((a % b) + b) % b,
};

/** Numbers of 64 bits: exactly where a double would round, around where int64 ends. */
const inWide =
  (exact: Wide, compute: NonNullable<Binary['compute']>) =>
  (a: number, b: number, elemType: number): number => {
    const result = compute(a, b, elemType);
    if ((Number.isSafeInteger(result) && Number.isSafeInteger(a) && Number.isSafeInteger(b)) || b === 0) return result;
    const [wideA = 0n, wideB = 0n] = int64Elements([a, b]);
    return wideNumber(BigInt.asIntN(64, exact(wideA, wideB)));
  };

interface Known {
  readonly dims: readonly number[];
  readonly data: readonly number[];
}
const isAllKnown = (info: Info): info is Info & Known => isKnown(info.dims) && isKnown(info.data);

export function binary(name: string, { compute, symbolic = nothing, compares = false }: Binary): Operator {
  const infer = (node: NodeView, [a, b]: Inputs, symbols: Symbols): [Info] => {
    const operandType = a?.elemType || b?.elemType || 0;
    const elemType = compares ? BOOL : operandType;
    const dims = broadcast(node, [a?.dims, b?.dims], symbols);
    if (!compute || !a?.data || !b?.data || !isKnown(dims)) return [{ elemType, dims }];
    if (!isFloat(operandType) && name === 'Div' && b.data.includes(0)) node.fail('divisor', 'none of 0', '0');
    const exact = operandType === INT64 && !compares ? WIDE[name] : undefined;
    const of = exact ? inWide(exact, compute) : compute;
    const numbers = (x: number, y: number): number =>
      compares ? compute(x, y, operandType) : stored(of(x, y, operandType), elemType);
    if (isAllKnown(a) && isAllKnown(b)) return [{ elemType, dims, data: combine(a, b, dims, numbers) }];
    const operands = [a, b].map((each) => repeated(each.data!, each.dims as number[], dims));
    const open = (x: Size, y: Size): Size | undefined => symbolic(x, y, symbols);
    const data = zip(operands[0]!, operands[1]!, elemType, (x, y) => of(x, y, operandType), open);
    return [{ elemType, dims, data }];
  };
  return { name, infer, host: compute !== undefined };
}

/** @param compute on elements. Absent: floats only, not in plain JavaScript. */
export function unary(name: string, compute?: (a: number) => number): Operator {
  const infer = (_: NodeView, [x]: Inputs): [Info | undefined] => {
    if (!x) return [undefined];
    const { elemType, dims } = x;
    const data = compute && isKnown(x.data) ? x.data.map((value) => stored(compute(value), elemType)) : undefined;
    return [{ elemType, dims, data }];
  };
  return { name, infer, host: compute !== undefined };
}

/** A float as a whole number: without what is behind the point, no further than its type reaches, 0 of NaN. */
function wholeOf(value: number, elemType: number): number {
  const end = elemType === INT32 ? 2 ** 31 : 2 ** 63;
  // The largest int64 is carried as 2^63.
  return Math.trunc(Math.min(Math.max(value || 0, -end), elemType === INT32 ? end - 1 : end));
}

const cast = (node: NodeView, [x]: Inputs): [Info] => [castTo(x, node.int('to', 0))];

export function castTo(x: Info | undefined, elemType: number): Info {
  // Symbols are sizes: every whole type holds them as they are.
  const number = isFloat(x?.elemType ?? 0) && isWhole(elemType) ? wholeOf : (value: number) => value;
  const data = isKnown(x?.data)
    ? x.data.map((value) => stored(number(value, elemType), elemType))
    : isWhole(elemType)
      ? x?.data
      : undefined;
  return { elemType, dims: x?.dims, data: HOST_TYPES.has(elemType) ? data : undefined };
}

export const arithmeticOperators: readonly Operator[] = [
  ...Object.entries(BINARY).map(([name, of]) => binary(name, of)),
  unary('Sigmoid'),
  { name: 'Cast', infer: cast, host: true },
];
