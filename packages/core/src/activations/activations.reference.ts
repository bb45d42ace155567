/** Both specifications of the activations: the float64 mathematics, and the f32 contract value by value. */
import { type ActivationId, activate, type Lanes } from './contract.ts';

const bits = /* @__PURE__ */ new Int32Array(1);
const float = /* @__PURE__ */ new Float32Array(bits.buffer);
/** The float whose bits are `change` of the bits of x. */
function withBits(x: number, change: (bits: number) => number): number {
  float[0] = x;
  bits[0] = change(bits[0]);
  return float[0];
}

const ifLess = (a: number, b: number, then: number, otherwise: number): number => (a < b ? then : otherwise);

/** Half to even: from 2²³ on there is no fraction. */
function nearest(a: number): number {
  if (!(Math.abs(a) < 2 ** 23)) return a;
  const magnitude = Math.fround(Math.abs(a) + 2 ** 23) - 2 ** 23;
  return a < 0 || Object.is(a, -0) ? -magnitude : magnitude;
}

/** One value, every operation rounded to f32. */
export const scalar: Lanes<number> = {
  constant: Math.fround,
  add: (a, b) => Math.fround(a + b),
  sub: (a, b) => Math.fround(a - b),
  mul: (a, b) => Math.fround(a * b),
  div: (a, b) => Math.fround(a / b),
  nearest,
  abs: Math.abs,
  pmin: (a, b) => ifLess(b, a, b, a),
  pmax: (a, b) => ifLess(a, b, b, a),
  ifLess,
  copySign: (magnitude, sign) => withBits(sign, (s) => withSign(magnitude, s)),
  topBits: (a) => withBits(a, (b) => b & 0xfffff000),
  pow2: (n) => withBits(0, () => ((n | 0) + 127) << 23),
};

const withSign = (magnitude: number, sign: number): number => {
  float[0] = magnitude;
  return (bits[0] & 0x7fffffff) | (sign & 0x80000000);
};

/** @param x an f32 value. @returns the bits that every kernel has to give (NaN as NaN) */
export const activation32 = (id: ActivationId, x: number): number => activate(scalar, id, x);

/** The same function in float64, within a few ulp of float64. */
export function activation64(id: ActivationId, x: number): number {
  switch (id) {
    case 'relu':
      return Math.max(x, 0);
    case 'relu6':
      return Math.min(Math.max(x, 0), 6);
    case 'sigmoid':
      return logistic(x);
    case 'tanh':
      return Math.tanh(x);
    case 'silu':
      return x === -Infinity ? -0 : x * logistic(x);
    case 'gelu':
      return x === -Infinity ? -0 : x * normalCdf(x);
    case 'gelu_tanh':
      return x === -Infinity ? -0 : x * logistic(2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3));
  }
}

function logistic(x: number): number {
  const e = Math.exp(-Math.abs(x));
  return (x < 0 ? e : 1) / (1 + e);
}

function normalCdf(x: number): number {
  const tail = Math.exp((-x * x) / 2) * erfcx(Math.abs(x) / Math.SQRT2) * 0.5;
  return x < 0 ? tail : 1 - tail;
}

/**
 * e^(z²)·erfc(z) = 2/√π ∫₀^∞ e^(−t² − 2zt) dt for z ≥ 0: with t = e^(u − e^−u) the trapezoidal rule converges double
 * exponentially, here to float64.
 */
export function erfcx(z: number): number {
  if (Number.isNaN(z)) return z;
  const step = 1 / 32;
  let sum = 0;
  for (let i = -140; i <= 140; i++) {
    const decay = Math.exp(-i * step);
    const t = Math.exp(i * step - decay);
    sum += Math.exp(-t * t - 2 * z * t) * t * (1 + decay);
  }
  return (2 / Math.sqrt(Math.PI)) * step * sum;
}
