/**
 * Rows of a table that stays where it is, in the bytes of a file or behind a read function: only the requested rows
 * become floats.
 *
 *   const gather = rowReader({ rows: 151936, columns: 896, format: 'f32' }, { rows: readFrom(bytes) });
 *   gather(ids, out);                                                 // out f32 [ids.length, 896]
 */
import type { FloatType } from '../../formats/half.ts';
import { codeAt, halfValues, writeBlock } from './codes.ts';
import { type BlockRows, checkIndices, type Table, tableLayout } from './table.ts';

/** Fills `into` with the bytes from `offset` on. */
export type ReadBytes = (offset: number, into: Uint8Array) => void;

/** Where a table's rows, scales and zero points are read, each from offset 0. */
export interface TableSources {
  readonly rows: ReadBytes;
  readonly scales?: ReadBytes | undefined;
  readonly zeroPoints?: ReadBytes | undefined;
}

/** Of bytes in memory: copies a row, never the table. */
export const readFrom =
  (bytes: Uint8Array): ReadBytes =>
  (offset, into) => {
    into.set(bytes.subarray(offset, offset + into.length));
  };

/**
 * Looks up rows. Negative indices count from the end. It has a buffer for one row.
 * @returns a function that writes f32 [indices, columns] into `out`; it throws a {@link RangeError} before anything is
 * written if an index is out of range
 * @throws {@link RangeError} for an impossible table, {@link TypeError} if a source is missing
 */
export function rowReader(
  table: Table,
  sources: TableSources,
): (indices: ArrayLike<number | bigint>, out: Float32Array) => void {
  const { rows, columns } = table;
  const write = rowWriter(table, sources);
  return (indices, out) => {
    checkIndices('gatherRows', indices, rows);
    if (out.length !== indices.length * columns)
      throw new RangeError(`gatherRows: out expected ${indices.length} x ${columns} floats, got ${out.length}.`);
    for (let i = 0; i < indices.length; i++) {
      const index = Number(indices[i]);
      write(index < 0 ? index + rows : index, out, i * columns);
    }
  };
}

type WriteRow = (row: number, out: Float32Array, at: number) => void;

function rowWriter(table: Table, sources: TableSources): WriteRow {
  const { format } = table;
  if (typeof format !== 'string') return blockWriter(table, format, sources);
  const { rowBytes } = tableLayout(table);
  const bytes = new Uint8Array(rowBytes);
  const write = floatsOf(format, bytes);
  return (r, out, at) => {
    sources.rows(r * rowBytes, bytes);
    write(out, at);
  };
}

function blockWriter(table: Table, format: BlockRows, sources: TableSources): WriteRow {
  const { scales, zeroPoints } = sources;
  if (!scales || (format.zeroPoints && !zeroPoints))
    throw new TypeError(
      `gatherRows: sources expected rows, scales${format.zeroPoints ? ' and zeroPoints' : ''}, got ${Object.keys(sources)}.`,
    );
  const { rowBytes, blocks, scaleBytes, zeroStride } = tableLayout(table);
  const codes = new Uint8Array(rowBytes);
  const scaleData = new Uint8Array(blocks * scaleBytes);
  const scale = new Float32Array(blocks);
  const readScales = floatsOf(format.scales, scaleData);
  // A row of zero points may start in the middle of a byte, and then be a byte longer.
  const zeroBytes = [0, 1].map((first) => new Uint8Array(Math.ceil(((blocks + first) * format.bits) / 8)));
  const zero = format.zeroPoint ?? 0;
  return (r, out, at) => {
    sources.rows(r * rowBytes, codes);
    scales(r * scaleData.length, scaleData);
    readScales(scale, 0);
    const first = format.bits === 4 ? (r * zeroStride) % 2 : 0;
    if (format.zeroPoints) zeroPoints!(Math.floor((r * zeroStride * format.bits) / 8), zeroBytes[first]);
    for (let b = 0; b < blocks; b++) {
      const z = format.zeroPoints ? codeAt(zeroBytes[first], first + b, format) : zero;
      writeBlock(table, format, codes, b, scale[b], z, out, at);
    }
  };
}

/** Writes the floats that are in bytes at the time: f32 as they are, halves by a look-up. */
function floatsOf(type: FloatType, bytes: Uint8Array<ArrayBuffer>): (out: Float32Array, at: number) => void {
  if (type === 'f32') {
    const floats = new Float32Array(bytes.buffer);
    return (out, at) => out.set(floats, at);
  }
  const [patterns, values] = [new Uint16Array(bytes.buffer), halfValues(type)];
  return (out, at) => {
    for (let i = 0; i < patterns.length; i++) out[at + i] = values[patterns[i]];
  };
}
