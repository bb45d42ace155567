/** Look-ups: rows of a packed matrix, or of a table as it was stored, that become floats only when they are needed. */
import { type PackedShape, packedByteLength } from '../formats/packed.ts';

/** Rows of a packed matrix [N,K], the weights of `planes` matrices added up. */
export interface MatrixRows extends PackedShape {
  readonly kind: 'matrix';
  /** 2: a second matrix of this shape lies behind the first. */
  readonly planes: 1 | 2;
  /** Added to every weight. */
  readonly offset: number;
}

/** A table [rows, columns], row by row; its codes are padded to a multiple of 4 bytes. */
export interface TableRows {
  readonly kind: 'table';
  readonly codes: 'int8' | 'uint8' | 'uint16' | 'float16';
  readonly rows: number;
  readonly columns: number;
  /** real = scale · code + min for uint8 and uint16; int8 tables have an f32 scale per row behind the codes instead. */
  readonly scale: number;
  readonly min: number;
}

export type RowSource = MatrixRows | TableRows;

const CODE_BYTES = { int8: 1, uint8: 1, uint16: 2, float16: 2 } as const;

/** What the codes of a table may be. */
export const tableCodes: readonly TableRows['codes'][] = ['int8', 'uint8', 'uint16', 'float16'];

/** Bytes of a table's codes, padding included. */
export const tableCodeBytes = ({ codes, rows, columns }: TableRows): number =>
  4 * Math.ceil((rows * columns * CODE_BYTES[codes]) / 4);

/** Rows, values per row, and bytes of a source; for any version of the packed layout. */
export function rowExtent(source: RowSource): { rows: number; columns: number; byteLength: number } {
  if (source.kind === 'matrix') {
    const { N, K, planes, storedZeroPoints, scale } = source;
    return { rows: N, columns: K, byteLength: planes * packedByteLength(source, storedZeroPoints, scale) };
  }
  const { rows, columns, codes } = source;
  return { rows, columns, byteLength: tableCodeBytes(source) + (codes === 'int8' ? 4 * rows : 0) };
}
