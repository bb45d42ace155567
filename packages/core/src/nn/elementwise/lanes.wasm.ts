/** Four lanes of WebAssembly SIMD128. A mask is all ones or all zeros in a lane. */
import { wasmLanes } from '../../activations/activations.wasm.ts';
import { anyTrue, type Func, f32x4, f64x2, i8x16, i32x4, i64x2, type V128, v128 } from '../../wasm/emitter.ts';
import { range } from '../../wasm/loops.ts';
import type { MoreLanes } from './lanes.ts';

/** @param constant four lanes of a bit pattern */
export function moreWasmLanes(f: Func, constant: (pattern: number) => V128): MoreLanes<V128> {
  // Every operation into a local: functions use their values more than once.
  const once =
    <A extends unknown[]>(op: (...args: A) => V128) =>
    (...args: A): V128 =>
      f.let(op(...args));
  const same = (a: V128): V128 => a;
  const bitselect = (mask: V128, then: V128, otherwise: V128): V128 => v128.bitselect(then, otherwise, mask);
  return {
    ...wasmLanes(f, constant),
    sqrt: once(f32x4.sqrt),
    floor: once(f32x4.floor),
    ceil: once(f32x4.ceil),
    negate: once(f32x4.neg),
    rounded: same,
    min: once(f32x4.min),
    max: once(f32x4.max),

    less: once(f32x4.lt),
    lessOrEqual: once(f32x4.le),
    equal: once(f32x4.eq),
    lessInt: once(i32x4.ltS),
    equalInt: once(i32x4.eq),
    and: once(v128.and),
    or: once(v128.or),
    xor: once(v128.xor),
    not: once(v128.not),
    select: once(bitselect),

    int: constant,
    addInt: once(i32x4.add),
    subInt: once(i32x4.sub),
    mulInt: once(i32x4.mul),
    divInt: once(divInt),
    mulHigh: once(mulHigh),
    minInt: once(i32x4.minS),
    maxInt: once(i32x4.maxS),
    andInt: once(v128.and),
    orInt: once(v128.or),
    xorInt: once(v128.xor),
    shiftLeft: once(i32x4.shl),
    shiftRight: once(i32x4.shrU),
    shiftRightSigned: once(i32x4.shrS),

    bits: same,
    float: same,
    toInt: once(i32x4.truncSatF32x4S),
    toFloat: once(f32x4.convertI32x4S),
    maskToInt: (mask) => f.let(v128.and(mask, constant(1))),

    // The bytes at + 0..3 of each lane as indices; those of the upper half are 16 less. What is out of range gives 0.
    lookUp: (table, at) => {
      const indices = f.let(i32x4.add(i32x4.mul(at, constant(0x01010101)), constant(0x03020100)));
      const half = (bytes: readonly number[], index: V128) => v128.swizzle(v128.const(...bytes), index);
      const upper = half(table.slice(16), i8x16.sub(indices, constant(0x10101010)));
      return f.let(v128.or(half(table.slice(0, 16), indices), upper));
    },

    whenAny: (mask, values, then) => {
      const locals = values.map((value) => f.let(value));
      f.when(anyTrue(mask), () => {
        for (const [i, value] of then().entries()) locals[i].set(v128.bitselect(value, locals[i], mask));
      });
      return locals;
    },
    loop: (values, goesOn, step) => {
      const locals = values.map((value) => f.let(value));
      const active = f.let(goesOn(locals));
      f.loopWhile(
        () => anyTrue(active),
        () => {
          const next = step(locals).map((value) => f.let(value));
          for (const [i, value] of next.entries()) locals[i].set(v128.bitselect(value, locals[i], active));
          active.set(goesOn(locals));
        },
      );
      return locals;
    },
  };
}

/** In float64 the quotient of two int32 is never rounded to an integer that it isn't. */
function divInt(a: V128, b: V128): V128 {
  const upper = (x: V128): V128 => v128.shuffle(x, x, [...range(8).map((i) => i + 8), ...range(8)]);
  const quotients = (x: V128, y: V128): V128 =>
    i32x4.truncSatF64x2S(f64x2.div(f64x2.convertLowI32x4S(x), f64x2.convertLowI32x4S(y)));
  return v128.shuffle(quotients(a, b), quotients(upper(a), upper(b)), [...range(8), ...range(8).map((i) => i + 16)]);
}

const mulHigh = (a: V128, b: V128): V128 =>
  v128.shuffle(
    i64x2.extmulLowI32x4U(a, b),
    i64x2.extmulHighI32x4U(a, b),
    [4, 12, 20, 28].flatMap((at) => range(4).map((i) => at + i)),
  );
