import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, kernelHashes, referenceOp, tensor } from '../../../test/ops.ts';
import { type Random, random } from '../../../test/random.ts';
import { halves } from '../../formats/half.ts';
import { type DType, elementCount, type Tensor } from '../../ops/op.ts';
import { gather, gatherRows } from './gather.ts';
import { gatherKernel, gatherRowsKernels, gatherRowsVariants, gatherVariants } from './gather.wasm.ts';
import { type ReadBytes, readFrom, rowReader } from './reader.ts';
import { type BlockRows, checkIndices, type Table, tableLayout } from './table.ts';

const options = { numRuns: process.env.MSD_TEST_ALL === '1' ? 500 : 100 };
const dim = fc.constantFrom<number>(1, 2, 3, 4, 5, 8, 15, 16, 17, 33);
const dims = (maxLength: number) => fc.array(dim, { maxLength });

const counted = (dtype: DType, shape: readonly number[]): Tensor =>
  tensor(
    dtype,
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => (dtype === 'bool' ? (i >> 1) & 1 : i + 1)),
  );

/** Some of them no row at all. */
const someIndices = (next: Random, shape: readonly number[], rows: number): Tensor =>
  tensor(
    'i32',
    shape,
    Array.from({ length: elementCount(shape) }, () => Math.floor((next() * 2.4 - 1.2) * (rows + 1))),
  );

describe('gather', () => {
  it('takes slices along any axis, zeros where an index is no row', () => {
    const dtype = fc.constantFrom<DType>('f32', 'i32', 'bool');
    fc.assert(
      fc.property(dtype, dims(2), dim, dims(2), dims(2), fc.integer(), (type, outer, rows, inner, shape, seed) => {
        const x = counted(type, [...outer, rows, ...inner]);
        const indices = someIndices(random(seed), shape, rows);
        const [y] = expectBits(gather, { axis: outer.length }, [x, indices]);
        expect(y.dims).toEqual([...outer, ...shape, ...inner]);
        const [count, width] = [elementCount(shape), elementCount(inner)];
        for (let i = 0; i < y.data.length; i++) {
          const [o, n, j] = [Math.floor(i / width / count), Math.floor(i / width) % count, i % width];
          const row = indices.data[n] < 0 ? indices.data[n] + rows : indices.data[n];
          const want = row >= 0 && row < rows ? x.data[(o * rows + row) * width + j] : 0;
          if (y.data[i] !== want) expect.fail(`y[${i}] expected ${want}, got ${y.data[i]}`);
        }
      }),
      options,
    );
  });

  it('counts axes from the end, and gathers nothing from nothing', () => {
    const y = expectBits(gather, { axis: -1 }, [counted('f32', [2, 3]), tensor('i32', [], [-1])])[0];
    expect([y.dims, [...y.data]]).toEqual([[2], [3, 6]]);
    expect(expectBits(gather, {}, [counted('f32', [0, 3]), tensor('i32', [2], [0, 1])])[0].data).toHaveLength(6);
    expect(expectBits(gather, {}, [counted('f32', [4, 3]), tensor('i32', [0], [])])[0].dims).toEqual([0, 3]);
  });

  it('says which index is no row', () => {
    expect(() => checkIndices('gather', [0, -3, 2], 3)).not.toThrow();
    expect(() => checkIndices('gather', [0n, 3n], 3)).toThrow(
      new RangeError('gather: indices[1] expected -3..2 for 3 rows, got 3.'),
    );
    expect(() => checkIndices('gather', [-4], 3)).toThrow(RangeError);
    expect(() => checkIndices('gather', [Number.NaN], 3)).toThrow(RangeError);
  });

  it.each<[number | undefined, Parameters<typeof gather.infer>[1], string]>([
    [2, [counted('f32', [2, 3]), counted('i32', [1])], 'gather: axis expected -2..1, got 2.'],
    [0, [counted('f32', []), counted('i32', [1])], 'gather: x expected at least one dimension, got [].'],
    [0, [counted('f32', [2]), counted('f32', [1])], 'gather: indices expected i32, got f32.'],
    [0, [counted('f32', [2]), undefined], 'gather: indices expected i32, got nothing.'],
  ])('refuses axis %j of %j', (axis, inputs, message) => {
    expect(() => gather.infer({ axis }, inputs)).toThrow(new RangeError(message));
  });
});

