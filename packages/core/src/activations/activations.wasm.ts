/** The activations' contract as code: four lanes of WebAssembly SIMD128, one instruction or a few per operation. */
import { type Expr, Func, f32x4, i32, i32x4, type V128, v128 } from '../wasm/emitter.ts';
import { type ActivationId, activate, type Lanes } from './contract.ts';

/** Emits four times `id`(x) wherever the result is called. Call it outside of loops. */
export const activationCode = (f: Func, id: ActivationId): ((x: V128) => V128) =>
  laneCode(f, wasmLanes, (lanes, x) => activate(lanes, id, x));

/** Emits `compute` wherever the result is called. Call it outside of loops: constants go into locals there, once. */
export function laneCode<L>(
  f: Func,
  lanesOf: (f: Func, constant: (pattern: number) => V128) => L,
  compute: (lanes: L, x: V128) => V128,
): (x: V128) => V128 {
  const constant = constantsOf(f);
  compute(lanesOf(new Func(0), constant), v128.const16(0)); // meets every constant; its code is dropped
  return (x) => compute(lanesOf(f, constant), f.let(x));
}

/** Four lanes of a bit pattern, in a local that is set where the pattern is first asked for. */
export function constantsOf(f: Func): (pattern: number) => V128 {
  const constants = new Map<number, V128>();
  return (pattern) => {
    if (!constants.has(pattern)) constants.set(pattern, f.let(i32x4.splat(i32.const(pattern))));
    return constants.get(pattern)!;
  };
}

/** Bits of 1.5·2²³ + 127. */
const POW2 = 0x4b40007f;

/** @param constant four lanes of a bit pattern */
export function wasmLanes(f: Func, constant: (pattern: number) => V128): Lanes<V128> {
  // Every operation into a local: the contract's functions use their values more than once.
  const once =
    <A extends Expr<'v128'>[]>(op: (...args: A) => V128) =>
    (...args: A): V128 =>
      f.let(op(...args));
  return {
    constant: (value) => constant(new Int32Array(Float32Array.of(value).buffer)[0]),
    add: once(f32x4.add),
    sub: once(f32x4.sub),
    mul: once(f32x4.mul),
    div: once(f32x4.div),
    nearest: once(f32x4.nearest),
    abs: once(f32x4.abs),
    pmin: once(f32x4.pmin),
    pmax: once(f32x4.pmax),
    ifLess: once((a: V128, b: V128, then: V128, otherwise: V128) => v128.bitselect(then, otherwise, f32x4.lt(a, b))),
    copySign: once((magnitude: V128, sign: V128) => v128.or(magnitude, v128.and(sign, constant(0x80000000 | 0)))),
    topBits: once((a: V128) => v128.and(a, constant(0xfffff000 | 0))),
    // 1.5·2²³ + 127 + n has n + 127 in its lowest bits.
    pow2: once((n: V128) => i32x4.shl(f32x4.add(n, constant(POW2)), 23)),
  };
}
