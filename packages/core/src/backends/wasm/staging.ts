/** Copies between the caller's arrays and scratch, a slice or a range at a time. */
import { bitsOf, type HalfArray } from '../../formats/half.ts';

type FloatArray = Float32Array | HalfArray;

/** Elements [begin, begin + count) of an array, f32 or bit patterns, to an address. */
export function stage(
  { buffer }: WebAssembly.Memory,
  address: number,
  array: FloatArray,
  begin: number,
  count: number,
): void {
  const values = array instanceof Float32Array ? array : bitsOf(array);
  const part = begin === 0 && count === values.length ? values : values.subarray(begin, begin + count);
  if (part instanceof Float32Array) new Float32Array(buffer, address, count).set(part);
  else new Uint16Array(buffer, address, count).set(part);
}

/** Rows [m, m + rows) and columns [column, column + width) of an [M,N] matrix. */
export interface Block {
  readonly m: number;
  readonly rows: number;
  readonly N: number;
  readonly column: number;
  readonly width: number;
}

/** A block of an f32 array to an address, rows of `stride` elements. */
export function stageBlock(
  { buffer }: WebAssembly.Memory,
  address: number,
  stride: number,
  array: FloatArray,
  { m, rows, N, column, width }: Block,
): void {
  const values = array as Float32Array; // checked
  const to = new Float32Array(buffer, address, rows * stride);
  for (let row = 0; row < rows; row++) {
    const begin = (m + row) * N + column;
    to.set(values.subarray(begin, begin + width), row * stride);
  }
}

/** A finished block at an address, rows of `stride` elements, f32 or bit patterns, to the caller's array. */
export function deliver(
  { buffer }: WebAssembly.Memory,
  address: number,
  stride: number,
  array: FloatArray,
  block: Block,
): void {
  const count = block.rows * stride;
  if (array instanceof Float32Array) copyRows(new Float32Array(buffer, address, count), stride, array, block);
  else copyRows(new Uint16Array(buffer, address, count), stride, bitsOf(array), block);
}

function copyRows<A extends Float32Array | Uint16Array>(
  from: A,
  stride: number,
  to: A,
  { m, rows, N, column, width }: Block,
): void {
  if (stride === N) to.set(from, m * N);
  else
    for (let row = 0; row < rows; row++)
      to.set(from.subarray(row * stride, row * stride + width), (m + row) * N + column);
}