const blockFormat: fc.Arbitrary<BlockRows> = fc.record({
  kind: fc.constant('blocks'),
  bits: fc.constantFrom(4, 8),
  signed: fc.boolean(),
  blockSize: fc.constantFrom(2, 8, 16, 32, 48),
  scales: fc.constantFrom('f32', 'f16', 'bf16'),
  zeroPoints: fc.constantFrom(undefined, 'flat', 'rows'),
  zeroPoint: fc.constantFrom(undefined, 0, 8, 128),
});
const table: fc.Arbitrary<Table> = fc.record({
  rows: fc.constantFrom(1, 2, 3, 7),
  columns: fc.constantFrom(2, 4, 6, 14, 16, 18, 32, 34, 64, 66, 96, 100),
  format: fc.oneof(fc.constantFrom('f32', 'f16', 'bf16'), blockFormat),
});

const words = (bytes: Uint8Array): Tensor => {
  const data = new Int32Array(Math.ceil(bytes.length / 4));
  new Uint8Array(data.buffer).set(bytes);
  return { dtype: 'i32', dims: [data.length], data };
};
const f32 = (bytes: Uint8Array): Tensor => {
  const data = new Float32Array(bytes.slice().buffer);
  return { dtype: 'f32', dims: [data.length], data };
};
const bytesOf = (next: Random, length: number) => Uint8Array.from({ length }, () => next() * 256);

/** Floats that are numbers: halves of any bits, f32 of any significand. */
function floatBytes(next: Random, type: 'f32' | 'f16' | 'bf16', length: number): Uint8Array {
  const bytes = bytesOf(next, length);
  if (type === 'f32') for (let i = 3; i < length; i += 4) bytes[i] = (bytes[i] & 0x80) | 0x3e;
  return bytes;
}

function filled(next: Random, of: Table) {
  const { total } = tableLayout(of);
  const { format } = of;
  const isPlain = typeof format === 'string';
  return {
    rows: isPlain ? floatBytes(next, format, total.rows) : bytesOf(next, total.rows),
    scales: isPlain ? undefined : floatBytes(next, format.scales, total.scales),
    zeroPoints: total.zeroPoints > 0 ? bytesOf(next, total.zeroPoints) : undefined,
  };
}

function operandsOf({ format }: Table, { rows, scales, zeroPoints }: ReturnType<typeof filled>, indices: Tensor) {
  if (typeof format === 'string') return [format === 'f32' ? f32(rows) : words(rows), indices];
  return [words(rows), indices, (format.scales === 'f32' ? f32 : words)(scales!), zeroPoints && words(zeroPoints)];
}

/** The definition, bit by bit. */
function real(
  { columns, format }: Table,
  { rows, scales, zeroPoints }: ReturnType<typeof filled>,
  r: number,
  c: number,
): number {
  const number = (type: 'f32' | 'f16' | 'bf16', bytes: Uint8Array, i: number) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return type === 'f32' ? view.getFloat32(4 * i, true) : halves[type].value(view.getUint16(2 * i, true));
  };
  if (typeof format === 'string') return number(format, rows, r * columns + c);
  const { bits, signed, blockSize } = format;
  const code = (bytes: Uint8Array, i: number) => {
    const value = bits === 8 ? bytes[i] : (bytes[i >> 1] >> (4 * (i & 1))) & 15;
    return signed && value >= 2 ** (bits - 1) ? value - 2 ** bits : value;
  };
  const blocks = Math.ceil(columns / blockSize);
  const stride = format.zeroPoints === 'rows' && bits === 4 ? blocks + (blocks & 1) : blocks;
  const b = Math.floor(c / blockSize);
  const zero = zeroPoints ? code(zeroPoints, r * stride + b) : (format.zeroPoint ?? 0);
  return (code(rows, r * columns + c) - zero) * number(format.scales, scales!, r * blocks + b);
}

