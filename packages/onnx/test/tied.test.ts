/** GatherBlockQuantized beside onnxruntime-web; tables that are a product's matrix, too. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { TensorSpec } from '../src/write/index.ts';
import { CLOSE, relativeMost } from './close.ts';
import { model, random } from './models.ts';
import { floats, ort, session } from './ort.ts';

interface TableOptions {
  readonly rows?: number;
  readonly columns?: number;
  readonly bits?: 2 | 4 | 8;
  readonly blockSize?: number;
  readonly zeroPoints?: boolean;
  readonly dtype?: 'uint8' | 'uint4' | 'int4';
  /** Sizes of a row. */
  readonly row?: readonly number[];
  /** A product with the same codes, [rows, blocks, bytes], which a Reshape makes of them. */
  readonly tied?: boolean;
}

function table(options: TableOptions): Uint8Array {
  const {
    rows = 11,
    columns = 64,
    bits = 4,
    blockSize = 32,
    zeroPoints = false,
    dtype = 'uint8',
    tied = false,
  } = options;
  const { row = [columns] } = options;
  const next = random(columns);
  const bytes = (length: number) => Uint8Array.from({ length }, () => next() * 256);
  const last = row.at(-1)!;
  const blocks = Math.ceil(last / blockSize);
  const packed = (count: number) => (dtype === 'uint8' ? Math.ceil((count * bits) / 8) : count);
  const dims = (size: number) => [rows, ...row.slice(0, -1), size];
  const count = (sizes: readonly number[]) => sizes.reduce((product, size) => product * size, 1);
  const raw = (name: string, sizes: number[]): TensorSpec => ({
    name,
    dtype,
    dims: sizes,
    data: bytes(dtype === 'uint8' ? count(sizes) : Math.ceil(count(sizes) / 2)),
  });
  const codes = raw('codes', tied ? [rows, blocks, (blockSize * bits) / 8] : dims(packed(last)));
  const scales = Float32Array.from({ length: count(dims(blocks)) }, () => next() - 0.5);
  const initializers: TensorSpec[] = [codes, { name: 'scales', dtype: 'float32', dims: dims(blocks), data: scales }];
  if (zeroPoints) initializers.push(raw('zeros', dims(packed(blocks))));
  if (tied)
    initializers.push({
      name: 'shape',
      dtype: 'int64',
      dims: [2],
      data: BigInt64Array.from([BigInt(rows), BigInt(packed(last))]),
    });
  const rest = ['scales', ...(zeroPoints ? ['zeros'] : [])];
  const int = (value: number) => ({ int: value });
  return model({
    nodes: [
      ...(tied ? [{ opType: 'Reshape', name: 'reshape', inputs: ['codes', 'shape'], outputs: ['rows'] }] : []),
      {
        opType: 'GatherBlockQuantized',
        domain: 'com.microsoft',
        name: 'gather',
        inputs: [tied ? 'rows' : 'codes', 'ids', ...rest],
        outputs: ['h'],
        attributes: {
          bits: int(bits),
          block_size: int(blockSize),
          gather_axis: int(0),
          quantize_axis: int(row.length),
        },
      },
      ...(tied
        ? [
            {
              opType: 'MatMulNBits',
              domain: 'com.microsoft',
              name: 'head',
              inputs: ['h', 'codes', ...rest],
              outputs: ['y'],
              attributes: { K: int(columns), N: int(rows), bits: int(bits), block_size: int(blockSize) },
            },
          ]
        : []),
    ],
    initializers,
    inputs: [{ name: 'ids', dtype: 'int64', dims: ['tokens'] }],
    outputs: [{ name: 'h', dtype: 'float32' }, ...(tied ? [{ name: 'y', dtype: 'float32' as const }] : [])],
  });
}

const ids = (...values: number[]) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [values.length]);

const all = { name: 'msd', claim: 'all', debug: true } as const;

describe('GatherBlockQuantized', () => {
  it.each<[string, TableOptions]>([
    ['4 bits', {}],
    ['8 bits, zero points', { bits: 8, zeroPoints: true }],
    ['2 bits', { bits: 2 }],
    ['2 bits, zero points that fill no whole byte', { bits: 2, zeroPoints: true, columns: 96 }],
    ['2 bits, five blocks', { bits: 2, zeroPoints: true, columns: 80, blockSize: 16 }],
    ['uint4', { dtype: 'uint4', zeroPoints: true }],
    ['int4', { dtype: 'int4' }],
    ['rows of two dimensions', { row: [3, 64] }],
    ['rows of two dimensions, uint4 with zero points', { row: [3, 32], dtype: 'uint4', zeroPoints: true }],
    ['blocks of 16', { blockSize: 16 }],
  ])('%s: the bits of ONNX Runtime', async (_, options) => {
    const bytes = table(options);
    const [msd, plain] = [await session(bytes, all), await session(bytes, 'wasm')];
    const feeds = { ids: ids(3, 0, -1, 10, 3) };
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(got.h!.dims).toEqual(want.h!.dims);
    expect(floats(got.h)).toEqual(floats(want.h));
    await Promise.all([msd.release(), plain.release()]);
  });
});

describe('a head that is tied to its embedding', () => {
  it.each<[string, TableOptions]>([
    ['4 bits', { tied: true }],
    ['4 bits, zero points', { tied: true, zeroPoints: true, columns: 96 }],
    ['8 bits', { tied: true, bits: 8, rows: 33 }],
    ['2 bits', { tied: true, bits: 2 }],
  ])('%s: rows come out of the packed matrix', async (_, options) => {
    const bytes = table(options);
    const [msd, plain] = [await session(bytes, all), await session(bytes, 'wasm')];
    const feeds = { ids: ids(3, 0, -1, 10) };
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(floats(got.h)).toEqual(floats(want.h));
    expect(relativeMost(floats(got.y), floats(want.y))).toBeLessThan(CLOSE);
    await expect(msd.run({ ids: ids(-100) })).rejects.toThrow(RangeError);
    await Promise.all([msd.release(), plain.release()]);
  });

  it('needs nothing of the file any more', async () => {
    const bytes = table({ tied: true, rows: 8192, columns: 512 }); // too large to be copied
    const plain = await session(bytes.slice(), 'wasm');
    const msd = await session(bytes, all);
    structuredClone(bytes, { transfer: [bytes.buffer] });
    const feeds = { ids: ids(8191, 17) };
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(floats(got.h)).toEqual(floats(want.h));
    await Promise.all([msd.release(), plain.release()]);
  });

  it('reads a table of which nobody makes a product from the file', async () => {
    const msd = await session(table({ rows: 8192, columns: 512 }), all);
    expect(reportOf(msd)!.weights.packedBytes).toBe(0);
    const { h } = await msd.run({ ids: ids(5) });
    expect(h!.dims).toEqual([1, 512]);
    await msd.release();
  });
});
