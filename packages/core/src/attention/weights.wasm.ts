/** Weights of the keys of a page: e = 2^(z − m), their sum, and w = e · vs as integers of one scale. */
import { constantsOf, laneCode } from '../activations/activations.wasm.ts';
import { overLanes } from '../decompose/integers.wasm.ts';
import { moreWasmLanes } from '../nn/elementwise/lanes.wasm.ts';
import { Func, f32x4, type I32, i32, i32x4, type Local, type V128, v128 } from '../wasm/emitter.ts';
import { advance, allLanes, range } from '../wasm/loops.ts';
import { PAGE_KEYS } from './contract.ts';
import { type Exp2Lanes, exp2 } from './exp2.ts';
import { type IntegerReader, type Row, rowScale } from './integers.wasm.ts';
import { BLOCK, eachRow, ROW } from './rows.wasm.ts';
import type { Task } from './task.wasm.ts';

const FIRST_LANE = v128.const(...range(16).map((byte) => (byte < 4 ? 255 : 0)));

/** Vectors of a turn, 32 keys: chains that don't wait for each other. A last turn may be half of one. */
const CHAINS = 8;

/** Keys of a page that become weights. */
export interface Weighed {
  readonly scores: I32;
  /** Where their weights go. */
  readonly weights: I32;
  readonly sixteens: I32;
  /** Where they become integers: scales of their values, and what is known of the block. */
  readonly integers?: { readonly scales: I32; readonly block: I32 } | undefined;
  readonly signs?: I32 | undefined;
}

/** The row's largest score in all lanes. */
export function settleLargest(f: Func, row: I32): void {
  f.storeV128(row, allLanes(f, f32x4.pmax, v128.load(row, ROW.most)), ROW.most);
}

/** What makes weights of scores. */
export interface Weigher {
  /** Of a page, 16 keys at a time. `signs` mark keys that are not seen, where values are floats. */
  page(row: I32, keys: Weighed): void;
  /** Of the first key alone: what its block is multiplied by. */
  first(row: I32, key: FirstKey): void;
}

export interface FirstKey {
  readonly scores: I32;
  /** Of its value. */
  readonly scale: I32;
  readonly block: I32;
  /** 0: the row sees it. */
  readonly mayHide: I32;
}

/** Call it outside of loops. */
export function weigher(f: Func): Weigher {
  const power = powers(f);
  const zero = f.let(v128.const16(0));
  return {
    page(row, { scores, weights, sixteens, integers, signs }) {
      const most = f.let(v128.load(row, ROW.most));
      const [sum, largest] = [f.let(zero), f.let(zero)];
      const [at, to] = [f.let(scores), f.let(weights)];
      const more = integers?.scales ?? signs;
      const other = more && f.let(more);
      const turn = (chains: number) => () => {
        const e = power(range(chains).map((i) => f.let(f32x4.sub(v128.load(at, 16 * i), most))));
        for (const [i, one] of e.entries()) {
          sum.set(f32x4.add(sum, one));
          const own = other && v128.load(other, 16 * i);
          const w = own ? f.let(integers ? f32x4.mul(one, own) : v128.or(one, own)) : one;
          if (integers) largest.set(i32x4.maxU(largest, w));
          f.storeV128(to, w, 16 * i);
        }
        for (const pointer of [at, to]) advance(pointer, 16 * chains);
        if (other) advance(other, 16 * chains);
      };
      f.repeat(i32.shrU(sixteens, 1), turn(CHAINS));
      f.when(i32.and(sixteens, 1), turn(CHAINS / 2));
      f.storeLane32(row, f32x4.add(v128.load32Splat(row, ROW.sum), allLanes(f, f32x4.add, sum)), 0, ROW.sum);
      if (integers) setScale(f, integers.block, f.let(overLanes(f, i32x4.maxU, largest)));
    },
    first(row, { scores, scale, block, mayHide }) {
      const score = f.let(v128.load32Splat(scores));
      const [e] = power([f.let(f32x4.sub(score, v128.load(row, ROW.most)))]);
      const weight = f.let(f32x4.mul(e, v128.load32Splat(scale)));
      f.when(mayHide, () => weight.set(v128.andNot(weight, isHidden(score))));
      setScale(f, block, f.let(i32x4.extractLane(weight, 0)));
    },
  };
}

/**
 * 2ˣ of several vectors side by side: each operation for all of them before the next one. V8 keeps that order, so none
 * waits for another. Call it outside of loops.
 */
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

/** Those of the sixteens that a row does not get to. */
export interface Behind {
  readonly own: I32;
  readonly sixteens: I32;
  /** That sixteen of them take. */
  readonly bytes: number;
  readonly value: V128;
}

/** What stands for keys that weigh nothing. */
export function fillBehind(f: Func, begin: I32, { own, sixteens, bytes, value }: Behind): void {
  const at = f.let(i32.add(begin, i32.mul(own, bytes)));
  f.repeat(i32.sub(sixteens, own), () => {
    for (const offset of range(bytes / 16)) f.storeV128(at, value, 16 * offset);
    advance(at, bytes);
  });
}

/** Scale of a block's integers, found while others are still at work: two divisions wait for each other here. */
function setScale(f: Func, block: I32, largest: Local<'i32'>): void {
  const { S, inverse } = rowScale(f, largest);
  f.storeF32(block, S, BLOCK.scale);
  f.storeF32(block, inverse, BLOCK.inverse);
}

/** Weights of a block as integers. */
export function decomposeWeights(f: Func, reader: IntegerReader, block: I32, at: Omit<Row, 'inverse'>): void {
  const sum = reader.decomposeWeights({ ...at, inverse: f.let(v128.load32Splat(block, BLOCK.inverse)) });
  if (sum) f.storeI32(block, sum, BLOCK.sum);
}

/** to = scales of the first page's values, without the first one: what is left is a block of its own. */
export function otherScales(f: Func, scales: I32, to: I32): void {
  for (const i of range(PAGE_KEYS / 4)) {
    const four = v128.load(scales, 16 * i);
    f.storeV128(to, i ? four : v128.andNot(four, FIRST_LANE), 16 * i);
  }
}
