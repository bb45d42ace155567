/** Small words that kernels are written with: pointers that move, tiles of locals. */
import { type I32, i32, type Local } from './emitter.ts';

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
