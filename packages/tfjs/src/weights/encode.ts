/**
 * How a constant becomes a packed matrix or table. Stored integers stay what they are; floats that lie on a grid of 256
 * levels get their integers back; only real floats are quantized.
 */
import { type FormatId, type QuantizedWeights, rowExtent, rowReader } from '@msd/core';
import { type Packed, packMatrices, packPlanes, packStoredTable, packTable, transpose } from '../pack.ts';
import { sourcesOf } from '../rows.ts';
import type { MatrixSpec, QuantizedSpec, TableSpec } from '../spec.ts';
import { floatsOf, type StoredCodes, type StoredValues } from './source.ts';

/** For floats; what is stored quantized keeps its form. */
export interface WeightFormatOptions {
  readonly format: FormatId;
  readonly blockSize: number | null | undefined;
}

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

export interface Encoded {
  readonly packed: Packed;
  /** ‖W − W′‖ / ‖W‖ against the floats that tfjs would have used; 0 = the stored integers, as they were. */
  readonly error: number;
  /** What was done, for the report. */
  readonly how: 'stored integers kept' | 'integers recovered' | 'stored floats as 16-bit integers' | 'quantized';
}

export function encode(stored: StoredValues, view: WeightView, options: WeightFormatOptions): Encoded {
  const grid = stored.kind === 'float32' ? gridOf(stored.values) : undefined;
  const how = grid
    ? 'integers recovered'
    : stored.kind === 'uint8' || stored.kind === 'uint16' || (stored.kind === 'float16' && view.kind === 'table')
      ? 'stored integers kept'
      : stored.kind === 'float16'
        ? 'stored floats as 16-bit integers'
        : 'quantized';
  const isExact = how === 'stored integers kept';
  if (view.kind === 'table') {
    const packed = encodeTable(grid ?? stored, view);
    return { packed, how, error: isExact ? 0 : relativeError(packed, floatsOf(stored)) };
  }
  const codes = grid ?? stored;
  if ((codes.kind === 'uint8' || codes.kind === 'uint16') && isExact)
    return { packed: encodeCodes(codes, view), how, error: 0 };
  // Row by row as they are packed: for the integers, and for the error after that.
  const rows = rowMajor(floatsOf(stored), view);
  const packed = grid ? encodeCodes(grid, view) : encodeFloats(rows, stored.kind === 'float16', view, options);
  return { packed, how, error: relativeError(packed, rows) };
}

function encodeTable(stored: StoredValues, { rows, columns }: TableView): Packed<TableSpec> {
  if (stored.kind === 'float32') return packTable(stored.values, rows, columns);
  const { scale, min } = stored.kind === 'float16' ? { scale: 1, min: 0 } : stored;
  return packStoredTable(stored.values, { codes: stored.kind, rows, columns, scale, min });
}

/** @param rows [batch…][N,K] */
function encodeFloats(
  rows: Float32Array,
  isHalf: boolean,
  view: MatrixView,
  options: WeightFormatOptions,
): Packed<MatrixSpec> {
  if (!isHalf) return packMatrices(rows, view, options);
  const planes = split(rows, view).flatMap((part) => int16Planes(part, view));
  return packPlanes(planes, { batchShape: view.batchShape, planes: 2, offset: 0 });
}

function encodeCodes(stored: StoredCodes, view: MatrixView): Packed<MatrixSpec> {
  const { batchShape } = view;
  const { scale, min } = stored;
  if (stored.kind === 'uint8') {
    const { zeroPoint, offset } = zeroPointOf(scale, min);
    const parts = split(rowMajor(stored.values, view), view).map((data) => uint8Weights(data, view, scale, zeroPoint));
    return packPlanes(parts, { batchShape, planes: 1, offset });
  }
  // 256·(high − 128) + (low − 128) = code − 32896
  const parts = split(rowMajor(stored.values, view), view).flatMap((part) => [
    uint8Weights(bytesOf(part, 8), view, 256 * scale, 128),
    uint8Weights(bytesOf(part, 0), view, scale, 128),
  ]);
  return packPlanes(parts, { batchShape, planes: 2, offset: min + 32896 * scale });
}

/** Eight bits of each code, from `shift` up. */
function bytesOf(codes: Uint16Array, shift: number): Uint8Array {
  const out = new Uint8Array(codes.length);
  for (let i = 0; i < codes.length; i++) out[i] = codes[i]! >> shift;
  return out;
}

/** Codes 0..255 with one scale and zero point for all. */
function uint8Weights(data: Uint8Array, { N, K }: MatrixView, scale: number, zeroPoint: number): QuantizedWeights {
  const scales = new Float32Array(N).fill(scale);
  const zeroPoints = zeroPoint === 128 ? undefined : new Uint8Array(N).fill(zeroPoint);
  return { format: 'int8', N, K, blockSize: null, data, scales, ...(zeroPoints && { zeroPoints }) };
}

/** How far −min / scale may be from an integer and still be one: the converter writes nudged ranges in decimals. */
const NUDGED = 2 ** -10;

