/**
 * Rows of a quantized table, or of a packed matrix [N,K], as floats: `real = scale · code + min`, rounded once to f32. For
 * tables of a manifest that is bit for bit what tfjs's own decoder makes of them.
 */
import { packedRows, UnsupportedError } from '@msd/core';
import { describeSpec, type MatrixSpec, matrixCount, planeBytes, type QuantizedSpec, type TableSpec } from './spec.ts';

/** Writes row n at `out[at…]`. */
export type RowReader = (n: number, out: Float32Array, at: number) => void;

export interface Rows {
  readonly count: number;
  readonly length: number;
  readonly read: RowReader;
}

/** @param bytes of the packed tensor; read on every call, not copied */
export function rowsOf(spec: QuantizedSpec, bytes: Uint8Array<ArrayBufferLike>, where: string): Rows {
  if (spec.kind === 'table') return { count: spec.rows, length: spec.columns, read: tableRows(spec, bytes) };
  if (matrixCount(spec) > 1)
    throw new UnsupportedError(`${where}: rows of ${describeSpec(spec)}, expected one matrix, got a batch.`);
  return { count: spec.N, length: spec.K, read: matrixRows(spec, bytes, 0) };
}

function tableRows({ codes, rows, columns, scale, min }: TableSpec, bytes: Uint8Array<ArrayBufferLike>): RowReader {
  const { buffer, byteOffset } = bytes;
  const length = rows * columns;
  switch (codes) {
    case 'int8': {
      const values = new Int8Array(buffer, byteOffset, length);
      const scales = new Float32Array(buffer, byteOffset + 4 * Math.ceil(length / 4), rows);
      return (n, out, at) => {
        const rowScale = scales[n]!;
        for (let i = 0, from = n * columns; i < columns; i++) out[at + i] = rowScale * values[from + i]!;
      };
    }
    case 'uint8': {
      const values = new Uint8Array(buffer, byteOffset, length);
      const real = Float32Array.from({ length: 256 }, (_, code) => code * scale + min);
      return (n, out, at) => {
        for (let i = 0, from = n * columns; i < columns; i++) out[at + i] = real[values[from + i]!]!;
      };
    }
    case 'uint16': {
      const values = new Uint16Array(buffer, byteOffset, length);
      return (n, out, at) => {
        for (let i = 0, from = n * columns; i < columns; i++) out[at + i] = values[from + i]! * scale + min;
      };
    }
    case 'float16': {
      const values = new Uint16Array(buffer, byteOffset, length);
      return (n, out, at) => {
        for (let i = 0, from = n * columns; i < columns; i++) out[at + i] = fromFloat16(values[from + i]!);
      };
    }
  }
}

/** Value of fp16 bits, infinities and NaN included. */
export function fromFloat16(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24);
}

/** Rows [K] of matrix `index` as packed, that is columns of the real [K,N]. */
export function matrixRows(spec: MatrixSpec, bytes: Uint8Array<ArrayBufferLike>, index: number): RowReader {
  const size = planeBytes(spec);
  const plane = (p: number) => {
    const at = (index * spec.planes + p) * size;
    return packedRows(spec, bytes.subarray(at, at + size));
  };
  const [first, second] = [plane(0), spec.planes === 2 ? plane(1) : undefined];
  if (!second && !spec.offset) return first;
  const rest = new Float32Array(spec.K);
  return (n, out, at) => {
    first(n, out, at);
    second?.(n, rest, 0);
    for (let k = 0; k < spec.K; k++) out[at + k] = out[at + k]! + rest[k]! + spec.offset;
  };
}

/** The whole real tensor: [batch…,K,N] or [rows,columns]. */
export function realValues(spec: QuantizedSpec, bytes: Uint8Array<ArrayBufferLike>): Float32Array {
  if (spec.kind === 'table') {
    const out = new Float32Array(spec.rows * spec.columns);
    const read = tableRows(spec, bytes);
    for (let n = 0; n < spec.rows; n++) read(n, out, n * spec.columns);
    return out;
  }
  const { N, K } = spec;
  const count = matrixCount(spec);
  const out = new Float32Array(count * N * K);
  const row = new Float32Array(K);
  for (let index = 0; index < count; index++) {
    const read = matrixRows(spec, bytes, index);
    for (let n = 0; n < N; n++) {
      read(n, row, 0);
      for (let k = 0, to = index * N * K + n; k < K; k++, to += N) out[to] = row[k]!;
    }
  }
  return out;
}
