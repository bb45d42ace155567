import { describe, expect, it } from 'vitest';
import { random } from '../../core/test/seeded.ts';
import { readModel } from '../src/read/model.ts';
import { type ByteSource, bytesSource } from '../src/read/source.ts';
import type { TensorRef } from '../src/read/tensor.ts';
import { type Columns, columnsMatrix, refusedColumns } from '../src/weights/columns.ts';
import { type TensorSpec, writeModel } from '../src/write/index.ts';

/** Tensors as a file has them; `slow` = a source that is read, as files are. */
function tensorsOf(specs: readonly TensorSpec[], slow?: (length: number) => void): TensorRef[] {
  const bytes = writeModel({ graph: { nodes: [], initializers: specs, inputs: [], outputs: [] } });
  const held = bytesSource(bytes);
  const source: ByteSource = slow
    ? {
        name: 'slow',
        byteLength: held.byteLength,
        read(offset, length, into = new Uint8Array(length)) {
          slow(length);
          into.set(held.read(offset, length));
          return into.subarray(0, length);
        },
        close: () => undefined,
      }
    : held;
  return readModel(source).graph.initializers as TensorRef[];
}

const next = random(7);
const codes = (length: number): Uint8Array => Uint8Array.from({ length }, () => next() * 256);
const floats = (length: number): Float32Array => Float32Array.from({ length }, () => next() - 0.5);

interface Case {
  readonly N: number;
  readonly K: number;
  readonly signed?: boolean;
  readonly byRows?: boolean;
  readonly scales?: number;
  readonly zeros?: number;
  readonly step?: number;
}

function specsOf({ N, K, signed = false, byRows = false, scales = 1, zeros = 0 }: Case): TensorSpec[] {
  const dtype = signed ? 'int8' : 'uint8';
  const as = (bytes: Uint8Array) => (signed ? new Int8Array(bytes.buffer) : bytes);
  return [
    { name: 'w', dtype, dims: byRows ? [N, K] : [K, N], data: as(codes(N * K)) },
    { name: 's', dtype: 'float32', dims: scales === 1 ? [] : [scales], data: floats(scales) },
    ...(zeros > 0 ? [{ name: 'z', dtype, dims: [zeros], data: as(codes(zeros)) } as TensorSpec] : []),
  ];
}

/** All rows as integers less zero points, times scales. */
function realOf(columns: Columns, step: number): number[] {
  const { N, K } = columns;
  const rows = columnsMatrix(columns).open();
  const values: number[] = [];
  const into = new Uint8Array(step * K);
  for (let n = 0; n < N; n += step) {
    const count = Math.min(step, N - n);
    const part = rows(n, count, into);
    expect(part).toMatchObject({ N: count, K, blockSize: null, format: 'int8' });
    const at = (array: ArrayLike<number>, i: number) => array[array.length === 1 ? 0 : i]!;
    const none = part.data instanceof Int8Array ? 0 : 128;
    for (let i = 0; i < count; i++)
      for (let k = 0; k < K; k++)
        values.push(at(part.scales, i) * (part.data[i * K + k]! - (part.zeroPoints ? at(part.zeroPoints, i) : none)));
  }
  return values;
}

function expected({ N, K, byRows = false }: Case, specs: readonly TensorSpec[]): number[] {
  const [w, s, z] = specs.map((spec) => ('data' in spec ? (spec.data as unknown as ArrayLike<number>) : undefined));
  const at = (array: ArrayLike<number>, i: number) => array[array.length === 1 ? 0 : i]!;
  return Array.from({ length: N * K }, (_, i) => {
    const [n, k] = [Math.floor(i / K), i % K];
    return at(s!, n) * (w![byRows ? i : k * N + n]! - (z ? at(z, n) : 0));
  });
}

