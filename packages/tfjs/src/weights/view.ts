/** How a weight lies in a constant, and its values in the order in which they are packed. */
import { transpose } from '../pack.ts';

/** How a matrix lies in a constant, as [batch…][rows, columns] after its own dimensions are grouped. */
export interface MatrixView {
  readonly kind: 'matrix';
  readonly batchShape: readonly number[];
  readonly N: number;
  readonly K: number;
  /** [N,K] in the file; else [K,N]. */
  readonly transposed: boolean;
}

export interface TableView {
  readonly kind: 'table';
  readonly rows: number;
  readonly columns: number;
}

export type WeightView = MatrixView | TableView;

/** [batch…][N,K], whichever way round the constant is. */
export function rowMajor<T extends Float32Array | Uint8Array | Uint16Array>(
  values: T,
  { N, K, transposed }: MatrixView,
): T {
  if (transposed) return values;
  const out = new (values.constructor as new (length: number) => T)(values.length);
  for (let at = 0; at < values.length; at += N * K)
    transpose(values.subarray(at, at + N * K) as T, K, N, out.subarray(at, at + N * K) as T);
  return out;
}

/** A part per matrix. */
export function split<T extends Float32Array | Uint8Array | Uint16Array>(values: T, { N, K }: MatrixView): T[] {
  const parts: T[] = [];
  for (let at = 0; at < values.length; at += N * K) parts.push(values.subarray(at, at + N * K) as T);
  return parts;
}
