/**
 * The float64 mathematics of elementwise functions, and how far their f32 contract is from it. Of ints and bools, and where floats
 * are only compared or chosen, the contract on numbers is the mathematics.
 */
import { activation64 } from '../../activations/activations.reference.ts';
import { type ActivationId, activationUlps } from '../../activations/contract.ts';
import { roundHalfEven } from '../../numbers.ts';
import type { TypedExpression } from './expression.ts';
import type { Form } from './forms.ts';
import { type FunctionId, SIXTH } from './functions.ts';
import { scalarLanes } from './lanes.reference.ts';
import { erf64, pow64 } from './math/float64.ts';
import { half64 } from './math/half.ts';

type OfNumbers = (args: readonly number[], values: readonly number[]) => number;

interface Mathematics {
  /** Of floats: in float64. */
  readonly f64?: OfNumbers;
  /** Is `f64` that of other types, too? */
  readonly isOfAll?: boolean;
  /**
   * Largest error of the f32 contract in units in the last place of the float64 value, for finite arguments; tested on
   * a dense sample of all bit patterns. Absent: a few rounded operations, as the contract says.
   */
  readonly ulps?: number | OfNumbers;
}

const activation = (id: ActivationId): Mathematics => ({
  f64: ([x]) => activation64(id, x),
  ulps: ([x]) => activationUlps(id, x),
});

const hardSigmoid = (x: number, alpha: number, beta: number): number => Math.max(Math.min(alpha * x + beta, 1), 0);

const same: OfNumbers = ([x]) => x;

const MATHEMATICS: Readonly<Partial<Record<FunctionId, Mathematics>>> = {
  Add: { f64: ([a, b]) => a + b, ulps: 0.5 },
  Sub: { f64: ([a, b]) => a - b, ulps: 0.5 },
  Mul: { f64: ([a, b]) => a * b, ulps: 0.5 },
  Div: { f64: ([a, b]) => a / b, ulps: 0.5 },
  Fmod: { f64: ([a, b]) => a % b, ulps: 0 },
  Min: { f64: ([a, b]) => Math.min(a, b), ulps: 0 },
  Max: { f64: ([a, b]) => Math.max(a, b), ulps: 0 },
  Clip: { f64: ([x, least, most]) => Math.min(Math.max(x, least), most), ulps: 0 },
  Pow: { f64: ([a, b]) => pow64(a, b), ulps: 2.5 },
  PowConstant: { f64: ([x], [exponent]) => pow64(x, exponent), ulps: 2.5 },
  Sqrt: { f64: ([x]) => Math.sqrt(x), ulps: 0.5 },
  Reciprocal: { f64: ([x]) => 1 / x, ulps: 0.5 },
  Abs: { f64: ([x]) => Math.abs(x), ulps: 0 },
  Neg: { f64: ([x]) => -x, ulps: 0 },
  Sign: { f64: ([x]) => (x === 0 ? 0 : Math.sign(x)), ulps: 0 },
  Floor: { f64: ([x]) => Math.floor(x), ulps: 0 },
  Ceil: { f64: ([x]) => Math.ceil(x), ulps: 0 },
  Round: { f64: ([x]) => (Math.abs(x) < 2 ** 23 ? roundHalfEven(x) : x), ulps: 0 },
  Exp: { f64: ([x]) => Math.exp(x), ulps: 1.5 },
  Log: { f64: ([x]) => Math.log(x), ulps: 1 },
  Erf: { f64: ([x]) => erf64(x), ulps: 2 },
  Sin: { f64: ([x]) => Math.sin(x), ulps: 3 },
  Cos: { f64: ([x]) => Math.cos(x), ulps: 3 },
  QuickGelu: {
    f64: ([x], [alpha]) => (x === -Infinity ? -0 : x * activation64('sigmoid', alpha * x)),
    ulps: ([x], [alpha]) => 4 + Math.abs(Math.min(alpha * x, 0)),
  },
  LeakyRelu: { f64: ([x], [alpha]) => (x < 0 ? alpha * x : x), ulps: 0.5 },
  Elu: { f64: ([x], [alpha]) => (x < 0 ? alpha * Math.expm1(x) : x), ulps: 2 },
  Softplus: { f64: ([x]) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), ulps: 2.5 },
  Softsign: { f64: ([x]) => x / (1 + Math.abs(x)), ulps: 1.5 },
  HardSigmoid: { f64: ([x], [alpha, beta]) => hardSigmoid(x, alpha, beta) },
  HardSwish: { f64: ([x]) => x * hardSigmoid(x, SIXTH, 0.5) },
  Tanh: activation('tanh'),
  Sigmoid: activation('sigmoid'),
  Silu: activation('silu'),
  Relu: activation('relu'),
  Gelu: activation('gelu'),
  GeluTanh: activation('gelu_tanh'),
  IsNaN: { f64: ([x]) => +Number.isNaN(x) },
  IsInf: { f64: ([x]) => +(Math.abs(x) === Infinity) },
  Where: { ulps: 0 },
  RoundToFp16: { f64: ([x]) => half64(x), ulps: 0 },
  CastToF32: { f64: same, isOfAll: true, ulps: 0.5 },
  CastToI32: { ulps: 0.5 },
  CastToBool: { ulps: 0.5 },
  ConstantF32: { f64: (_, [value]) => value, ulps: 0 },
  ConstantI32: { f64: (_, [value]) => value, ulps: 0 },
  ConstantBool: { f64: (_, [value]) => +(value !== 0), ulps: 0 },
};

/** See `ulps` of {@link Mathematics}. */
export function ulpsOf(fn: FunctionId): OfNumbers | undefined {
  const ulps = MATHEMATICS[fn]?.ulps;
  return typeof ulps === 'number' ? () => ulps : ulps;
}

/** Has a function a mathematics of its own? */
export const hasMathematics = (fn: FunctionId): boolean => MATHEMATICS[fn]?.f64 !== undefined;

function mathematicsOf(fn: FunctionId, form: Form, args: readonly number[], values: readonly number[]): number {
  const { f64, isOfAll = false } = MATHEMATICS[fn] ?? {};
  const isOfFloats = isOfAll || form.args.every((type) => type === 'f32');
  return f64 && isOfFloats ? f64(args, values) : form.contract(scalarLanes, args, values);
}

/** The mathematics of one element. */
export function evaluate64({ op, forms, values }: TypedExpression, inputs: readonly number[]): number[] {
  const all = [...inputs];
  for (const [i, { fn, args }] of op.nodes.entries())
    all.push(
      mathematicsOf(
        fn,
        forms[i],
        args.map((arg) => all[arg]),
        values[i],
      ),
    );
  return op.outputs.map((output) => all[output]);
}
