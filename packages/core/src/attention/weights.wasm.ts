/** Weights of the keys of a page: e = 2^(z − m), their sum, and w = e · vs as integers of one scale. */
import { constantsOf, laneCode } from '../activations/activations.wasm.ts';
import { limitOf } from '../decompose/contract.ts';
import { overLanes } from '../decompose/integers.wasm.ts';
import { moreWasmLanes } from '../nn/elementwise/lanes.wasm.ts';
import { LANE_NUMBERS } from '../nn/rows.wasm.ts';
import { Func, f32, f32x4, type I32, i32, i32x4, type Local, type V128, v128 } from '../wasm/emitter.ts';
import { advance, allLanes, range } from '../wasm/loops.ts';
import { PAGE_KEYS } from './contract.ts';
import { type Exp2Lanes, exp2 } from './exp2.ts';
import { type IntegerReader, type Row, rowScale } from './integers.wasm.ts';
import { eachRow, ROW } from './rows.wasm.ts';
import type { Task } from './task.wasm.ts';

/** Vectors of a turn, 32 keys: chains that don't wait for each other. A last turn may be half of one. */
const CHAINS = 8;

/** Keys of a page that become weights. */
export interface Weighed {
  readonly scores: I32;
  /** Where their weights go. */
  readonly weights: I32;
  readonly sixteens: I32;
  readonly scales?: I32 | undefined;
  readonly signs?: I32 | undefined;
}

/** The row's largest score in all lanes. */
export function settleLargest(f: Func, row: I32): void {
  f.storeV128(row, allLanes(f, f32x4.pmax, v128.load(row, ROW.most)), ROW.most);
}

/**
 * Scores of a row become weights. Call it outside of loops.
 * @returns emits it for 16 keys at a time. `scales` are those of their values, absent for floats; `signs` mark keys that are not seen
 */
export function weigh(f: Func): (row: I32, keys: Weighed) => void {
  const power = powers(f);
  const zero = f.let(v128.const16(0));
  return (row, { scores, weights, sixteens, scales, signs }) => {
    const most = f.let(v128.load(row, ROW.most));
    const [sum, largest] = [f.let(zero), f.let(zero)];
    const [at, to] = [f.let(scores), f.let(weights)];
    const more = scales ?? signs;
    const other = more && f.let(more);
    const turn = (chains: number) => () => {
      const e = power(range(chains).map((i) => f.let(f32x4.sub(v128.load(at, 16 * i), most))));
      for (const [i, one] of e.entries()) {
        sum.set(f32x4.add(sum, one));
        const own = other && v128.load(other, 16 * i);
        const w = own ? f.let(scales ? f32x4.mul(one, own) : v128.or(one, own)) : one;
        if (scales) largest.set(i32x4.maxU(largest, w));
        f.storeV128(to, w, 16 * i);
      }
      for (const pointer of [at, to]) advance(pointer, 16 * chains);
      if (other) advance(other, 16 * chains);
    };
    f.repeat(i32.shrU(sixteens, 1), turn(CHAINS));
    f.when(i32.and(sixteens, 1), turn(CHAINS / 2));
    f.storeLane32(row, f32x4.add(v128.load32Splat(row, ROW.sum), allLanes(f, f32x4.add, sum)), 0, ROW.sum);
    if (scales) setScale(f, row, largest);
  };
}

/** 2ˣ of vectors abreast, an operation of all of them after the other: V8 keeps that order, and none waits. Call it outside of loops. */
function powers(f: Func): (x: readonly V128[]) => V128[] {
  const constant = constantsOf(f);
  const lanesOf = (f: Func, chains: number): Exp2Lanes<readonly V128[]> => {
    const one = moreWasmLanes(f, constant);
    const each = (op: (a: V128, b: V128) => V128) => (a: readonly V128[], b: readonly V128[]) =>
      a.map((x, i) => op(x, b[i]));
    return {
      constant: (value) => range(chains).map(() => one.constant(value)),
      add: each(one.add),
      sub: each(one.sub),
      mul: each(one.mul),
      pmax: each(one.pmax),
      addInt: each(one.addInt),
      shiftLeft: (a, bits) => a.map((x) => one.shiftLeft(x, bits)),
      bits: (a) => a,
      float: (a) => a,
    };
  };
  const dropped = new Func(0); // meets every constant
  exp2(lanesOf(dropped, 1), [dropped.let(v128.const16(0))]);
  return (x) => [...exp2(lanesOf(f, x.length), x)];
}

