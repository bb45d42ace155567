/**
 * What the int32 tensor of a quantized matrix or table holds. Plain data: it travels in node attributes, layer configs and
 * saved files beside the tensor.
 */

import {
  type FormatId,
  formatIds,
  type MatrixRows,
  PACKED_VERSION,
  type PackedShape,
  packedByteLength,
  rowExtent,
  type TableRows,
  tableCodes,
  UnsupportedError,
} from '@msd/core';
import { shown } from './errors.ts';
import { sizeOf } from './shapes.ts';

/**
 * A matrix [K,N] for `matMul`, packed for the kernels. 16-bit weights are two planes of int8 (256 · high + low), one after the
 * other per matrix; `offset` is what is left of a zero point that is no integer.
 */
export interface MatrixSpec extends MatrixRows {
  /** Leading dimensions: that many matrices lie one after the other. */
  readonly batchShape: readonly number[];
  /** Of a matrix without batches: x[k] is multiplied by 2 to this before it meets row k, which was divided by it. */
  readonly powers?: readonly number[] | undefined;
}

/** A table [rows, columns] for `gather`, row by row in the form that it was stored in. */
export type TableSpec = TableRows;

export type QuantizedSpec = MatrixSpec | TableSpec;

/** Elements of a packed matrix's or table's int32 tensor. */
export const int32Length = (spec: QuantizedSpec): number => (sourceCount(spec) * rowExtent(spec).byteLength) / 4;

/** Bytes of one packed plane of one matrix. */
export const planeBytes = (spec: MatrixSpec): number => packedByteLength(spec, spec.storedZeroPoints, spec.scale);

export const matrixCount = ({ batchShape }: MatrixSpec): number => sizeOf(batchShape);

/** Matrices or tables that lie one after the other. */
export const sourceCount = (spec: QuantizedSpec): number => (spec.kind === 'matrix' ? matrixCount(spec) : 1);

/** Shape of the real tensor that it stands for. */
export function realShape(spec: QuantizedSpec): number[] {
  return spec.kind === 'matrix' ? [...spec.batchShape, spec.K, spec.N] : [spec.rows, spec.columns];
}

/**
 * Checks a spec that came from outside. A matrix without a version is one of layout 1, which did not say so.
 *
 * @param length elements of the tensor beside it
 * @throws `TypeError`, `RangeError` if it is none, or the tensor cannot hold it; `UnsupportedError` if it is from a newer version
 */
export function checkSpec(spec: unknown, length: number, where: string): QuantizedSpec {
  const refuse = (name: string, expected: string, got: unknown): never => {
    throw new RangeError(`${where}: spec.${name}, expected ${expected}, got ${shown(got)}.`);
  };
  const isCount = (value: unknown): value is number =>
    Number.isSafeInteger(value) && (value as number) > 0 && (value as number) < 2 ** 31;
  if (typeof spec !== 'object' || spec === null)
    throw new TypeError(`${where}: spec, expected an object, got ${shown(spec)}.`);
  const given = spec as Partial<Record<string, unknown>>;
  let checked: QuantizedSpec;
  if (given.kind === 'matrix') {
    const { batchShape = [], planes = 1, offset = 0, format, N, K, blockSize = null } = given;
    const { storedZeroPoints = false, scale = 'f32', version = 1, powers } = given;
    if (!Array.isArray(batchShape) || !batchShape.every(isCount)) refuse('batchShape', 'positive integers', batchShape);
    if (planes !== 1 && planes !== 2) refuse('planes', '1 or 2', planes);
    if (typeof offset !== 'number' || !Number.isFinite(offset)) refuse('offset', 'a finite number', offset);
    if (!(formatIds as readonly unknown[]).includes(format)) refuse('format', formatIds.join(', '), format);
    for (const [name, value] of Object.entries({ N, K }))
      if (!isCount(value)) refuse(name, 'a positive integer', value);
    if (blockSize !== null && !isCount(blockSize)) refuse('blockSize', 'a positive integer or null', blockSize);
    if (scale !== 'f32' && scale !== 'f16' && scale !== 'e8m0') refuse('scale', "'f32', 'f16' or 'e8m0'", scale);
    if (typeof storedZeroPoints !== 'boolean') refuse('storedZeroPoints', 'a boolean', storedZeroPoints);
    if (powers !== undefined && !arePowers(powers, batchShape, K))
      refuse('powers', 'an integer per input feature', powers);
    if (!isCount(version)) refuse('version', 'a positive integer', version);
    if ((version as number) > PACKED_VERSION)
      throw new UnsupportedError(
        `${where}: packed weights, expected layout version ${PACKED_VERSION} at most, got ${version}: a newer version saved them. Update @msd/tfjs, or save them again with this one.`,
      );
    const shape = { format, N, K, blockSize, storedZeroPoints, scale, version } as PackedShape;
    checked = {
      kind: 'matrix',
      ...shape,
      batchShape,
      planes,
      offset,
      ...(powers !== undefined && { powers }),
    } as MatrixSpec;
  } else if (given.kind === 'table') {
    const { codes, rows, columns, scale = 1, min = 0 } = given;
    if (!(tableCodes as readonly unknown[]).includes(codes)) refuse('codes', tableCodes.join(', '), codes);
    if (!isCount(rows)) refuse('rows', 'a positive integer', rows);
    if (!isCount(columns)) refuse('columns', 'a positive integer', columns);
    for (const [name, value] of Object.entries({ scale, min }))
      if (typeof value !== 'number' || !Number.isFinite(value)) refuse(name, 'a finite number', value);
    checked = { kind: 'table', codes, rows, columns, scale, min } as TableSpec;
  } else return refuse('kind', "'matrix' or 'table'", given.kind);
  const needed = int32Length(checked); // checks format, sizes and block size on the way
  if (length !== needed)
    throw new RangeError(
      `${where}: packed tensor of ${describeSpec(checked)}, expected ${needed} int32 elements, got ${length}.`,
    );
  return checked;
}

/** Within what f32 multiplies without loss. */
const arePowers = (powers: unknown, batchShape: unknown, K: unknown): boolean =>
  Array.isArray(powers) &&
  powers.length === K &&
  Array.isArray(batchShape) &&
  batchShape.length === 0 &&
  powers.every((power) => Number.isInteger(power) && Math.abs(power) <= 64);

/** `int4 [768,3072]`, as reports and messages say it. */
export function describeSpec(spec: QuantizedSpec): string {
  return `${formatOf(spec)} ${shown(realShape(spec))}`;
}

/** One word for how the weights are kept. */
export function formatOf(spec: QuantizedSpec): FormatId | 'int16' | TableSpec['codes'] {
  if (spec.kind === 'table') return spec.codes;
  return spec.planes === 2 ? 'int16' : spec.format;
}
