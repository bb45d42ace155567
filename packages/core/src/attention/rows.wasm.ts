/**
 * Rows of a task: its queries times the heads of its group, each with a few words of its own, computed in register tiles.
 *
 *   most       f32x4   largest score, in four lanes while scores are made, then in all
 *   scale      f32     of its integers times that of scores
 *   sum        f32     Σ e
 *   weights    f32     scale of the block of weights that is at hand, and what they are multiplied by to be integers
 *   begin, end         keys that it may see
 *   querySum   i32     Σ of its integers, and of those of the weights
 *   sink       f32     score of the sink of its head
 */
import { type Func, type I32, i32, type Local } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';
import { PAGE_KEYS } from './contract.ts';

export const ROW = {
  most: 0,
  scale: 16,
  sum: 20,
  weights: 24,
  inverse: 28,
  begin: 32,
  end: 36,
  querySum: 40,
  weightSum: 44,
  position: 48,
  sink: 52,
} as const;
export const ROW_BYTES = 64;

/** Where rows have something, and how far apart: a number or an i32 that holds still. */
export interface Column {
  readonly at: I32;
  readonly stride: I32 | number;
}

/**
 * Rows in tiles, larger ones first. `body` gets a pointer to the first row of a tile for each column.
 * @param sizes of the tiles, down to one row
 */
export function eachTile<S extends { readonly rows: number }, K extends string>(
  f: Func,
  count: I32,
  sizes: readonly S[],
  columns: Readonly<Record<K, Column>>,
  body: (size: S, at: Readonly<Record<K, Local<'i32'>>>) => void,
): void {
  const left = f.let(count);
  const names = Object.keys(columns) as K[];
  const at = Object.fromEntries(names.map((name) => [name, f.let(columns[name].at)])) as Record<K, Local<'i32'>>;
  for (const size of sizes) {
    const { rows } = size;
    f.repeat(rows === 1 ? left : i32.divU(left, rows), () => {
      body(size, at);
      for (const name of names) advance(at[name], i32.mul(columns[name].stride, rows));
    });
    if (rows > 1) left.set(i32.remU(left, rows));
  }
}

/** Rows one by one. */
export const eachRow = <K extends string>(
  f: Func,
  count: I32,
  columns: Readonly<Record<K, Column>>,
  body: (at: Readonly<Record<K, Local<'i32'>>>) => void,
): void => eachTile(f, count, [{ rows: 1 }], columns, (_, at) => body(at));

/** Of a tile, what each row has where the first one's is. */
export const eachOf = (f: Func, rows: number, at: I32, { stride }: Column): Local<'i32'>[] =>
  Array.from({ length: rows }, (_, i) => f.let(i ? i32.add(at, i32.mul(stride, i)) : at));

/**
 * Elements of rows, four at a time and then one by one: a row may end anywhere.
 * @param pointers moved past their rows
 */
export function eachElement(
  f: Func,
  count: I32,
  pointers: readonly Local<'i32'>[],
  four: () => void,
  one: () => void,
): void {
  f.repeat(i32.shrU(count, 2), () => {
    four();
    for (const pointer of pointers) advance(pointer, 16);
  });
  f.repeat(i32.and(count, 3), () => {
    one();
    for (const pointer of pointers) advance(pointer, 4);
  });
}

/** 1 if a row does not see the whole page whose first key this is. */
export const hidesKeys = (row: I32, firstKey: I32): I32 =>
  i32.or(i32.gtU(i32.load(row, ROW.begin), firstKey), i32.ltU(i32.load(row, ROW.end), i32.add(firstKey, PAGE_KEYS)));