/** The sinks of rows join their sums. */
export function addSinks(f: Func, task: Task): void {
  f.when(task.word('sinks'), () => {
    const power = laneCode(f, moreWasmLanes, exp2);
    eachRow(f, task.count, { row: task.rows }, ({ row }) => {
      const e = power(f32x4.sub(v128.load32Splat(row, ROW.sink), v128.load(row, ROW.most)));
      f.storeLane32(row, f32x4.add(v128.load32Splat(row, ROW.sum), e), 0, ROW.sum);
    });
  });
}

/** to = the scales of values whose keys are seen, 0 for all others: what those hold shall not matter, NaN neither. */
export const seenScales = (f: Func, scores: I32, scales: I32, to: I32): void =>
  perKey(f, [scores, scales, to], (isHidden, [, from]) => v128.andNot(v128.load(from), isHidden));

/** to = −0 for keys that are not seen, +0 for all others. */
export const hiddenSigns = (f: Func, scores: I32, to: I32): void =>
  perKey(f, [scores, to], (isHidden) => i32x4.shl(isHidden, 31));

/** Four keys at a time, the last pointer is where the result goes. */
function perKey(f: Func, places: readonly I32[], value: (isHidden: V128, pointers: Local<'i32'>[]) => V128): void {
  const hidden = f.let(f32x4.const(Number.NEGATIVE_INFINITY));
  const pointers = places.map((place) => f.let(place));
  f.repeat(PAGE_KEYS / 4, () => {
    f.storeV128(pointers.at(-1)!, value(f32x4.eq(v128.load(pointers[0]), hidden), pointers));
    for (const pointer of pointers) advance(pointer, 16);
  });
}

/** Scale of a row's integers, found while other rows are still at work: two divisions wait for each other here. */
function setScale(f: Func, row: I32, largest: V128): void {
  const { S, inverse } = rowScale(f, f.let(overLanes(f, i32x4.maxU, largest)));
  f.storeF32(row, S, ROW.weights);
  f.storeF32(row, inverse, ROW.inverse);
}

/** Weights of a row as integers. */
export function decomposeWeights(f: Func, reader: IntegerReader, row: I32, at: Omit<Row, 'inverse'>): void {
  const sum = reader.decomposeWeights({ ...at, inverse: f.let(v128.load32Splat(row, ROW.inverse)) });
  if (sum) f.storeI32(row, sum, ROW.weightSum);
}

/**
 * The first key is a block of its own, beside zeros. What is alone is the largest integer of its scale: every row has the same ones.
 * @param alone place of 16 floats
 * @returns their sum, where somebody needs it
 */
export function firstIntegers(f: Func, reader: IntegerReader, { alone, to }: { alone: I32; to: I32 }): I32 | undefined {
  for (const i of range(4)) f.storeV128(alone, v128.const16(0), 16 * i);
  f.storeF32(alone, f32.const(1));
  const inverse = f.let(f32x4.const(limitOf(2)));
  const sum = reader.decomposeWeights({ from: alone, to, sixteens: 1, inverse });
  return sum && f.let(sum);
}

/** Its weight is taken out of the row's, as a whole vector: what reads it soon after would wait for a single word. */
export function takeFirst(f: Func, row: I32, weights: I32, sum: I32 | undefined): void {
  setScale(f, row, v128.load32Zero(weights));
  f.storeV128(weights, v128.and(v128.load(weights), i32x4.gtS(LANE_NUMBERS, v128.const16(0))));
  if (sum) f.storeI32(row, sum, ROW.weightSum);
}

/** Then the others have a scale of their own. */
export function scaleOthers(f: Func, row: I32, { weights, sixteens }: Pick<Weighed, 'weights' | 'sixteens'>): void {
  const at = f.let(weights);
  const [a, b] = [f.let(v128.const16(0)), f.let(v128.const16(0))];
  f.repeat(i32.shl(sixteens, 1), () => {
    for (const [i, largest] of [a, b].entries()) largest.set(i32x4.maxU(largest, v128.load(at, 16 * i)));
    advance(at, 32);
  });
  setScale(f, row, i32x4.maxU(a, b));
}