describe('int8 and uint8 by columns', () => {
  it.each<Case>([
    { N: 1, K: 1 },
    { N: 3, K: 5, scales: 3 },
    { N: 16, K: 64, signed: true },
    { N: 17, K: 65, signed: true, scales: 17, zeros: 17 },
    { N: 37, K: 130, scales: 37, zeros: 1, step: 16 },
    { N: 37, K: 130, signed: true, zeros: 37, step: 16 },
    { N: 64, K: 257, byRows: true, scales: 64, zeros: 64, step: 16 },
    { N: 5, K: 7, byRows: true, signed: true },
  ])('%o', (given) => {
    const { N, K, byRows, step = N } = given;
    const specs = specsOf(given);
    for (const slow of [undefined, () => undefined]) {
      const [data, scale, zeroPoints] = tensorsOf(specs, slow);
      const columns: Columns = { N, K, data: data!, ...(byRows && { byRows }), scales: [scale!], zeroPoints };
      expect(refusedColumns(columns)).toBeUndefined();
      expect(realOf(columns, step)).toEqual(expected(given, specs));
    }
  });

  it('keeps no zero points where weights are symmetric', () => {
    const stored = (dtype: 'int8' | 'uint8', zeros: number[] | undefined): boolean => {
      const array = dtype === 'int8' ? Int8Array : Uint8Array;
      const [data, z] = tensorsOf([
        { name: 'w', dtype, dims: [2, 3], data: new array(6) },
        ...(zeros ? [{ name: 'z', dtype, dims: [zeros.length], data: array.from(zeros) } as TensorSpec] : []),
      ]);
      return columnsMatrix({ N: 3, K: 2, data: data!, scales: [1], zeroPoints: z }).storedZeroPoints;
    };
    expect(stored('int8', undefined)).toBe(false);
    expect(stored('int8', [0])).toBe(false);
    expect(stored('int8', [0, 0, 1])).toBe(true);
    expect(stored('uint8', undefined)).toBe(true);
    expect(stored('uint8', [128])).toBe(false);
    expect(stored('uint8', [128, 128, 128])).toBe(false);
    expect(stored('uint8', [128, 127, 128])).toBe(true);
  });

  it('reads a matrix of a file once, whatever the number of slabs', () => {
    const [N, K] = [320, 64];
    let bytes = 0;
    const [data] = tensorsOf(specsOf({ N, K }), (length) => (bytes += length));
    const rows = columnsMatrix({ N, K, data: data!, scales: [1], zeroPoints: undefined }).open();
    bytes = 0;
    for (let n = 0; n < N; n += 16) rows(n, 16, new Uint8Array(16 * K));
    expect(bytes).toBe(N * K);
  });

  it('multiplies what scales, f32 or fp16, numbers and tensors', () => {
    const half = new Uint16Array([0x3800, 0xc000]); // 0.5, -2
    const [data, s, h] = tensorsOf([
      { name: 'w', dtype: 'int8', dims: [1, 2], data: new Int8Array([1, 1]) },
      { name: 's', dtype: 'float32', dims: [1, 1], data: new Float32Array([3]) },
      { name: 'h', dtype: 'float16', dims: [1, 2], data: half },
    ]);
    const rows = columnsMatrix({ N: 2, K: 1, data: data!, scales: [s!, 0.25, h!], zeroPoints: undefined }).open();
    expect(rows(0, 2, new Uint8Array(2)).scales).toEqual(new Float32Array([0.375, -1.5]));
  });

  it('refuses scales and zero points that are not one or one per channel', () => {
    const refused = (scaleDims: number[], zeroDims: number[]): string | undefined => {
      const count = (dims: number[]) => dims.reduce((a, b) => a * b, 1);
      const [data, s, z] = tensorsOf([
        { name: 'w', dtype: 'uint8', dims: [2, 4], data: new Uint8Array(8) },
        { name: 's', dtype: 'float32', dims: scaleDims, data: new Float32Array(count(scaleDims)) },
        { name: 'z', dtype: 'uint8', dims: zeroDims, data: new Uint8Array(count(zeroDims)) },
      ]);
      return refusedColumns({ N: 4, K: 2, data: data!, scales: [s!], zeroPoints: z });
    };
    expect(refused([], [4])).toBeUndefined();
    expect(refused([1, 4], [1, 1])).toBeUndefined();
    expect(refused([2], [])).toBe('scales have shape [2]');
    expect(refused([2, 2], [])).toBe('scales have shape [2, 2]');
    expect(refused([1], [2, 2])).toBe('zero points have shape [2, 2]');
  });
});
