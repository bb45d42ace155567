/**
 * Every elementwise function: which types it takes, and its f32 contract over {@link MoreLanes} (references, WebAssembly and
 * WGSL follow from it). Its float64 mathematics is in functions.reference.ts.
 *
 * Floats: one rounding per operation, half to even; NaN and infinities as IEEE 754 has them. Ints wrap at 32 bits.
 */
import { type ActivationId, activate, timesLogistic } from '../../activations/contract.ts';
import {
  binary,
  cast,
  compare,
  constant,
  type ElementwiseFunction,
  form,
  logic,
  ternary,
  test,
  unary,
} from './forms.ts';
import type { MoreLanes } from './lanes.ts';
import { isInfinite, isNotANumber } from './math/classes.ts';
import { errorFunction, expMinus1Below0, exponential, logarithm, softplus } from './math/exponential.ts';
import { half } from './math/half.ts';
import { power, powerOf } from './math/power.ts';
import { moduloInt, remainder, remainderInt } from './math/remainder.ts';
import { cosine, sine } from './math/trigonometric.ts';

const activation = (id: ActivationId): ElementwiseFunction => unary({ f32: (f, x) => activate(f, id, x) });

/** −1, 0 or 1: +0 of both zeros, NaN of NaN. */
function sign<V>(f: MoreLanes<V>, x: V): V {
  const zero = f.constant(0);
  return f.select(f.less(x, zero), f.constant(-1), f.select(f.less(zero, x), f.constant(1), f.abs(x)));
}

const hardSigmoid = <V>(f: MoreLanes<V>, x: V, alpha: number, beta: number): V =>
  f.max(f.min(f.add(f.mul(x, f.constant(alpha)), f.constant(beta)), f.constant(1)), f.constant(0));

/** `otherwise`, which is x, from 0 on. */
const below0 = <V>(f: MoreLanes<V>, x: V, below: V): V => f.select(f.less(x, f.constant(0)), below, x);

const LARGEST = 3.4028234663852886e38;
export const SIXTH = /* @__PURE__ */ Math.fround(1 / 6);

