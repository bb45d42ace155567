/** Weights of the keys of a page: e = 2^(z − m), their sum, and w = e · vs as integers of one scale. */
import { laneCode, wasmLanes } from '../activations/activations.wasm.ts';
import { INFINITY_BITS, overLanes } from '../decompose/integers.wasm.ts';
import { type Func, f32x4, type I32, i32, i32x4, type Local, type V128, v128 } from '../wasm/emitter.ts';
import { advance, allLanes, range } from '../wasm/loops.ts';
import { type Exp2Lanes, exp2 } from './exp2.ts';
import { type IntegerReader, type Row, rowScale, type Vectors } from './integers.wasm.ts';
import { BLOCK, eachRow, ROW } from './rows.wasm.ts';
import type { Task } from './task.wasm.ts';

const NOT_FIRST = v128.const(...range(16).map((byte) => (byte < 4 ? 0 : 255)));

/** Vectors of a turn, 32 keys: chains that don't wait for each other. A last turn may be half of one. */
const CHAINS = 8;

/** Keys of a page that become weights. */
export interface Weighed {
  readonly scores: I32;
  /** Where their weights go. */
  readonly weights: I32;
  readonly sixteens: I32;
  /** Where they become integers: scales of their values, what is known of the block, and which of the first four keys belong to it. */
  readonly integers?: { readonly scales: I32; readonly block: I32; readonly lanes: V128 } | undefined;
  readonly signs?: I32 | undefined;
}

/** The row's largest score in all lanes. */
export function settleLargest(f: Func, row: I32): void {
  f.storeV128(row, allLanes(f, f32x4.pmax, v128.load(row, ROW.most)), ROW.most);
}

/** What makes weights of scores. */
export interface Weigher {
  /** Lanes of the first four keys of any page, and of the first page: the very first key is a block of its own. */
  readonly lanes: V128;
  readonly others: V128;
  /** Of a page, 16 keys at a time. `signs` mark keys that are not seen, where values are floats. */
  page(row: I32, keys: Weighed): void;
  /** Takes the very first key's weight away from those of its page. @param block its own */
  takeFirst(weights: I32, block: I32): void;
}

/** Call it outside of loops. */
export function weigher(f: Func): Weigher {
  const power = powers(f);
  const [zero, all] = [0, 0xffff].map((lane) => f.let(v128.const16(lane)));
  return {
    lanes: all,
    others: NOT_FIRST,
    page(row, { scores, weights, sixteens, integers, signs }) {
      const most = f.let(v128.load(row, ROW.most));
      const [sum, largest] = [f.let(zero), f.let(zero)];
      const [at, to] = [f.let(scores), f.let(weights)];
      const more = integers?.scales ?? signs;
      const other = more && f.let(more);
      const lanes = integers && f.let(integers.lanes);
      const turn = (chains: number) => () => {
        const e = power(range(chains).map((i) => f32x4.sub(v128.load(at, 16 * i), most)));
        for (const [i, one] of e.entries()) {
          sum.set(f32x4.add(sum, one));
          const own = other && v128.load(other, 16 * i);
          const w = own ? f.let(integers ? f32x4.mul(one, own) : v128.or(one, own)) : one;
          if (lanes) largest.set(i32x4.maxU(largest, i ? w : v128.and(w, lanes)));
          f.storeV128(to, w, 16 * i);
        }
        lanes?.set(all);
        for (const pointer of [at, to]) advance(pointer, 16 * chains);
        if (other) advance(other, 16 * chains);
      };
      f.repeat(i32.shrU(sixteens, 1), turn(CHAINS));
      f.when(i32.and(sixteens, 1), turn(CHAINS / 2));
      f.storeLane32(row, f32x4.add(v128.load32Splat(row, ROW.sum), allLanes(f, f32x4.add, sum)), 0, ROW.sum);
      if (integers) setScale(f, integers.block, f.let(overLanes(f, i32x4.maxU, largest)));
    },
    takeFirst(weights, block) {
      setScale(f, block, f.let(i32.load(weights)));
      f.storeI32(weights, i32.const(0));
    },
  };
}

/**
 * 2ˣ of several vectors side by side, each some operations behind the one before: none waits for another, and additions
 * alternate with multiplications, which other units do. V8 keeps that order. Call it outside of loops.
 */
function powers(f: Func): (x: readonly V128[]) => V128[] {
  const power = laneCode(f, exp2Lanes, exp2);
  return (x) => {
    const begin = f.body.length;
    const chains = x.map((one) => {
      const value = power(one);
      return { value, code: f.body.splice(begin) };
    });
    const steps = chains[0].code.length + chains.length - 1;
    for (const step of range(steps))
      for (const [i, { code }] of chains.entries()) if (code[step - i]) f.body.push(code[step - i]);
    return chains.map(({ value }) => value);
  };
}

