/**
 * Every elementwise function, once: which types it takes, its f32 contract over {@link MoreLanes} (references, WebAssembly and
 * WGSL follow from it), its float64 mathematics, and how far the two are apart.
 *
 * Floats: one rounding per operation, half to even; NaN and infinities as IEEE 754 has them. Ints wrap at 32 bits.
 */
import { activation64 } from '../../activations/activations.reference.ts';
import { type ActivationId, activate, activationUlps, timesLogistic } from '../../activations/contract.ts';
import { roundHalfEven } from '../../numbers.ts';
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
import { scalarLanes } from './lanes.reference.ts';
import type { MoreLanes } from './lanes.ts';
import { isInfinite, isNotANumber } from './math/classes.ts';
import { errorFunction, expMinus1Below0, exponential, logarithm, softplus } from './math/exponential.ts';
import { erf64, pow64 } from './math/float64.ts';
import { half, half64 } from './math/half.ts';
import { power, powerOf } from './math/power.ts';
import { moduloInt, remainder, remainderInt } from './math/remainder.ts';
import { cosine, sine } from './math/trigonometric.ts';

const activation = (id: ActivationId): ElementwiseFunction =>
  unary({ ulps: ([x]) => activationUlps(id, x), f32: (f, x) => activate(f, id, x), f64: (x) => activation64(id, x) });

/** −1, 0 or 1: +0 of both zeros, NaN of NaN. */
function sign<V>(f: MoreLanes<V>, x: V): V {
  const zero = f.constant(0);
  return f.select(f.less(x, zero), f.constant(-1), f.select(f.less(zero, x), f.constant(1), f.abs(x)));
}

const hardSigmoid = <V>(f: MoreLanes<V>, x: V, alpha: number, beta: number): V =>
  f.max(f.min(f.add(f.mul(x, f.constant(alpha)), f.constant(beta)), f.constant(1)), f.constant(0));
const hardSigmoid64 = (x: number, alpha: number, beta: number): number => Math.max(Math.min(alpha * x + beta, 1), 0);

/** `otherwise`, which is x, from 0 on. */
const below0 = <V>(f: MoreLanes<V>, x: V, below: V): V => f.select(f.less(x, f.constant(0)), below, x);

const LARGEST = 3.4028234663852886e38;
const SIXTH = /* @__PURE__ */ Math.fround(1 / 6);

