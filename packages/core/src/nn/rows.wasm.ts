/** A row of floats, four at a time, and its sums in the order of rows.ts. WebAssembly SIMD128. */
import { type Func, f32x4, type I32, i32, i32x4, type Local, type V128, v128 } from '../wasm/emitter.ts';
import { advance, allLanes, range } from '../wasm/loops.ts';
import { SUM_BLOCK } from './rows.ts';

/** Four neighbours of a row: a whole vector, or the last one to three elements in the first lanes of one. */
export interface Four {
  /** Lanes past the row repeat the first one. */
  load(pointer: I32): V128;
  /** Nothing past the row is written. */
  store(pointer: I32, value: V128): void;
  /** `value`, and `otherwise` in lanes past the row. */
  only(value: V128, otherwise: V128): V128;
  /** Which of the vectors that a turn of the loop handles: 0..UNROLL−1. */
  readonly turn: number;
}

/** How terms become one: sums and their kin. */
export interface Folding {
  readonly identity: Local<'v128'>;
  readonly combine: (a: V128, b: V128) => V128;
}

/** Vectors that a turn of a loop over a row handles. */
export const UNROLL = 4;

/** 0, 1, 2, 3 */
export const LANE_NUMBERS: V128 = /* @__PURE__ */ v128.const(
  ...range(16).map((byte) => (byte % 4 === 0 ? byte / 4 : 0)),
);

export class Row {
  readonly #f: Func;
  readonly #n: Local<'i32'>;
  readonly #rest: Local<'i32'>;
  readonly #mask: Local<'v128'>;

  /** Call it outside of loops. @param n elements of the row */
  constructor(f: Func, n: I32) {
    this.#f = f;
    this.#n = f.let(n);
    this.#rest = f.let(i32.and(this.#n, 3));
    this.#mask = f.let(i32x4.gtS(i32x4.splat(this.#rest), LANE_NUMBERS));
  }

  /** Σ of the terms of a row, in all four lanes. Pointers move to the end of the row. */
  sum(pointers: readonly Local<'i32'>[], term: (four: Four) => V128): Local<'v128'> {
    return this.fold(pointers, term, { identity: this.#f.let(f32x4.const(0)), combine: f32x4.add });
  }

  /** The terms of a row combined in the order of sums. @param folding `combine` is commutative */
  fold(pointers: readonly Local<'i32'>[], term: (four: Four) => V128, { identity, combine }: Folding): Local<'v128'> {
    const f = this.#f;
    const result = f.let(identity);
    const block = f.let(identity);
    const include = (four: Four) => block.set(combine(block, four.only(term(four), identity)));
    const end = () => {
      result.set(combine(result, allLanes(f, combine, block)));
      block.set(identity);
    };
    f.repeat(i32.divU(this.#n, SUM_BLOCK), () => {
      f.repeat(SUM_BLOCK / 4 / UNROLL, () => this.#vectors(UNROLL, pointers, include));
      end();
    });
    const left = f.let(i32.and(this.#n, SUM_BLOCK - 1));
    f.when(left, () => {
      f.repeat(i32.shrU(left, 2), () => this.#vectors(1, pointers, include));
      this.#tail(pointers, include);
      end();
    });
    return result;
  }

  /** The largest element that is a number, in all four lanes; −Infinity if there is none. */
  max(at: I32): Local<'v128'> {
    const f = this.#f;
    const pointer = f.let(at);
    const most = range(UNROLL).map(() => f.let(f32x4.const(Number.NEGATIVE_INFINITY)));
    this.each([pointer], ({ load, turn }) => most[turn].set(f32x4.pmax(most[turn], load(pointer))));
    const [a, b, c, d] = most;
    return allLanes(f, f32x4.pmax, f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d)));
  }

  /** Every element of a row. Pointers move to its end. */
  each(pointers: readonly Local<'i32'>[], visit: (four: Four) => void): void {
    const f = this.#f;
    const vectors = i32.shrU(this.#n, 2);
    f.repeat(i32.divU(vectors, UNROLL), () => this.#vectors(UNROLL, pointers, visit));
    f.repeat(i32.and(vectors, UNROLL - 1), () => this.#vectors(1, pointers, visit));
    this.#tail(pointers, visit);
  }

  #vectors(count: number, pointers: readonly Local<'i32'>[], visit: (four: Four) => void) {
    for (const i of range(count))
      visit({
        load: (pointer) => v128.load(pointer, 16 * i),
        store: (pointer, value) => this.#f.storeV128(pointer, value, 16 * i),
        only: (value) => value,
        turn: i,
      });
    for (const pointer of pointers) advance(pointer, 16 * count);
  }

  #tail(pointers: readonly Local<'i32'>[], visit: (four: Four) => void) {
    const f = this.#f;
    const rest = this.#rest;
    f.when(rest, () => {
      visit({
        load: (pointer) => {
          const value = f.let(v128.load32Splat(pointer));
          for (const lane of [1, 2])
            f.when(i32.gtU(rest, lane), () => value.set(v128.load32Lane(pointer, value, lane, 4 * lane)));
          return value;
        },
        store: (pointer, value) => {
          const lanes = f.let(value);
          f.storeLane32(pointer, lanes, 0);
          for (const lane of [1, 2]) f.when(i32.gtU(rest, lane), () => f.storeLane32(pointer, lanes, lane, 4 * lane));
        },
        only: (value, otherwise) => v128.bitselect(value, otherwise, this.#mask),
        turn: 0,
      });
      for (const pointer of pointers) advance(pointer, i32.shl(rest, 2));
    });
  }
}

/** The columns of [n, inner], four neighbours at a time, then one by one in all lanes. */
export function eachColumn(
  f: Func,
  inner: I32,
  pointers: readonly Local<'i32'>[],
  visit: (columns: Pick<Four, 'load' | 'store'>) => void,
): void {
  f.repeat(i32.shrU(inner, 2), () => {
    visit({ load: v128.load, store: (pointer, value) => f.storeV128(pointer, value) });
    for (const pointer of pointers) advance(pointer, 16);
  });
  f.repeat(i32.and(inner, 3), () => {
    visit({ load: v128.load32Splat, store: (pointer, value) => f.storeLane32(pointer, value, 0) });
    for (const pointer of pointers) advance(pointer, 4);
  });
}