describe('gather_rows', () => {
  it('gives the bits of the definition, on the reference, in the arena and from bytes', () => {
    fc.assert(
      fc.property(table, dims(2), fc.integer(), (of, shape, seed) => {
        const next = random(seed);
        const stored = filled(next, of);
        const indices = someIndices(next, shape, of.rows);
        const operands = operandsOf(of, stored, indices);
        const [y] = expectBits(gatherRows, { table: of }, operands);
        expect(y.dims).toEqual([...shape, of.columns]);
        const [exact] = referenceOp(gatherRows, { table: of }, operands, 'float64');
        indices.data.forEach((index, i) => {
          const row = index < 0 ? index + of.rows : index;
          for (let c = 0; c < of.columns; c++) {
            const want = row >= 0 && row < of.rows ? real(of, stored, row, c) : 0;
            const at = i * of.columns + c;
            if (!Object.is(exact.data[at], want) || !Object.is(y.data[at], Math.fround(want)))
              expect.fail(`y[${at}] expected ${want}, got ${exact.data[at]} and ${y.data[at]}`);
          }
        });
        const rows = indices.data.map((index) => ((index % of.rows) + of.rows) % of.rows);
        const out = new Float32Array(rows.length * of.columns);
        const read = (bytes: Uint8Array | undefined): ReadBytes | undefined => bytes && readFrom(bytes);
        rowReader(of, {
          rows: readFrom(stored.rows),
          scales: read(stored.scales),
          zeroPoints: read(stored.zeroPoints),
        })(rows, out);
        const [want] = referenceOp(gatherRows, { table: of }, operandsOf(of, stored, { ...indices, data: rows }));
        expect(out).toEqual(want.data);
      }),
      options,
    );
  });

  it('reads nothing but the rows that are asked for, and writes nothing if one is none', () => {
    const reads: [number, number][] = [];
    const rows: ReadBytes = (offset, into) => {
      reads.push([offset, into.length]);
      new Float32Array(into.buffer).fill(offset);
    };
    const lookUp = rowReader({ rows: 10, columns: 3, format: 'f32' }, { rows });
    const out = new Float32Array(6);
    lookUp([4n, -1n], out);
    expect(reads).toEqual([
      [48, 12],
      [108, 12],
    ]);
    expect([...out]).toEqual([48, 48, 48, 108, 108, 108]);
    expect(() => lookUp([0, 10], out)).toThrow(
      new RangeError('gatherRows: indices[1] expected -10..9 for 10 rows, got 10.'),
    );
    expect(() => lookUp([0], out)).toThrow(new RangeError('gatherRows: out expected 1 x 3 floats, got 6.'));
    expect(reads).toHaveLength(2);
    expect([...out]).toEqual([48, 48, 48, 108, 108, 108]);
  });

  const blocks: BlockRows = {
    kind: 'blocks',
    bits: 4,
    signed: false,
    blockSize: 32,
    scales: 'f32',
    zeroPoints: 'rows',
  };
  it('refuses tables that are none', () => {
    expect(() => tableLayout({ rows: 2, columns: 5, format: blocks })).toThrow(
      new RangeError('gatherRows: columns expected an even number for codes of 4 bits, got 5.'),
    );
    expect(() => tableLayout({ rows: 2, columns: 6, format: { ...blocks, blockSize: 3 } })).toThrow(
      new RangeError('gatherRows: blockSize expected an even number, got 3.'),
    );
    expect(() => rowReader({ rows: 2, columns: 6, format: blocks }, { rows: () => {}, scales: () => {} })).toThrow(
      new TypeError('gatherRows: sources expected rows, scales and zeroPoints, got rows,scales.'),
    );
    const infer = (...inputs: Tensor[]) => gatherRows.infer({ table: { rows: 2, columns: 6, format: blocks } }, inputs);
    expect(() => infer(counted('i32', [1]), counted('i32', [1]))).toThrow(
      new RangeError('gather_rows: table expected 2 i32, got 1 i32.'),
    );
    expect(() => infer(counted('i32', [2]), counted('i32', [1]), counted('f32', [2]))).toThrow(
      new RangeError('gather_rows: zeroPoints expected 1 i32, got nothing.'),
    );
  });

  it('has the kernels that were reviewed', () => {
    expect([
      ...kernelHashes(gatherKernel, gatherVariants),
      ...kernelHashes(gatherRowsKernels, gatherRowsVariants),
    ]).toMatchSnapshot();
  });
});
