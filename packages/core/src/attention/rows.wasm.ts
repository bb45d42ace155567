/**
 * Rows of a task: its queries times the heads of its group, each with a few words of its own, computed in register tiles.
 *
 *   most       f32x4   largest score, in four lanes while scores are made, then in all
 *   scale      f32     of its integers times that of scores
 *   sum        f32     Σ e
 *   begin, end         keys that it may see
 *   querySum   i32     Σ of its integers
 *   sink       f32     score of the sink of its head
 *
 * A block of a row's weights, those of a page, has others:
 *
 *   scale      f32     of its integers
 *   inverse    f32     what weights are multiplied by to be integers
 *   sum        i32     Σ of the integers
 *   own        u16     how many times 16 keys may weigh something
 *   behind     u16     how many more are 0
 */
import { type Func, type I32, i32, type Local } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';
import { PAGE_KEYS } from './contract.ts';
import { PANEL } from './page.ts';

export const ROW = {
  most: 0,
  scale: 16,
  sum: 20,
  begin: 24,
  end: 28,
  querySum: 32,
  position: 36,
  sink: 40,
} as const;
export const ROW_BYTES = 64;

export const BLOCK = { scale: 0, inverse: 4, sum: 8, own: 12, behind: 14 } as const;
export const BLOCK_BYTES = 16;

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

/** For each row of a tile, the address of what the first row has at `at`. */
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
  isOutside({ begin: i32.load(row, ROW.begin), end: i32.load(row, ROW.end) }, firstKey);

/**
 * Panels of a page up to the last key that a row sees; those behind them are left out. One at least.
 * @param keys of the page, for all rows
 */
export function seenPanels(f: Func, row: I32, { first, keys }: Record<'first' | 'keys', Local<'i32'>>): Local<'i32'> {
  const end = f.let(i32.load(row, ROW.end));
  const seen = f.let(i32.select(i32.gtU(end, first), i32.sub(end, first), 1));
  return f.let(i32.shrU(i32.add(i32.minU(seen, keys), PANEL - 1), Math.log2(PANEL)));
}

/** 1 if some row does not. */
export const hidesSome = ({ seenFrom: begin, seenTo: end }: Record<'seenFrom' | 'seenTo', I32>, firstKey: I32): I32 =>
  isOutside({ begin, end }, firstKey);

const isOutside = ({ begin, end }: Record<'begin' | 'end', I32>, firstKey: I32): I32 =>
  i32.or(i32.gtU(begin, firstKey), i32.ltU(end, i32.add(firstKey, PAGE_KEYS)));
