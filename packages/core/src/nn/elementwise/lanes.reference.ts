/** One lane in JavaScript numbers: floats rounded to f32 by every operation, ints wrapped to 32 bits, masks 0 and 1. */
import { scalar } from '../../activations/activations.reference.ts';
import type { MoreLanes } from './lanes.ts';

const ints = /* @__PURE__ */ new Int32Array(1);
const floats = /* @__PURE__ */ new Float32Array(ints.buffer);

const truncated = (a: number): number => Math.min(Math.max(Math.trunc(a), -(2 ** 31)), 2 ** 31 - 1) | 0;

/** Half of b at a time: no sum passes 2⁵³. */
function mulHigh(a: number, b: number): number {
  const [x, y] = [a >>> 0, b >>> 0];
  const carry = Math.floor((x * (y & 0xffff)) / 2 ** 16);
  return Math.floor((carry + x * (y >>> 16)) / 2 ** 16) | 0;
}

export const scalarLanes: MoreLanes<number> = {
  ...scalar,
  sqrt: (a) => Math.fround(Math.sqrt(a)),
  floor: Math.floor,
  ceil: Math.ceil,
  negate: (a) => -a,
  rounded: (a) => a,
  min: Math.min,
  max: Math.max,

  less: (a, b) => +(a < b),
  lessOrEqual: (a, b) => +(a <= b),
  equal: (a, b) => +(a === b),
  lessInt: (a, b) => +(a < b),
  equalInt: (a, b) => +(a === b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  not: (a) => 1 - a,
  select: (mask, then, otherwise) => (mask ? then : otherwise),

  int: (value) => value | 0,
  addInt: (a, b) => (a + b) | 0,
  subInt: (a, b) => (a - b) | 0,
  mulInt: Math.imul,
  divInt: (a, b) => truncated(a / b),
  mulHigh,
  minInt: Math.min,
  maxInt: Math.max,
  andInt: (a, b) => a & b,
  orInt: (a, b) => a | b,
  xorInt: (a, b) => a ^ b,
  shiftLeft: (a, bits) => a << bits,
  shiftRight: (a, bits) => (a >>> bits) | 0,
  shiftRightSigned: (a, bits) => a >> bits,

  bits: (a) => {
    floats[0] = a;
    return ints[0];
  },
  float: (bits) => {
    ints[0] = bits;
    return floats[0];
  },
  toInt: truncated,
  toFloat: Math.fround,
  maskToInt: (mask) => mask,

  lookUp: (table, at) => table[at] | (table[at + 1] << 8) | (table[at + 2] << 16) | (table[at + 3] << 24),

  whenAny: (mask, values, then) => (mask ? then() : values),
  loop: (values, goesOn, step) => {
    let now = values;
    while (goesOn(now)) now = step(now);
    return now;
  },
};
