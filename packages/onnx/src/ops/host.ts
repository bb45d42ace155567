/**
 * Arithmetic on the elements of small tensors in plain JavaScript: shapes, positions, masks. Elements are numbers, or symbols of
 * sizes while a model is loaded.
 */

import { BOOL, INT8, INT32, isFloat, UINT8 } from '../data-types.ts';
import { countOf, stridesOf } from '../dims.ts';
import { isKnown, type Size } from '../ir/info.ts';

/** Where rows (runs along the last dimension) begin, in order. */
function rowsOf(dims: readonly number[], strides: readonly number[], offset = 0): Int32Array {
  let rows = Int32Array.of(offset);
  for (let dim = 0; dim < dims.length - 1; dim++) {
    const size = dims[dim]!;
    const next = new Int32Array(rows.length * size);
    let at = 0;
    for (const row of rows) for (let i = 0; i < size; i++) next[at++] = row + i * strides[dim]!;
    rows = next;
  }
  return rows;
}

/**
 * Picks elements by strides: `out[i, j, …] = data[offset + i·strides[0] + j·strides[1] + …]`. Every kind of movement
 * (transposing, slicing, repeating) is one such pick.
 */
export function pick<T>(data: readonly T[], dims: readonly number[], strides: readonly number[], offset = 0): T[] {
  const [size, step] = [dims.at(-1) ?? 1, strides.at(-1) ?? 0];
  const out = new Array<T>(countOf(dims));
  let at = 0;
  for (const row of rowsOf(dims, strides, offset)) for (let i = 0; i < size; i++) out[at++] = data[row + i * step]!;
  return out;
}

/** Numbers of two operands, each repeated to `to`, together. Masks of a prompt have hundreds of thousands. */
export function combine(
  a: { readonly data: readonly number[]; readonly dims: readonly number[] },
  b: { readonly data: readonly number[]; readonly dims: readonly number[] },
  to: readonly number[],
  compute: (a: number, b: number) => number,
): number[] {
  const [left, right] = [repeatStrides(a.dims, to), repeatStrides(b.dims, to)];
  const [rowsA, rowsB] = [rowsOf(to, left), rowsOf(to, right)];
  const [size, stepA, stepB] = [to.at(-1) ?? 1, left.at(-1) ?? 0, right.at(-1) ?? 0];
  const out = new Array<number>(countOf(to));
  let at = 0;
  for (let row = 0; row < rowsA.length; row++) {
    const [fromA, fromB] = [rowsA[row]!, rowsB[row]!];
    for (let i = 0; i < size; i++) out[at++] = compute(a.data[fromA + i * stepA]!, b.data[fromB + i * stepB]!);
  }
  return out;
}

/** Strides that repeat `dims` over the shape `to`. */
export function repeatStrides(dims: readonly number[], to: readonly number[]): number[] {
  const own = stridesOf(dims);
  const offset = to.length - dims.length;
  return to.map((_, i) => (i < offset || dims[i - offset] === 1 ? 0 : own[i - offset]!));
}

/** The elements of an operand as often as the result has them. */
export function repeated(data: readonly Size[], dims: readonly number[], to: readonly number[]): readonly Size[] {
  if (data.length === countOf(to)) return data;
  if (data.length === 1) return new Array<Size>(countOf(to)).fill(data[0]!);
  return pick(data, to, repeatStrides(dims, to));
}

/** The same, element by element: what is repeated whole is not copied. */
export function repeater(data: readonly Size[], dims: readonly number[], to: readonly number[]): (i: number) => Size {
  const count = data.length;
  if (count === 1) {
    const [one] = data as readonly [Size];
    return () => one;
  }
  const all = repeated(data, dims, to);
  return (i) => all[i]!;
}

/** A number as its element type holds it: rounded (to f32, float16 is carried as that), wrapped around, cut off. */
export function stored(value: number, elemType: number): number {
  if (isFloat(elemType)) return Math.fround(value);
  if (elemType === BOOL) return value === 0 ? 0 : 1;
  const whole = Math.trunc(value);
  if (elemType === INT8) return (whole << 24) >> 24;
  if (elemType === UINT8) return whole & 0xff;
  return elemType === INT32 ? whole | 0 : whole + 0;
}

/** Elements of an operation on pairs; `symbolic` may know an answer for symbols, too. */
export function zip(
  a: readonly Size[],
  b: readonly Size[],
  elemType: number,
  compute: (a: number, b: number) => number,
  symbolic: (a: Size, b: Size) => Size | undefined,
): Size[] | undefined {
  const out: Size[] = [];
  for (let i = 0; i < a.length; i++) {
    const [left, right] = [a[i]!, b[i]!];
    if (typeof left === 'number' && typeof right === 'number') out.push(stored(compute(left, right), elemType));
    else {
      const known = symbolic(left, right);
      if (known === undefined) return undefined;
      out.push(known);
    }
  }
  return out;
}

/** What whole types end at, where numbers do not. */
const ENDS: ReadonlyMap<number, readonly [least: number, most: number]> = /* @__PURE__ */ new Map([
  [BOOL, [0, 1]],
  [INT8, [-128, 127]],
  [UINT8, [0, 255]],
  [INT32, [-(2 ** 31), 2 ** 31 - 1]],
]);

/** Folds `data` along axes; of no elements, what it starts at, as its type holds that. */
export function reduceElements(
  data: readonly Size[],
  dims: readonly number[],
  axes: ReadonlySet<number>,
  elemType: number,
  start: number,
  step: (sum: number, value: number) => number,
): number[] | undefined {
  if (!isKnown(data)) return undefined;
  const [least, most] = ENDS.get(elemType) ?? [start, start];
  const first = Math.min(most, Math.max(least, start));
  // Axis by axis, the last one first: each is a fold of [outer, n, inner].
  let folded: readonly number[] = data;
  const left = [...dims];
  for (const axis of [...axes].sort((a, b) => b - a)) {
    const n = left[axis]!;
    const inner = countOf(left.slice(axis + 1));
    const out = new Array<number>(countOf(left.slice(0, axis)) * inner);
    for (let i = 0; i < out.length; i++) {
      const from = Math.floor(i / inner) * n * inner + (i % inner);
      let sum = first;
      for (let k = 0; k < n; k++) sum = step(sum, folded[from + k * inner]!);
      out[i] = stored(sum, elemType);
    }
    folded = out;
    left[axis] = 1;
  }
  return [...folded];
}