export const functions = {
  // Arithmetic
  Add: binary({ ulps: 0.5, f32: (f, a, b) => f.add(a, b), f64: (a, b) => a + b, i32: (f, a, b) => f.addInt(a, b) }),
  Sub: binary({ ulps: 0.5, f32: (f, a, b) => f.sub(a, b), f64: (a, b) => a - b, i32: (f, a, b) => f.subInt(a, b) }),
  Mul: binary({ ulps: 0.5, f32: (f, a, b) => f.mul(a, b), f64: (a, b) => a * b, i32: (f, a, b) => f.mulInt(a, b) }),
  Div: binary({ ulps: 0.5, f32: (f, a, b) => f.div(a, b), f64: (a, b) => a / b, i32: (f, a, b) => f.divInt(a, b) }),
  /** The remainder with the sign of a: ONNX Mod with fmod = 1. */
  Fmod: binary({ ulps: 0, f32: remainder, f64: (a, b) => a % b, i32: remainderInt }),
  /** The remainder with the sign of b: ONNX Mod with fmod = 0, which is for ints. */
  Mod: binary({ i32: moduloInt }),
  Min: binary({
    ulps: 0,
    f32: (f, a, b) => f.min(a, b),
    f64: (a, b) => Math.min(a, b),
    i32: (f, a, b) => f.minInt(a, b),
  }),
  Max: binary({
    ulps: 0,
    f32: (f, a, b) => f.max(a, b),
    f64: (a, b) => Math.max(a, b),
    i32: (f, a, b) => f.maxInt(a, b),
  }),
  /** x, the least, the most: the most where the two are the wrong way round. */
  Clip: ternary({
    ulps: 0,
    f32: (f, x, least, most) => f.min(f.max(x, least), most),
    f64: (x, least, most) => Math.min(Math.max(x, least), most),
    i32: (f, x, least, most) => f.minInt(f.maxInt(x, least), most),
  }),
  Pow: binary({ ulps: 2.5, f32: power, f64: pow64 }),
  /** x to a power that is known beforehand: −1, ±½, 0, 1, 2, 3 without a logarithm. */
  PowConstant: unary({
    values: ['exponent'],
    ulps: 2.5,
    f32: (f, x, [exponent]) => powerOf(f, x, exponent),
    f64: (x, [exponent]) => pow64(x, exponent),
  }),
  Sqrt: unary({ ulps: 0.5, f32: (f, x) => f.sqrt(x), f64: Math.sqrt }),
  Reciprocal: unary({ ulps: 0.5, f32: (f, x) => f.div(f.constant(1), x), f64: (x) => 1 / x }),
  Abs: unary({ ulps: 0, f32: (f, x) => f.abs(x), f64: Math.abs, i32: (f, x) => f.maxInt(x, f.subInt(f.int(0), x)) }),
  Neg: unary({ ulps: 0, f32: (f, x) => f.negate(x), f64: (x) => -x, i32: (f, x) => f.subInt(f.int(0), x) }),
  Sign: unary({
    ulps: 0,
    f32: sign,
    f64: (x) => (x === 0 ? 0 : Math.sign(x)),
    i32: (f, x) => f.maxInt(f.minInt(x, f.int(1)), f.int(-1)),
  }),
  Floor: unary({ ulps: 0, f32: (f, x) => f.floor(x), f64: Math.floor }),
  Ceil: unary({ ulps: 0, f32: (f, x) => f.ceil(x), f64: Math.ceil }),
  /** Half to even. */
  Round: unary({
    ulps: 0,
    f32: (f, x) => f.nearest(x),
    f64: (x) => (Math.abs(x) < 2 ** 23 ? roundHalfEven(x) : x),
  }),

  // Transcendental functions
  Exp: unary({ ulps: 1.5, f32: exponential, f64: Math.exp }),
  Log: unary({ ulps: 1, f32: logarithm, f64: Math.log }),
  Erf: unary({ ulps: 2, f32: errorFunction, f64: erf64 }),
  Sin: unary({ ulps: 3, f32: sine, f64: Math.sin }),
  Cos: unary({ ulps: 3, f32: cosine, f64: Math.cos }),
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
    ulps: ([x], [alpha]) => 4 + Math.abs(Math.min(alpha * x, 0)),
    f32: (f, x, [alpha]) => timesLogistic(f, x, f.mul(x, f.constant(alpha)), -LARGEST),
    f64: (x, [alpha]) => (x === -Infinity ? -0 : x * activation64('sigmoid', alpha * x)),
  }),
  LeakyRelu: unary({
    values: ['alpha'],
    ulps: 0.5,
    f32: (f, x, [alpha]) => below0(f, x, f.mul(x, f.constant(alpha))),
    f64: (x, [alpha]) => (x < 0 ? alpha * x : x),
  }),
  Elu: unary({
    values: ['alpha'],
    ulps: 2,
    f32: (f, x, [alpha]) => below0(f, x, f.mul(expMinus1Below0(f, x), f.constant(alpha))),
    f64: (x, [alpha]) => (x < 0 ? alpha * Math.expm1(x) : x),
  }),
  Softplus: unary({
    ulps: 2.5,
    f32: softplus,
    f64: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  }),
  /** x / (1 + |x|); NaN at ±Infinity, as the division gives it. */
  Softsign: unary({
    ulps: 1.5,
    f32: (f, x) => f.div(x, f.add(f.constant(1), f.abs(x))),
    f64: (x) => x / (1 + Math.abs(x)),
  }),
  /** max(0, min(1, alpha · x + beta)) */
  HardSigmoid: unary({
    values: ['alpha', 'beta'],
    f32: (f, x, [alpha, beta]) => hardSigmoid(f, x, alpha, beta),
    f64: (x, [alpha, beta]) => hardSigmoid64(x, alpha, beta),
  }),
  /** x · max(0, min(1, x/6 + ½)) */
  HardSwish: unary({
    f32: (f, x) => f.mul(x, hardSigmoid(f, x, SIXTH, 0.5)),
    f64: (x) => x * hardSigmoid64(x, SIXTH, 0.5),
  }),

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
  IsNaN: test(isNotANumber, Number.isNaN),
  IsInf: test(isInfinite, (x) => Math.abs(x) === Infinity),
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
  CastToF32: cast('f32', {
    i32: [(f, x) => f.toFloat(x), (x) => x],
    bool: [(f, x) => f.select(x, f.constant(1), f.constant(0)), (x) => x],
  }),
  /** The float16 next to it, as a float. */
  RoundToFp16: unary({ ulps: 0, f32: half, f64: half64 }),
  /** Truncates and saturates; 0 of NaN. */
  CastToI32: cast('i32', {
    f32: [(f, x) => f.toInt(x), scalarLanes.toInt],
    bool: [(f, x) => f.maskToInt(x), (x) => x],
  }),
  /** Everything but zeros is true, NaN too. */
  CastToBool: cast('bool', {
    f32: [(f, x) => f.not(f.equal(x, f.constant(0))), (x) => +(x !== 0)],
    i32: [(f, x) => f.not(f.equalInt(x, f.int(0))), (x) => +(x !== 0)],
  }),
  ConstantF32: constant('f32', (f, value) => f.constant(value)),
  ConstantI32: constant('i32', (f, value) => f.int(value)),
  ConstantBool: constant('bool', (f, value) => f.equalInt(f.int(value ? 1 : 0), f.int(1))),
} satisfies Readonly<Record<string, ElementwiseFunction>>;

export type FunctionId = keyof typeof functions;

export const functionIds = Object.keys(functions) as FunctionId[];

export const isFunctionId = (id: string): id is FunctionId => Object.hasOwn(functions, id);

export const functionOf = (id: FunctionId): ElementwiseFunction => functions[id];