/** Of all that an elementwise function may be made of, only what 2ˣ is. */
const exp2Lanes = (f: Func, constant: (pattern: number) => V128): Exp2Lanes<V128> => ({
  ...wasmLanes(f, constant),
  bits: (x) => x,
  float: (bits) => bits,
  addInt: (a, b) => f.let(i32x4.add(a, b)),
  shiftLeft: (a, bits) => f.let(i32x4.shl(a, bits)),
});

/** The sinks of rows join their sums. */
export function addSinks(f: Func, task: Task): void {
  f.when(task.word('sinks'), () => {
    const power = laneCode(f, exp2Lanes, exp2);
    eachRow(f, task.count, { row: task.rows }, ({ row }) => {
      const e = power(f32x4.sub(v128.load32Splat(row, ROW.sink), v128.load(row, ROW.most)));
      f.storeLane32(row, f32x4.add(v128.load32Splat(row, ROW.sum), e), 0, ROW.sum);
    });
  });
}

/** Keys of a page, and where something of each goes. */
interface PerKey {
  readonly scores: I32;
  readonly sixteens: I32;
  readonly to: I32;
}

/** to = the scales of values whose keys are seen, 0 for all others: what those hold shall not matter, NaN neither. */
export const seenScales = (f: Func, keys: PerKey, scales: I32): void => {
  const from = f.let(scales);
  perKey(f, keys, (isHidden) => {
    const four = f.let(v128.load(from));
    advance(from, 16);
    return v128.andNot(four, isHidden);
  });
};

/** 1 if a scale is no finite number: it would spoil rows that don't see its key. Others are multiplied with weights of 0 there. */
export function spoils(f: Func, scales: I32, sixteens: I32): I32 {
  const at = f.let(scales);
  const largest = f.let(v128.const16(0));
  f.repeat(sixteens, () => {
    for (const i of range(4)) largest.set(i32x4.maxU(largest, v128.load(at, 16 * i)));
    advance(at, 64);
  });
  return i32.geU(overLanes(f, i32x4.maxU, largest), INFINITY_BITS);
}

/** to = −0 for keys that are not seen, +0 for all others. */
export const hiddenSigns = (f: Func, keys: PerKey): void => perKey(f, keys, (isHidden) => i32x4.shl(isHidden, 31));

const isHidden = (score: V128): V128 => f32x4.eq(score, f32x4.const(Number.NEGATIVE_INFINITY));

/** Four keys at a time. */
function perKey(f: Func, { scores, sixteens, to }: PerKey, value: (isHidden: V128) => V128): void {
  const [from, write] = [f.let(scores), f.let(to)];
  f.repeat(i32.shl(sixteens, 2), () => {
    f.storeV128(write, value(isHidden(v128.load(from))));
    for (const pointer of [from, write]) advance(pointer, 16);
  });
}

/** Sixteens that a row gets to, those behind, and what stands there, since they weigh nothing. */
export interface Behind {
  readonly own: I32;
  readonly behind: I32;
  readonly vectors: Vectors;
  readonly value: V128;
}

export function fill(f: Func, begin: I32, { own, behind, vectors: { offsets, step }, value }: Behind): void {
  const at = f.let(i32.add(begin, i32.mul(own, step)));
  f.repeat(behind, () => {
    for (const offset of offsets) f.storeV128(at, value, offset);
    advance(at, step);
  });
}

/** Scale of a block's integers, found while others are still at work: two divisions wait for each other here. */
function setScale(f: Func, block: I32, largest: Local<'i32'>): void {
  const { S, inverse } = rowScale(f, largest);
  f.storeF32(block, S, BLOCK.scale);
  f.storeF32(block, inverse, BLOCK.inverse);
}

/** Weights of a block as integers, and zeros behind them. */
export function decomposeWeights(f: Func, reader: IntegerReader, block: I32, at: Pick<Row, 'from' | 'to'>): void {
  const own = f.let(i32.load16U(block, BLOCK.own));
  const inverse = f.let(v128.load32Splat(block, BLOCK.inverse));
  const sum = reader.decomposeWeights({ ...at, sixteens: own, inverse });
  if (sum) f.storeI32(block, sum, BLOCK.sum);
  fill(f, at.to, { own, behind: i32.load16U(block, BLOCK.behind), vectors: reader.ofWeights, value: v128.const16(0) });
}
