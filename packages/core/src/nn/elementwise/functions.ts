/**
 * Every elementwise function, once: which types it takes, its f32 contract over {@link MoreLanes} (references, WebAssembly and
 * WGSL follow from it), its float64 mathematics, and how far the two are apart.
 *
 * Floats: one rounding per operation, half to even; NaN and infinities as IEEE 754 has them. Ints wrap at 32 bits.
 */
import { activation64 } from '../../activations/activations.reference.ts';
import { type ActivationId, activate, activationUlps, timesLogistic } from '../../activations/contract.ts';
import { roundHalfEven } from '../../numbers.ts';
import type { DType } from '../../ops/op.ts';
import { scalarLanes } from './lanes.reference.ts';
import type { MoreLanes } from './lanes.ts';
import { isInfinite, isNotANumber } from './math/classes.ts';
import { errorFunction, expMinus1Below0, exponential, logarithm, softplus } from './math/exponential.ts';
import { erf64, pow64 } from './math/float64.ts';
import { power, powerOf } from './math/power.ts';
import { moduloInt, remainder, remainderInt } from './math/remainder.ts';
import { cosine, sine } from './math/trigonometric.ts';

type Contract = <V>(f: MoreLanes<V>, args: readonly V[], values: readonly number[]) => V;
/** Floats in float64, ints, bools as 0 and 1. */
type Reference = (args: readonly number[], values: readonly number[]) => number;

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
  readonly values?: readonly string[];
  /**
   * Largest error of the f32 contract in units in the last place of the float64 value, for finite arguments; proved by looking,
   * over a dense sample of all bit patterns. Absent: a few rounded operations, as the contract says.
   */
  readonly ulps?: (args: readonly number[], values: readonly number[]) => number;
}

const form = (args: readonly DType[], result: DType, contract: Contract, reference: Reference): Form => ({
  args,
  result,
  contract,
  reference,
});
const onF32 = (arity: number, contract: Contract, reference: Reference): Form =>
  form(new Array<DType>(arity).fill('f32'), 'f32', contract, reference);
const onI32 = (arity: number, contract: Contract, reference: Reference): Form =>
  form(new Array<DType>(arity).fill('i32'), 'i32', contract, reference);

/** Of f32 alone, within so many ulps. */
const float = (arity: number, ulps: number, contract: Contract, reference: Reference): ElementwiseFunction => ({
  forms: [onF32(arity, contract, reference)],
  ulps: () => ulps,
});
/** Of f32 and i32; what happens to ints is the same everywhere. */
const both = (arity: number, ulps: number, contract: Contract, reference: Reference, ofInts: Contract) => ({
  forms: [onF32(arity, contract, reference), onI32(arity, ofInts, (args, values) => ofInts(scalarLanes, args, values))],
  ulps: () => ulps,
});

const compare = (ofFloats: Contract, ofInts: Contract, ...more: Form[]): ElementwiseFunction => ({
  forms: [
    form(['f32', 'f32'], 'bool', ofFloats, (args, values) => ofFloats(scalarLanes, args, values)),
    form(['i32', 'i32'], 'bool', ofInts, (args, values) => ofInts(scalarLanes, args, values)),
    ...more,
  ],
});
const logic = (arity: number, contract: Contract): ElementwiseFunction => ({
  forms: [
    form(new Array<DType>(arity).fill('bool'), 'bool', contract, (args, values) => contract(scalarLanes, args, values)),
  ],
});
const activation = (id: ActivationId): ElementwiseFunction => ({
  forms: [
    onF32(
      1,
      (f, [x]) => activate(f, id, x),
      ([x]) => activation64(id, x),
    ),
  ],
  ulps: ([x]) => activationUlps(id, x),
});

/** min(max(x, least), most): `most` where the two are the wrong way round. */
const clip: Contract = (f, [x, least, most]) => f.min(f.max(x, least), most);
const hardSigmoid = <V>(f: MoreLanes<V>, x: V, alpha: number, beta: number): V =>
  f.max(f.min(f.add(f.mul(x, f.constant(alpha)), f.constant(beta)), f.constant(1)), f.constant(0));
