/** Small helpers for writing kernels: moving pointers, tiles of locals. */
import { type Func, type I32, i32, type Local, type V128, v128 } from './emitter.ts';

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** pointer += by */
export const advance = (pointer: Local<'i32'>, by: I32 | number): void => {
  if (by !== 0) pointer.set(i32.add(pointer, by));
};

/** rows x vectors cells */
export const tile = <T>(rows: number, vectors: number, cell: () => T): T[][] =>
  range(rows).map(() => range(vectors).map(cell));

export const each = <T>(cells: T[][], visit: (cell: T, i: number, g: number) => void): void => {
  cells.forEach((row, i) => {
    row.forEach((cell, g) => {
      visit(cell, i, g);
    });
  });
};

/** (v0 ∘ v1) ∘ (v2 ∘ v3) in every lane, for a commutative ∘. */
export function allLanes(f: Func, combine: (a: V128, b: V128) => V128, vector: V128): Local<'v128'> {
  const rotated = (lanes: Local<'v128'>, by: number) =>
    v128.shuffle(
      lanes,
      lanes,
      range(16).map((byte) => byte ^ by),
    );
  const all = f.let(vector);
  const pairs = f.let(combine(all, rotated(all, 4)));
  return f.let(combine(pairs, rotated(pairs, 8)));
}

/** The result of the first call. */
export function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** Columns of four rows of four words. */
export function transposed(f: Func, rows: readonly V128[]): V128[] {
  const lanes = (which: readonly number[]) => (x: V128, y: V128) =>
    v128.shuffle(
      x,
      y,
      which.flatMap((lane) => range(4).map((byte) => 4 * lane + byte)),
    );
  const [a, b, c, d] = rows as [V128, V128, V128, V128];
  const [low, high] = [lanes([0, 4, 1, 5]), lanes([2, 6, 3, 7])];
  const [first, second] = [lanes([0, 1, 4, 5]), lanes([2, 3, 6, 7])];
  return [low, high].flatMap((half) => {
    const [upper, lower] = [f.let(half(a, b)), f.let(half(c, d))];
    return [first(upper, lower), second(upper, lower)];
  });
}