/** real = scale · (code − zeroPoint) + offset; the offset is what no integer zero point of a byte covers. */
function zeroPointOf(scale: number, min: number): { zeroPoint: number; offset: number } {
  const zeroPoint = Math.round(-min / scale);
  const isByte = zeroPoint >= 0 && zeroPoint <= 255;
  if (isByte && Math.abs(-min / scale - zeroPoint) < NUDGED) return { zeroPoint, offset: 0 };
  return { zeroPoint: 128, offset: min + 128 * scale };
}

/** 256·127 + 127: the largest code whose two signed bytes exist on both sides. */
const INT16_LEVELS = 32639;

/** Per channel, code = 256·high + low with signed bytes. */
function int16Planes(values: Float32Array, { N, K }: MatrixView): QuantizedWeights[] {
  const [high, low] = [new Int8Array(N * K), new Int8Array(N * K)];
  const [highScales, lowScales] = [new Float32Array(N), new Float32Array(N)];
  for (let n = 0; n < N; n++) {
    let max = 0;
    for (let i = n * K; i < (n + 1) * K; i++) max = Math.max(max, Math.abs(values[i]!));
    const scale = Math.fround(max / INT16_LEVELS);
    lowScales[n] = scale;
    highScales[n] = 256 * scale;
    for (let i = n * K; i < (n + 1) * K; i++) {
      const code = scale ? Math.max(-INT16_LEVELS, Math.min(INT16_LEVELS, Math.round(values[i]! / scale))) : 0;
      low[i] = code; // the lower eight bits, signed
      high[i] = (code - low[i]!) / 256;
    }
  }
  const shape = { format: 'int8', N, K, blockSize: null } as const;
  return [
    { ...shape, data: high, scales: highScales },
    { ...shape, data: low, scales: lowScales },
  ];
}

/** [batch…][N,K], whichever way round the constant is. */
function rowMajor<T extends Float32Array | Uint8Array | Uint16Array>(values: T, { N, K, transposed }: MatrixView): T {
  if (transposed) return values;
  const out = new (values.constructor as new (length: number) => T)(values.length);
  for (let at = 0; at < values.length; at += N * K)
    transpose(values.subarray(at, at + N * K) as T, K, N, out.subarray(at, at + N * K) as T);
  return out;
}

function split<T extends Float32Array | Uint8Array | Uint16Array>(values: T, { N, K }: MatrixView): T[] {
  const parts: T[] = [];
  for (let at = 0; at < values.length; at += N * K) parts.push(values.subarray(at, at + N * K) as T);
  return parts;
}

const LEVELS = 256;
/** Decoding `code · scale + min` to f32 rounds once: half a step of the largest magnitude. */
const ROUNDING = 2 ** -23;

/** The codes of values that lie on an even grid of 256 levels, if they do. */
export function gridOf(values: Float32Array): Extract<StoredCodes, { kind: 'uint8' }> | undefined {
  const distinct = new Set<number>();
  for (const value of values) {
    if (!distinct.has(value)) {
      if (distinct.size === LEVELS || !Number.isFinite(value)) return undefined;
      distinct.add(value);
    }
  }
  const levels = [...distinct].sort((a, b) => a - b);
  const [min, max] = [levels[0] ?? 0, levels.at(-1) ?? 0];
  if (levels.length < 3) return undefined; // constants and flags are no quantized matrix
  let gap = Number.POSITIVE_INFINITY;
  for (let i = 1; i < levels.length; i++) gap = Math.min(gap, levels[i]! - levels[i - 1]!);
  const steps = Math.round((max - min) / gap);
  if (steps >= LEVELS) return undefined;
  const scale = (max - min) / steps;
  const tolerance = 2 * ROUNDING * Math.max(Math.abs(min), Math.abs(max));
  const codeOf = new Map<number, number>();
  for (const value of levels) {
    const code = Math.round((value - min) / scale);
    if (Math.abs(code * scale + min - value) > tolerance) return undefined;
    codeOf.set(value, code);
  }
  const codes = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) codes[i] = codeOf.get(values[i]!)!;
  return { kind: 'uint8', values: codes, scale, min };
}

/** @param rows [rows, columns] of a table, [batch…][N,K] of a matrix */
function relativeError({ spec, data }: Packed<QuantizedSpec>, rows: Float32Array): number {
  const sums = { error: 0, size: 0 };
  const { rows: count, columns } = rowExtent(spec);
  const row = new Float32Array(columns);
  sourcesOf(spec, new Uint8Array(data.buffer)).forEach((bytes, index) => {
    const read = rowReader(spec, bytes);
    for (let n = 0; n < count; n++) {
      read(n, row);
      addErrors(row, rows, (index * count + n) * columns, sums);
    }
  });
  return sums.size ? Math.sqrt(sums.error / sums.size) : 0;
}

function addErrors(got: Float32Array, want: Float32Array, at: number, sums: { error: number; size: number }): void {
  let [error, size] = [0, 0];
  for (let i = 0; i < got.length; i++) {
    const value = want[at + i]!;
    error += (got[i]! - value) ** 2;
    size += value ** 2;
  }
  sums.error += error;
  sums.size += size;
}
