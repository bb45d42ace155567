/**
 * Looks up rows one at a time, as floats that are rounded once to f32. For frameworks whose memory JavaScript sees; on
 * a GPU the kernels of lookup.wgsl.ts do it.
 */
import { fromFp16 } from '../formats/fp16.ts';
import { packedRows } from '../formats/packed-rows.ts';
import { type MatrixRows, type RowSource, rowExtent, type TableRows, tableCodeBytes } from './contract.ts';

/** Writes row n at `out[at…]`; `at` is 0 by default. */
export type RowReader = (n: number, out: Float32Array, at?: number) => void;

/**
 * @param bytes of the packed matrix or the table; read at every look-up, never copied
 * @throws {@link RangeError} if there are fewer than the source needs
 */
export function rowReader(source: RowSource, bytes: Uint8Array): RowReader {
  const { byteLength } = rowExtent(source);
  if (bytes.byteLength < byteLength)
    throw new RangeError(`rowReader: expected ${byteLength} bytes of a ${source.kind}, got ${bytes.byteLength}.`);
  return source.kind === 'table' ? tableReader(source, bytes) : matrixReader(source, bytes, byteLength);
}

function matrixReader(source: MatrixRows, bytes: Uint8Array, byteLength: number): RowReader {
  const { planes, offset, K } = source;
  const size = byteLength / planes;
  const first = packedRows(source, bytes.subarray(0, size));
  if (planes === 1 && offset === 0) return first;
  const second = planes === 2 ? packedRows(source, bytes.subarray(size, 2 * size)) : undefined;
  const rest = new Float32Array(K);
  return (n, out, at = 0) => {
    first(n, out, at);
    second?.(n, rest);
    for (let k = 0; k < K; k++) out[at + k] = out[at + k] + rest[k] + offset;
  };
}

function tableReader(table: TableRows, { buffer, byteOffset }: Uint8Array): RowReader {
  const { codes, rows, columns, scale, min } = table;
  const length = rows * columns;
  switch (codes) {
    case 'int8': {
      const values = new Int8Array(buffer, byteOffset, length);
      const scales = new Float32Array(buffer, byteOffset + tableCodeBytes(table), rows);
      return (n, out, at = 0) => {
        const rowScale = scales[n];
        for (let i = 0, from = n * columns; i < columns; i++) out[at + i] = rowScale * values[from + i];
      };
    }
    case 'uint8': {
      const values = new Uint8Array(buffer, byteOffset, length);
      const real = codeValues(table);
      return (n, out, at = 0) => {
        for (let i = 0, from = n * columns; i < columns; i++) out[at + i] = real[values[from + i]];
      };
    }
    case 'uint16': {
      const values = new Uint16Array(buffer, byteOffset, length);
      return (n, out, at = 0) => {
        for (let i = 0, from = n * columns; i < columns; i++) out[at + i] = values[from + i] * scale + min;
      };
    }
    case 'float16': {
      const values = new Uint16Array(buffer, byteOffset, length);
      return (n, out, at = 0) => {
        for (let i = 0, from = n * columns; i < columns; i++) out[at + i] = fromFp16(values[from + i]);
      };
    }
  }
}

/** The values of the 256 codes of a uint8 table, rounded once. */
export const codeValues = ({ scale, min }: Pick<TableRows, 'scale' | 'min'>): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: 256 }, (_, code) => code * scale + min);
