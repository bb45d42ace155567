/**
 * Where the values of a program lie: those that are never needed at the same time share bytes of one block.
 *
 * Greedy by size: the largest value is placed first, each at the lowest offset where it meets no value that lives at the same
 * time. That comes close to the optimum for chains of layers, and takes a millisecond for a thousand values.
 */

/** Values start on lines: kernels read whole vectors, threads write to lines of their own. */
const LINE = 64;

/** A value by its lifetime, in steps: written first by step `from`, needed last by step `to`, both included. */
export interface Lifetime {
  readonly byteLength: number;
  readonly from: number;
  readonly to: number;
}

export interface MemoryPlan {
  /** Bytes before each value; multiples of 64. */
  readonly offsets: readonly number[];
  /** Of the block that holds them all. */
  readonly byteLength: number;
}

export function planMemory(values: readonly Lifetime[]): MemoryPlan {
  const offsets = new Array<number>(values.length).fill(0);
  const sizeOf = (i: number) => Math.ceil(values[i].byteLength / LINE) * LINE;
  const placed: number[] = []; // in the order of their offsets
  let end = 0;
  const bySize = [...values.keys()].sort((a, b) => sizeOf(b) - sizeOf(a) || a - b);
  for (const i of bySize) {
    const { from, to } = values[i];
    const size = sizeOf(i);
    let at = 0;
    for (const other of placed) {
      if (values[other].to < from || values[other].from > to) continue;
      if (at + size <= offsets[other]) break;
      at = Math.max(at, offsets[other] + sizeOf(other));
    }
    offsets[i] = at;
    end = Math.max(end, at + size);
    const next = placed.findIndex((other) => offsets[other] > at);
    placed.splice(next < 0 ? placed.length : next, 0, i);
  }
  return { offsets, byteLength: end };
}