export const functions = {
  // Arithmetic
  Add: binary({ f32: (f, a, b) => f.add(a, b), i32: (f, a, b) => f.addInt(a, b) }),
  Sub: binary({ f32: (f, a, b) => f.sub(a, b), i32: (f, a, b) => f.subInt(a, b) }),
  Mul: binary({ f32: (f, a, b) => f.mul(a, b), i32: (f, a, b) => f.mulInt(a, b) }),
  Div: binary({ f32: (f, a, b) => f.div(a, b), i32: (f, a, b) => f.divInt(a, b) }),
  /** The remainder with the sign of a: ONNX Mod with fmod = 1. */
  Fmod: binary({ f32: remainder, i32: remainderInt }),
  /** The remainder with the sign of b: ONNX Mod with fmod = 0, which is for ints. */
  Mod: binary({ i32: moduloInt }),
  Min: binary({ f32: (f, a, b) => f.min(a, b), i32: (f, a, b) => f.minInt(a, b) }),
  Max: binary({ f32: (f, a, b) => f.max(a, b), i32: (f, a, b) => f.maxInt(a, b) }),
  /** x, the least, the most: the most where the two are the wrong way round. */
  Clip: ternary({
    f32: (f, x, least, most) => f.min(f.max(x, least), most),
    i32: (f, x, least, most) => f.minInt(f.maxInt(x, least), most),
  }),
  Pow: binary({ f32: power }),
  /** x to a power that is known beforehand: −1, ±½, 0, 1, 2, 3 without a logarithm. */
  PowConstant: unary({ values: ['exponent'], f32: (f, x, [exponent]) => powerOf(f, x, exponent) }),
  Sqrt: unary({ f32: (f, x) => f.sqrt(x) }),
  Reciprocal: unary({ f32: (f, x) => f.div(f.constant(1), x) }),
  Abs: unary({ f32: (f, x) => f.abs(x), i32: (f, x) => f.maxInt(x, f.subInt(f.int(0), x)) }),
  Neg: unary({ f32: (f, x) => f.negate(x), i32: (f, x) => f.subInt(f.int(0), x) }),
  Sign: unary({ f32: sign, i32: (f, x) => f.maxInt(f.minInt(x, f.int(1)), f.int(-1)) }),
  Floor: unary({ f32: (f, x) => f.floor(x) }),
  Ceil: unary({ f32: (f, x) => f.ceil(x) }),
  /** Half to even. */
  Round: unary({ f32: (f, x) => f.nearest(x) }),

  // Transcendental functions
  Exp: unary({ f32: exponential }),
  Log: unary({ f32: logarithm }),
  Erf: unary({ f32: errorFunction }),
  Sin: unary({ f32: sine }),
  Cos: unary({ f32: cosine }),
  Tanh: activation('tanh'),

  // Activations
  Sigmoid: activation('sigmoid'),
  Silu: activation('silu'),
  Relu: activation('relu'),
  Gelu: activation('gelu'),
  GeluTanh: activation('gelu_tanh'),
  /** x · sigmoid(alpha · x) for alpha > 0: what alpha · x loses to rounding counts as often as it is large. */
  QuickGelu: unary({
    values: ['alpha'],
    f32: (f, x, [alpha]) => timesLogistic(f, x, f.mul(x, f.constant(alpha)), -LARGEST),
  }),
  LeakyRelu: unary({ values: ['alpha'], f32: (f, x, [alpha]) => below0(f, x, f.mul(x, f.constant(alpha))) }),
  Elu: unary({
    values: ['alpha'],
    f32: (f, x, [alpha]) => below0(f, x, f.mul(expMinus1Below0(f, x), f.constant(alpha))),
  }),
  Softplus: unary({ f32: softplus }),
  /** x / (1 + |x|); NaN at ±Infinity, as the division gives it. */
  Softsign: unary({ f32: (f, x) => f.div(x, f.add(f.constant(1), f.abs(x))) }),
  /** max(0, min(1, alpha · x + beta)) */
  HardSigmoid: unary({ values: ['alpha', 'beta'], f32: (f, x, [alpha, beta]) => hardSigmoid(f, x, alpha, beta) }),
  /** x · max(0, min(1, x/6 + ½)) */
  HardSwish: unary({ f32: (f, x) => f.mul(x, hardSigmoid(f, x, SIXTH, 0.5)) }),

  // Comparisons, and what is done with bools
  Equal: compare({
    f32: (f, a, b) => f.equal(a, b),
    i32: (f, a, b) => f.equalInt(a, b),
    bool: (f, a, b) => f.not(f.xor(a, b)),
  }),
  Less: compare({ f32: (f, a, b) => f.less(a, b), i32: (f, a, b) => f.lessInt(a, b) }),
  LessOrEqual: compare({ f32: (f, a, b) => f.lessOrEqual(a, b), i32: (f, a, b) => f.not(f.lessInt(b, a)) }),
  Greater: compare({ f32: (f, a, b) => f.less(b, a), i32: (f, a, b) => f.lessInt(b, a) }),
  GreaterOrEqual: compare({ f32: (f, a, b) => f.lessOrEqual(b, a), i32: (f, a, b) => f.not(f.lessInt(a, b)) }),
  IsNaN: test(isNotANumber),
  IsInf: test(isInfinite),
  And: logic(2, (f, [a, b]) => f.and(a, b)),
  Or: logic(2, (f, [a, b]) => f.or(a, b)),
  Xor: logic(2, (f, [a, b]) => f.xor(a, b)),
  Not: logic(1, (f, [a]) => f.not(a)),
  /** The second argument where the first one holds, else the third. */
  Where: {
    forms: (['f32', 'i32', 'bool'] as const).map((type) =>
      form(['bool', type, type], type, (f, [mask, a, b]) => f.select(mask, a, b)),
    ),
  },

  // Types
  CastToF32: cast('f32', {
    i32: (f, x) => f.toFloat(x),
    bool: (f, x) => f.select(x, f.constant(1), f.constant(0)),
  }),
  /** The float16 next to it, as a float. */
  RoundToFp16: unary({ f32: half }),
  /** Truncates and saturates; 0 of NaN. */
  CastToI32: cast('i32', {
    f32: (f, x) => f.toInt(x),
    bool: (f, x) => f.maskToInt(x),
  }),
  /** Everything but zeros is true, NaN too. */
  CastToBool: cast('bool', {
    f32: (f, x) => f.not(f.equal(x, f.constant(0))),
    i32: (f, x) => f.not(f.equalInt(x, f.int(0))),
  }),
  ConstantF32: constant('f32', (f, value) => f.constant(value)),
  ConstantI32: constant('i32', (f, value) => f.int(value)),
  ConstantBool: constant('bool', (f, value) => f.equalInt(f.int(value ? 1 : 0), f.int(1))),
} satisfies Readonly<Record<string, ElementwiseFunction>>;

export type FunctionId = keyof typeof functions;

export const functionIds = Object.keys(functions) as FunctionId[];

export const isFunctionId = (id: string): id is FunctionId => Object.hasOwn(functions, id);

export const functionOf = (id: FunctionId): ElementwiseFunction => functions[id];
