/** The parts of an entry in the table of elementwise functions. */
import type { DType } from '../../ops/op.ts';
import { scalarLanes } from './lanes.reference.ts';
import type { MoreLanes } from './lanes.ts';

type Contract = <V>(f: MoreLanes<V>, args: readonly V[], values: readonly number[]) => V;
/** Floats in float64, ints, bools as 0 and 1. */
type Reference = (args: readonly number[], values: readonly number[]) => number;
type Ulps = (args: readonly number[], values: readonly number[]) => number;

/** A function of arguments of certain types. */
export interface Form {
  readonly args: readonly DType[];
  readonly result: DType;
  readonly contract: Contract;
  readonly reference: Reference;
}

export interface ElementwiseFunction {
  /** One for each combination of types. */
  readonly forms: readonly Form[];
  /** Names of the numbers that it takes besides its arguments. */
  readonly values?: readonly string[] | undefined;
  /**
   * Largest error of the f32 contract in units in the last place of the float64 value, for finite arguments; tested on
   * a dense sample of all bit patterns. Absent: a few rounded operations, as the contract says.
   */
  readonly ulps?: Ulps | undefined;
}

export const form = (args: readonly DType[], result: DType, contract: Contract, reference: Reference): Form => ({
  args,
  result,
  contract,
  reference,
});

/** For ints and bools, mathematics and contract are the same. */
const exact = (args: readonly DType[], result: DType, contract: Contract): Form =>
  form(args, result, contract, (given, values) => contract(scalarLanes, given, values));

interface Described {
  readonly values?: readonly string[];
  readonly ulps?: number | Ulps;
}
type Unary = <V>(f: MoreLanes<V>, x: V, values: readonly number[]) => V;
type Binary = <V>(f: MoreLanes<V>, a: V, b: V) => V;
type Ternary = <V>(f: MoreLanes<V>, a: V, b: V, c: V) => V;

function described(
  arity: number,
  { values, ulps }: Described,
  f32: [Contract, Reference] | undefined,
  i32?: Contract,
): ElementwiseFunction {
  const all = (type: DType) => new Array<DType>(arity).fill(type);
  return {
    forms: [...(f32 ? [form(all('f32'), 'f32', ...f32)] : []), ...(i32 ? [exact(all('i32'), 'i32', i32)] : [])],
    values,
    ulps: typeof ulps === 'number' ? () => ulps : ulps,
  };
}

type Of<Contract32, Reference64> = Described &
  ({ readonly f32: Contract32; readonly f64: Reference64 } | { readonly f32?: never; readonly f64?: never }) & {
    readonly i32?: Contract32;
  };

/** Of one argument, and numbers that come with the function. */
export function unary({
  f32,
  f64,
  i32,
  ...more
}: Of<Unary, (x: number, values: readonly number[]) => number>): ElementwiseFunction {
  const contract =
    (of: Unary): Contract =>
    (f, [x], values) =>
      of(f, x, values);
  return described(1, more, f32 && [contract(f32), ([x], values) => f64(x, values)], i32 && contract(i32));
}

export function binary({ f32, f64, i32, ...more }: Of<Binary, (a: number, b: number) => number>): ElementwiseFunction {
  const contract =
    (of: Binary): Contract =>
    (f, [a, b]) =>
      of(f, a, b);
  return described(2, more, f32 && [contract(f32), ([a, b]) => f64(a, b)], i32 && contract(i32));
}

export function ternary({
  f32,
  f64,
  i32,
  ...more
}: Of<Ternary, (a: number, b: number, c: number) => number>): ElementwiseFunction {
  const contract =
    (of: Ternary): Contract =>
    (f, [a, b, c]) =>
      of(f, a, b, c);
  return described(3, more, f32 && [contract(f32), ([a, b, c]) => f64(a, b, c)], i32 && contract(i32));
}

/** Of two values of one type, a bool. */
export const compare = (of: Partial<Readonly<Record<DType, Binary>>>): ElementwiseFunction => ({
  forms: (Object.entries(of) as [DType, Binary][]).map(([type, compared]) =>
    exact([type, type], 'bool', (f, [a, b]) => compared(f, a, b)),
  ),
});

/** Of a float, a bool. */
export const test = (of: Unary, reference: (x: number) => boolean): ElementwiseFunction => ({
  forms: [
    form(
      ['f32'],
      'bool',
      (f, [x], values) => of(f, x, values),
      ([x]) => +reference(x),
    ),
  ],
});

/** Of bools, a bool. */
export const logic = (arity: number, contract: Contract): ElementwiseFunction => ({
  forms: [exact(new Array<DType>(arity).fill('bool'), 'bool', contract)],
});

/** From each other type, and from this one as it is. */
export const cast = (
  to: DType,
  from: Partial<Readonly<Record<DType, readonly [Unary, (x: number) => number]>>>,
): ElementwiseFunction => ({
  forms: [
    ...(Object.entries(from) as [DType, [Unary, (x: number) => number]][]).map(([type, [contract, reference]]) =>
      form(
        [type],
        to,
        (f, [x], values) => contract(f, x, values),
        ([x]) => reference(x),
      ),
    ),
    form(
      [to],
      to,
      (_, [x]) => x,
      ([x]) => x,
    ),
  ],
  ulps: () => 0.5,
});

/** Of nothing: the number that comes with it. */
export const constant = (type: DType, of: <V>(f: MoreLanes<V>, value: number) => V): ElementwiseFunction => ({
  forms: [
    form(
      [],
      type,
      (f, _, [value]) => of(f, value),
      (_, [value]) => (type === 'bool' ? +(value !== 0) : value),
    ),
  ],
  values: ['value'],
  ulps: () => 0,
});
