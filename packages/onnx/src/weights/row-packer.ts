/** Reads rows [n, k] of codes that a file has as [N, K] or [K, N], padded to whole blocks; signed codes of few bits become unsigned. */
import { partReader, type TensorRef } from '../read/tensor.ts';
import { bytesReader } from './columns.ts';
import type { Layout } from './dequantized-matrix.ts';
import { codesReader, packCodes } from './numbers.ts';

/** Rows [n, n + count), packed; `into` has room for them. */
export type PackRows = (n: number, count: number, into: Uint8Array) => Uint8Array;

/** @param padded k of a row of the result */
export function rowPacker(data: TensorRef, layout: Layout, padded: number, bits: number, isSigned: boolean): PackRows {
  const { N, K, byRows } = layout;
  if (bits === 8) return bytesPacker(data, layout, padded);
  const rowBytes = (padded * bits) / 8;
  // What makes signed codes unsigned, in each of a byte's places.
  const flip = isSigned ? (bits === 4 ? 0x88 : 0xaa) : 0;
  const isWhole = byRows ? (K * bits) % 8 === 0 : bits === 4 && N % 2 === 0 && K % 2 === 0;
  const pack = !isWhole
    ? codesPacker(data, layout, bits, rowBytes)
    : byRows
      ? rowsPacker(data, (K * bits) / 8, rowBytes)
      : nibblesPacker(data, layout, rowBytes);
  return (n, count, into) => {
    const out = into.length >= count * rowBytes ? into.subarray(0, count * rowBytes) : new Uint8Array(count * rowBytes);
    pack(n, count, out);
    if (flip !== 0) for (let i = 0; i < out.length; i++) out[i]! ^= flip;
    return out;
  };
}

type Fill = (n: number, count: number, out: Uint8Array) => void;

/** Rows that begin at a byte. */
function rowsPacker(data: TensorRef, fileBytes: number, rowBytes: number): Fill {
  const read = partReader(data);
  return (n, count, out) => {
    if (fileBytes === rowBytes) {
      const rows = read(n * fileBytes, count * fileBytes, out);
      if (rows.byteOffset !== out.byteOffset || rows.buffer !== out.buffer) out.set(rows);
    } else for (let row = 0; row < count; row++) out.set(read((n + row) * fileBytes, fileBytes), row * rowBytes);
  };
}

/** [K, N] with two n in a byte: transposed as bytes, then two k of one n are put together. */
function nibblesPacker(data: TensorRef, { N, K }: Layout, rowBytes: number): Fill {
  const read = bytesReader(data, { N: N / 2, K });
  let turned = new Uint8Array(0);
  return (n, count, out) => {
    const first = n >> 1;
    const pairs = ((n + count + 1) >> 1) - first;
    if (turned.length !== pairs * K) turned = new Uint8Array(pairs * K);
    read(first, pairs, turned);
    for (let row = 0; row < count; row++) {
      const from = (((n + row) >> 1) - first) * K;
      const isHigh = (n + row) % 2 === 1;
      for (let k = from, to = row * rowBytes; k < from + K; k += 2, to++) {
        const [a, b] = [turned[k]!, turned[k + 1]!];
        out[to] = isHigh ? (a >> 4) | (b & 0xf0) : (a & 15) | ((b & 15) << 4);
      }
    }
  };
}

/** Whatever lies across bytes: one code at a time. */
function codesPacker(data: TensorRef, { N, K, byRows }: Layout, bits: number, rowBytes: number): Fill {
  const read = codesReader(data, bits);
  return (n, count, out) => {
    let codes: Uint8Array;
    if (byRows) codes = read(n * K, count * K);
    else {
      codes = new Uint8Array(count * K);
      for (let k = 0; k < K; k++) {
        const line = read(k * N + n, count);
        for (let row = 0; row < count; row++) codes[row * K + k] = line[row]!;
      }
    }
    packCodes(codes, bits, K, rowBytes, out);
  };
}

function bytesPacker(data: TensorRef, layout: Layout, padded: number): PackRows {
  const { K } = layout;
  const read = bytesReader(data, layout);
  if (K === padded) return read;
  let rows = new Uint8Array(0);
  return (n, count, into) => {
    const out = into.length >= count * padded ? into.subarray(0, count * padded) : new Uint8Array(count * padded);
    if (rows.length !== count * K) rows = new Uint8Array(count * K);
    const codes = read(n, count, rows);
    for (let row = 0; row < count; row++) out.set(codes.subarray(row * K, (row + 1) * K), row * padded);
    return out;
  };
}
