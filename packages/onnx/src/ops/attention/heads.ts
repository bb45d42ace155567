/** Where heads lie. */
import { type HeadStrides, headMajor, rowMajor } from '@msd/core';
import type { Part, Slot } from '../lowering.ts';

/** Queries, keys or values: a slot, or a part of its rows, and where their heads lie in it. */
export interface Heads extends Part {
  readonly strides: HeadStrides;
}

/** Heads side by side in rows: [batch, rows, heads · size]; from element `begin` on of rows that hold more. */
export function headsOfRows(slot: Slot, rows: number, size: number, begin = 0): Heads {
  return { slot, begin, strides: rowMajor(rows, size, slot.dims.at(-1)!) };
}

/** [batch, heads, rows, size] */
export function headsFirst(slot: Slot): Heads {
  const [, heads, rows, size] = slot.dims as readonly [number, number, number, number];
  return { slot, begin: 0, strides: headMajor(heads, rows, size) };
}