const hardSigmoid64 = (x: number, alpha: number, beta: number): number => Math.max(Math.min(alpha * x + beta, 1), 0);
const LARGEST = 3.4028234663852886e38;
const SIXTH = /* @__PURE__ */ Math.fround(1 / 6);

export const functions = {
  // Arithmetic
  Add: both(
    2,
    0.5,
    (f, [a, b]) => f.add(a, b),
    ([a, b]) => a + b,
    (f, [a, b]) => f.addInt(a, b),
  ),
  Sub: both(
    2,
    0.5,
    (f, [a, b]) => f.sub(a, b),
    ([a, b]) => a - b,
    (f, [a, b]) => f.subInt(a, b),
  ),
  Mul: both(
    2,
    0.5,
    (f, [a, b]) => f.mul(a, b),
    ([a, b]) => a * b,
    (f, [a, b]) => f.mulInt(a, b),
  ),
  Div: both(
    2,
    0.5,
    (f, [a, b]) => f.div(a, b),
    ([a, b]) => a / b,
    (f, [a, b]) => f.divInt(a, b),
  ),
  /** The remainder with the sign of a: ONNX Mod with fmod = 1. */
  Fmod: both(
    2,
    0,
    (f, [a, b]) => remainder(f, a, b),
    ([a, b]) => a % b,
    (f, [a, b]) => remainderInt(f, a, b),
  ),
  /** The remainder with the sign of b: ONNX Mod with fmod = 0, which is for ints. */
  Mod: {
    forms: [
      onI32(
        2,
        (f, [a, b]) => moduloInt(f, a, b),
        ([a, b]) => moduloInt(scalarLanes, a, b),
      ),
    ],
  },
  Min: both(
    2,
    0,
    (f, [a, b]) => f.min(a, b),
    ([a, b]) => Math.min(a, b),
    (f, [a, b]) => f.minInt(a, b),
  ),
  Max: both(
    2,
    0,
    (f, [a, b]) => f.max(a, b),
    ([a, b]) => Math.max(a, b),
    (f, [a, b]) => f.maxInt(a, b),
  ),
  /** Of x, the least and the most. */
  Clip: both(
    3,
    0,
    clip,
    ([x, least, most]) => Math.min(Math.max(x, least), most),
    (f, [x, least, most]) => f.minInt(f.maxInt(x, least), most),
  ),
  Pow: float(
    2,
    2,
    (f, [x, y]) => power(f, x, y),
    ([x, y]) => pow64(x, y),
  ),
  /** x to a power that is known beforehand: −1, ±½, 0, 1, 2, 3 without a logarithm. */
  PowConstant: {
    ...float(
      1,
      2,
      (f, [x], [exponent]) => powerOf(f, x, exponent),
      ([x], [exponent]) => pow64(x, exponent),
    ),
    values: ['exponent'],
  },
  Sqrt: float(
    1,
    0.5,
    (f, [x]) => f.sqrt(x),
    ([x]) => Math.sqrt(x),
  ),
  Reciprocal: float(
    1,
    0.5,
    (f, [x]) => f.div(f.constant(1), x),
    ([x]) => 1 / x,
  ),
  Abs: both(
    1,
    0,
    (f, [x]) => f.abs(x),
    ([x]) => Math.abs(x),
    (f, [x]) => f.maxInt(x, f.subInt(f.int(0), x)),
  ),
  Neg: both(
    1,
    0,
    (f, [x]) => f.negate(x),
    ([x]) => -x,
    (f, [x]) => f.subInt(f.int(0), x),
  ),
  /** +0 of both zeros, NaN of NaN. */
  Sign: both(
    1,
    0,
    (f, [x]) => {
      const [zero, one, minusOne] = [0, 1, -1].map(f.constant);
      return f.select(f.less(x, zero), minusOne, f.select(f.less(zero, x), one, f.abs(x)));
    },
    ([x]) => (x === 0 ? 0 : Math.sign(x)),
    (f, [x]) => f.maxInt(f.minInt(x, f.int(1)), f.int(-1)),
  ),
  Floor: float(
    1,
    0,
    (f, [x]) => f.floor(x),
    ([x]) => Math.floor(x),
  ),
  Ceil: float(
    1,
    0,
    (f, [x]) => f.ceil(x),
    ([x]) => Math.ceil(x),
  ),
  /** Half to even. */
  Round: float(
    1,
    0,
    (f, [x]) => f.nearest(x),
    ([x]) => (Math.abs(x) < 2 ** 23 ? roundHalfEven(x) : x),
  ),

  // Transcendental functions
  Exp: float(
    1,
    1,
    (f, [x]) => exponential(f, x),
    ([x]) => Math.exp(x),
  ),
  Log: float(
    1,
    1,
    (f, [x]) => logarithm(f, x),
    ([x]) => Math.log(x),
  ),
  Erf: float(
    1,
    2,
    (f, [x]) => errorFunction(f, x),
    ([x]) => erf64(x),
  ),
  Sin: float(
    1,
    3,
    (f, [x]) => sine(f, x),
    ([x]) => Math.sin(x),
  ),
  Cos: float(
    1,
    3,
    (f, [x]) => cosine(f, x),
    ([x]) => Math.cos(x),
  ),
  Tanh: activation('tanh'),

  // Activations
  Sigmoid: activation('sigmoid'),
  Silu: activation('silu'),
  Relu: activation('relu'),
  Gelu: activation('gelu'),
  GeluTanh: activation('gelu_tanh'),
  /** x · sigmoid(alpha · x) for alpha > 0: what alpha · x loses to rounding counts as often as it is large. */
  QuickGelu: {
    forms: [
      onF32(
        1,
        (f, [x], [alpha]) => timesLogistic(f, x, f.mul(x, f.constant(alpha)), -LARGEST),
        ([x], [alpha]) => (x === -Infinity ? -0 : x * activation64('sigmoid', alpha * x)),
      ),
    ],
    values: ['alpha'],
    ulps: ([x], [alpha]) => 3 + Math.abs(Math.min(alpha * x, 0)),
  },
  LeakyRelu: {
    ...float(
      1,
      0.5,
      (f, [x], [alpha]) => f.select(f.less(x, f.constant(0)), f.mul(x, f.constant(alpha)), x),
      ([x], [alpha]) => (x < 0 ? alpha * x : x),
    ),
    values: ['alpha'],
  },
  Elu: {
    ...float(
      1,
      2,
      (f, [x], [alpha]) => f.select(f.less(x, f.constant(0)), f.mul(expMinus1Below0(f, x), f.constant(alpha)), x),
      ([x], [alpha]) => (x < 0 ? alpha * Math.expm1(x) : x),
    ),
    values: ['alpha'],
  },
  Softplus: float(
    1,
    2,
    (f, [x]) => softplus(f, x),
    ([x]) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  ),
  /** max(0, min(1, alpha · x + beta)) */
  HardSigmoid: {
    forms: [
      onF32(
        1,
        (f, [x], [alpha, beta]) => hardSigmoid(f, x, alpha, beta),
        ([x], [alpha, beta]) => hardSigmoid64(x, alpha, beta),
      ),
    ],
    values: ['alpha', 'beta'],
  },
  /** x · max(0, min(1, x/6 + ½)) */
  HardSwish: {
    forms: [
      onF32(
        1,
        (f, [x]) => f.mul(x, hardSigmoid(f, x, SIXTH, 0.5)),
        ([x]) => x * hardSigmoid64(x, SIXTH, 0.5),
      ),
    ],
  },

  // Comparisons, and what is done with bools
  Equal: compare(
    (f, [a, b]) => f.equal(a, b),
    (f, [a, b]) => f.equalInt(a, b),
    form(
      ['bool', 'bool'],
      'bool',
      (f, [a, b]) => f.not(f.xor(a, b)),
      ([a, b]) => 1 - (a ^ b),
    ),
  ),
  Less: compare(
    (f, [a, b]) => f.less(a, b),
    (f, [a, b]) => f.lessInt(a, b),
  ),
  LessOrEqual: compare(
    (f, [a, b]) => f.lessOrEqual(a, b),
    (f, [a, b]) => f.not(f.lessInt(b, a)),
  ),
  Greater: compare(
    (f, [a, b]) => f.less(b, a),
    (f, [a, b]) => f.lessInt(b, a),
  ),
  GreaterOrEqual: compare(
    (f, [a, b]) => f.lessOrEqual(b, a),
    (f, [a, b]) => f.not(f.lessInt(a, b)),
  ),
  IsNaN: {
    forms: [
      form(
        ['f32'],
        'bool',
        (f, [x]) => isNotANumber(f, x),
        ([x]) => +Number.isNaN(x),
      ),
    ],
  },
  IsInf: {
    forms: [
      form(
        ['f32'],
        'bool',
        (f, [x]) => isInfinite(f, x),
        ([x]) => +(Math.abs(x) === Infinity),
      ),
    ],
  },
  And: logic(2, (f, [a, b]) => f.and(a, b)),
  Or: logic(2, (f, [a, b]) => f.or(a, b)),
  Xor: logic(2, (f, [a, b]) => f.xor(a, b)),
  Not: logic(1, (f, [a]) => f.not(a)),
  /** The second argument where the first one holds, else the third. */
  Where: {
    forms: (['f32', 'i32', 'bool'] as const).map((type) =>
      form(
        ['bool', type, type],
        type,
        (f, [mask, a, b]) => f.select(mask, a, b),
        ([mask, a, b]) => (mask ? a : b),
      ),
    ),
    ulps: () => 0,
  },

  // Types
  CastToF32: {
    forms: [
      form(
        ['i32'],
        'f32',
        (f, [x]) => f.toFloat(x),
        ([x]) => x,
      ),
      form(
        ['bool'],
        'f32',
        (f, [x]) => f.select(x, f.constant(1), f.constant(0)),
        ([x]) => x,
      ),
      form(
        ['f32'],
        'f32',
        (_, [x]) => x,
        ([x]) => x,
      ),
    ],
    ulps: () => 0.5,
  },
  /** Truncates and saturates; 0 of NaN. */
  CastToI32: {
    forms: [
      form(
        ['f32'],
        'i32',
        (f, [x]) => f.toInt(x),
        ([x]) => scalarLanes.toInt(x),
      ),
      form(
        ['bool'],
        'i32',
        (f, [x]) => f.maskToInt(x),
        ([x]) => x,
      ),
      form(
        ['i32'],
        'i32',
        (_, [x]) => x,
        ([x]) => x,
      ),
    ],
  },
  /** Everything but zeros is true, NaN too. */
  CastToBool: {
    forms: [
      form(
        ['f32'],
        'bool',
        (f, [x]) => f.not(f.equal(x, f.constant(0))),
        ([x]) => +(x !== 0),
      ),
      form(
        ['i32'],
        'bool',
        (f, [x]) => f.not(f.equalInt(x, f.int(0))),
        ([x]) => +(x !== 0),
      ),
      form(
        ['bool'],
        'bool',
        (_, [x]) => x,
        ([x]) => x,
      ),
    ],
  },
  ConstantF32: {
    forms: [
      form(
        [],
        'f32',
        (f, _, [value]) => f.constant(value),
        (_, [value]) => value,
      ),
    ],
    values: ['value'],
    ulps: () => 0,
  },
  ConstantI32: {
    forms: [
      form(
        [],
        'i32',
        (f, _, [value]) => f.int(value),
        (_, [value]) => value | 0,
      ),
    ],
    values: ['value'],
  },
  ConstantBool: {
    forms: [
      form(
        [],
        'bool',
        (f, _, [value]) => f.equalInt(f.int(value ? 1 : 0), f.int(1)),
        (_, [value]) => (value ? 1 : 0),
      ),
    ],
    values: ['value'],
  },
} satisfies Readonly<Record<string, ElementwiseFunction>>;

export type FunctionId = keyof typeof functions;

export const functionIds = Object.keys(functions) as FunctionId[];

export const isFunctionId = (id: string): id is FunctionId => Object.hasOwn(functions, id);

export const functionOf = (id: FunctionId): ElementwiseFunction => functions[id];
