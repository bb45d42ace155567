/** Float or stored values -> the int32 elements of a quantized matrix or table, with its spec. Plain arrays, no tensors. */
import { type FormatId, packedShape, packWeights, type QuantizedWeights, quantizeWeights } from '@msd/core';
import { sizeOf } from './shapes.ts';
import { int32Length, type MatrixSpec, planeBytes, type QuantizedSpec, type TableSpec } from './spec.ts';

export interface Packed<S extends QuantizedSpec = QuantizedSpec> {
  readonly spec: S;
  readonly data: Int32Array<ArrayBuffer>;
}

export interface MatrixOptions {
  readonly format: FormatId;
  readonly blockSize?: number | null | undefined;
  readonly asymmetric?: boolean | undefined;
  readonly scale?: 'f32' | 'f16' | undefined;
}

/** Rows of 32 x 32 values stay in the cache on both sides. */
const TILE = 32;

/** [rows, columns] -> [columns, rows] */
export function transpose<T extends Float32Array | Uint8Array | Uint16Array>(
  values: T,
  rows: number,
  columns: number,
  out: T,
): T {
  for (let r0 = 0; r0 < rows; r0 += TILE)
    for (let c0 = 0; c0 < columns; c0 += TILE) {
      const [r1, c1] = [Math.min(rows, r0 + TILE), Math.min(columns, c0 + TILE)];
      for (let c = c0; c < c1; c++) for (let r = r0; r < r1; r++) out[c * rows + r] = values[r * columns + c]!;
    }
  return out;
}

/** Packs matrices [batch…][N,K] of floats. */
export function packMatrices(
  w: Float32Array,
  shape: { readonly batchShape: readonly number[]; readonly N: number; readonly K: number },
  options: MatrixOptions,
): Packed<MatrixSpec> {
  const { batchShape, N, K } = shape;
  const { format, blockSize, asymmetric, scale } = options;
  const count = sizeOf(batchShape);
  const parts: QuantizedWeights[] = [];
  for (let i = 0; i < count; i++)
    parts.push(
      quantizeWeights(w.subarray(i * N * K, (i + 1) * N * K), {
        N,
        K,
        format,
        ...(blockSize !== undefined && { blockSize }),
        ...(asymmetric && { asymmetric }),
        ...(scale && { scale }),
      }),
    );
  return packPlanes(parts, { batchShape, planes: 1, offset: 0 });
}

/** Packs quantized matrices of equal shape one after the other. */
export function packPlanes(
  parts: readonly QuantizedWeights[],
  rest: Pick<MatrixSpec, 'batchShape' | 'planes' | 'offset'>,
): Packed<MatrixSpec> {
  const shape = packedShape(parts[0]!);
  const spec: MatrixSpec = { kind: 'matrix', ...shape, ...rest };
  if (parts.length === 1) return { spec, data: new Int32Array(packWeights(parts[0]!).bytes.buffer) };
  const bytes = new Uint8Array(4 * int32Length(spec));
  parts.forEach((weights, i) => {
    bytes.set(packWeights(weights).bytes, i * planeBytes(spec));
  });
  return { spec, data: new Int32Array(bytes.buffer) };
}

/** Packs a table [rows, columns] of floats as int8 with one scale per row. */
export function packTable(w: Float32Array, rows: number, columns: number): Packed<TableSpec> {
  const { data, scales } = quantizeWeights(w, { N: rows, K: columns, format: 'int8' });
  const codeElements = Math.ceil((rows * columns) / 4);
  const out = new Int32Array(codeElements + rows);
  new Int8Array(out.buffer).set(data as Int8Array);
  new Float32Array(out.buffer, 4 * codeElements).set(scales as Float32Array);
  return { spec: { kind: 'table', codes: 'int8', rows, columns, scale: 1, min: 0 }, data: out };
}

/** Keeps a table in the form that it was stored in. */
export function packStoredTable(stored: Uint8Array | Uint16Array, spec: Omit<TableSpec, 'kind'>): Packed<TableSpec> {
  const out = new Int32Array(Math.ceil(stored.byteLength / 4));
  new Uint8Array(out.buffer).set(new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength));
  return { spec: { kind: 'table', ...spec }, data: out };
}

/** [batch…][K,N] -> [batch…][N,K] */
export function eachTransposed(values: Float32Array, K: number, N: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let at = 0; at < values.length; at += K * N)
    transpose(values.subarray(at, at + K * N), K, N, out.subarray(at, at + K * N));
  return out;
}
