/** The parts of an entry in the table of elementwise functions. */
import type { DType } from '../../ops/op.ts';
import type { MoreLanes } from './lanes.ts';

type Contract = <V>(f: MoreLanes<V>, args: readonly V[], values: readonly number[]) => V;

/** A function of arguments of certain types. */
export interface Form {
  readonly args: readonly DType[];
  readonly result: DType;
  readonly contract: Contract;
}

export interface ElementwiseFunction {
  /** One for each combination of types. */
  readonly forms: readonly Form[];
  /** Names of the numbers that it takes besides its arguments. */
  readonly values?: readonly string[] | undefined;
}

export const form = (args: readonly DType[], result: DType, contract: Contract): Form => ({ args, result, contract });

type Unary = <V>(f: MoreLanes<V>, x: V, values: readonly number[]) => V;
type Binary = <V>(f: MoreLanes<V>, a: V, b: V) => V;
type Ternary = <V>(f: MoreLanes<V>, a: V, b: V, c: V) => V;

/** What a function of one type makes of floats and of ints; absent: it does not take them. */
interface Of<Contract32> {
  readonly values?: readonly string[];
  readonly f32?: Contract32;
  readonly i32?: Contract32;
}

function described<Of32>(
  arity: number,
  { values, f32, i32 }: Of<Of32>,
  contract: (of: Of32) => Contract,
): ElementwiseFunction {
  const forms = (Object.entries({ f32, i32 }) as [DType, Of32 | undefined][]).flatMap(([type, of]) =>
    of ? [form(new Array<DType>(arity).fill(type), type, contract(of))] : [],
  );
  return { forms, values };
}

/** Of one argument, and numbers that come with the function. */
export const unary = (of: Of<Unary>): ElementwiseFunction =>
  described(
    1,
    of,
    (one) =>
      (f, [x], values) =>
        one(f, x, values),
  );

export const binary = (of: Of<Binary>): ElementwiseFunction =>
  described(
    2,
    of,
    (one) =>
      (f, [a, b]) =>
        one(f, a, b),
  );

export const ternary = (of: Of<Ternary>): ElementwiseFunction =>
  described(
    3,
    of,
    (one) =>
      (f, [a, b, c]) =>
        one(f, a, b, c),
  );

/** Of two values of one type, a bool. */
export const compare = (of: Partial<Readonly<Record<DType, Binary>>>): ElementwiseFunction => ({
  forms: (Object.entries(of) as [DType, Binary][]).map(([type, compared]) =>
    form([type, type], 'bool', (f, [a, b]) => compared(f, a, b)),
  ),
});

/** Of a float, a bool. */
export const test = (of: Unary): ElementwiseFunction => ({
  forms: [form(['f32'], 'bool', (f, [x], values) => of(f, x, values))],
});

/** Of bools, a bool. */
export const logic = (arity: number, contract: Contract): ElementwiseFunction => ({
  forms: [form(new Array<DType>(arity).fill('bool'), 'bool', contract)],
});

/** From each other type, and from this one as it is. */
export const cast = (to: DType, from: Partial<Readonly<Record<DType, Unary>>>): ElementwiseFunction => ({
  forms: [
    ...(Object.entries(from) as [DType, Unary][]).map(([type, contract]) =>
      form([type], to, (f, [x], values) => contract(f, x, values)),
    ),
    form([to], to, (_, [x]) => x),
  ],
});

/** Of nothing: the number that comes with it. */
export const constant = (type: DType, of: <V>(f: MoreLanes<V>, value: number) => V): ElementwiseFunction => ({
  forms: [form([], type, (f, _, [value]) => of(f, value))],
  values: ['value'],
});
