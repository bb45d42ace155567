/** The option `quantize`: float weights of MatMul and Gemm become integers while a model is loaded. */
import {
  dequantizeWeights,
  errorBound,
  floatsOfFp16,
  fp16Bits,
  type HalfArray,
  type QuantizedWeights,
  quantizeWeights,
} from '@msd/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MsdOptions } from '../src/execute/options.ts';
import { bytesSource } from '../src/read/source.ts';
import { formatReport, reportOf } from '../src/register.ts';
import { type Floats, floatMatrix } from '../src/weights/floats.ts';
import { formatChooser } from '../src/weights/quantize-option.ts';
import type { AttributeSpec, GraphSpec } from '../src/write/index.ts';
import { firstMiss, gaussian, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

type Format = 'int8' | 'int4';

const blockSizeOf = (format: Format): number | null => (format === 'int8' ? null : 32);

/** [rows, columns] as [columns, rows]. */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c]!;
  return out;
}

/** x · Wᵀ with the real values of quantized weights, and how far MSD may be from it. */
function exact(x: Float32Array, weights: QuantizedWeights): { y: Float64Array; bound: Float64Array } {
  const { N, K } = weights;
  const real = dequantizeWeights(weights);
  const y = Float64Array.from({ length: (x.length / K) * N }, (_, i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    let sum = 0;
    for (let k = 0; k < K; k++) sum += x[m * K + k]! * real[n * K + k]!;
    return sum;
  });
  return { y, bound: errorBound(x, weights) };
}

const value = (name: string, dims: (number | string)[]) => ({ name, dtype: 'float32' as const, dims });

/** One MatMul or Gemm. */
function oneProduct(
  opType: string,
  x: (number | string)[],
  w: { dims: readonly number[]; data: Float32Array },
  y: (number | string)[],
  attributes: Record<string, AttributeSpec> = {},
  c?: { dims: readonly number[]; data: Float32Array },
): Uint8Array {
  const graph: GraphSpec = {
    nodes: [
      {
        opType,
        name: '/layer/product',
        inputs: ['x', 'layer.weight', ...(c ? ['c'] : [])],
        outputs: ['y'],
        attributes,
      },
    ],
    initializers: [
      { name: 'layer.weight', dtype: 'float32', ...w },
      ...(c ? [{ name: 'c', dtype: 'float32' as const, ...c }] : []),
    ],
    inputs: [value('x', x)],
    outputs: [value('y', y)],
  };
  return model(graph);
}

async function run(bytes: Uint8Array, x: Float32Array, dims: readonly number[], options: MsdOptions) {
  const s = await session(bytes, { name: 'msd', claim: 'all', ...options });
  const { y } = await s.run({ x: tensor(x, dims) });
  const report = reportOf(s)!;
  await s.release();
  return { y: y!, report };
}

describe('MatMul', () => {
  it.each<[Format, number, number, number[]]>([
    ['int8', 48, 64, [2, 3]],
    ['int4', 48, 64, [2, 3]],
    ['int8', 17, 77, [1, 5]],
    ['int4', 33, 300, [4]],
    ['int4', 1, 1, [1]],
    ['int8', 40, 520, []],
    ['int8', 700, 600, [2]],
  ])('%s, N %i, K %i, rows %j', async (format, N, K, rows) => {
    const next = random(N + K);
    const w = gaussian(next, N * K);
    const x = gaussian(next, rows.reduce((product, dim) => product * dim, 1) * K);
    const names = rows.map((_, i) => `d${i}`);
    const bytes = oneProduct('MatMul', [...names, K], { dims: [K, N], data: w }, [...names, N]);
    const weights = quantizeWeights(transposed(w, K, N), { N, K, format, blockSize: blockSizeOf(format) });
    const { y, report } = await run(bytes, x, [...rows, K], { quantize: format });
    expect(y.dims).toEqual([...rows, N]);
    expect(firstMiss(floats(y), exact(x, weights))).toBeUndefined();
    const real = dequantizeWeights(weights);
    const [off, all] = [0, 0].map(() => new Float64Array(N)) as [Float64Array, Float64Array];
    for (let i = 0; i < real.length; i++) {
      const was = w[(i % K) * N + Math.floor(i / K)]!;
      off[Math.floor(i / K)]! += (was - real[i]!) ** 2;
      all[Math.floor(i / K)]! += was ** 2;
    }
    const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
    const { quantized } = report.nodes[0]!;
    expect(quantized!.format).toBe(format);
    expect(quantized!.relativeL2).toBeCloseTo(Math.sqrt(sum(off) / sum(all)), 7);
    expect(quantized!.worstRow).toBeCloseTo(Math.sqrt(Math.max(...off.map((value, n) => value / all[n]!))), 7);
    expect(formatReport(report)).toContain(`weights of 1 nodes quantized at load to ${format}`);
  });

  it('of no rows', async () => {
    const bytes = oneProduct('MatMul', ['m', 8], { dims: [8, 4], data: new Float32Array(32).fill(1) }, ['m', 4]);
    const { y } = await run(bytes, new Float32Array(0), [0, 8], { quantize: 'int8' });
    expect(y.dims).toEqual([0, 4]);
  });

  it('weights of 0 give 0, and no error', async () => {
    const bytes = oneProduct('MatMul', ['m', 8], { dims: [8, 4], data: new Float32Array(32) }, ['m', 4]);
    const { y, report } = await run(bytes, gaussian(random(1), 16), [2, 8], { quantize: 'int4' });
    expect([...floats(y)]).toEqual(new Array(8).fill(0));
    expect(report.nodes[0]!.quantized).toEqual({ format: 'int4', relativeL2: 0, worstRow: 0 });
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, 2 ** 100])('weights with %d are not taken', async (bad) => {
    const data = gaussian(random(1), 32);
    data[7] = bad;
    const bytes = oneProduct('MatMul', ['m', 8], { dims: [8, 4], data }, ['m', 4]);
    const { report } = await run(bytes, gaussian(random(1), 16), [2, 8], { quantize: 'int8' });
    expect(report.nodes[0]!.reason).toBe(`MatMul: a weight is ${bad}, not below 2^90`);
  });

  it('without the option nothing is quantized', async () => {
    const bytes = oneProduct('MatMul', ['m', 8], { dims: [8, 4], data: new Float32Array(32) }, ['m', 4]);
    const s = await session(bytes);
    expect(reportOf(s)!.nodes[0]!.quantized).toBeUndefined();
    await s.release();
  });
});

describe('Gemm', () => {
  it.each<[string, Record<string, AttributeSpec>, number[] | undefined]>([
    ['plain', {}, undefined],
    ['B transposed, a bias', { transB: { int: 1 } }, [9]],
    ['alpha and beta', { alpha: { float: -0.5 }, beta: { float: 3 } }, [9]],
    ['a C of all rows', { transB: { int: 1 } }, [3, 9]],
    ['a C of one column', { beta: { float: 0.25 } }, [3, 1]],
    ['a scalar C', { beta: { float: 2 } }, []],
    ['a C of one row', {}, [1, 9]],
  ])('%s', async (_, attributes, cDims) => {
    const [M, N, K] = [3, 9, 70];
    const next = random(5);
    const isTransposed = attributes.transB !== undefined;
    const w = gaussian(next, N * K);
    const x = gaussian(next, M * K);
    const c = cDims && {
      dims: cDims,
      data: gaussian(
        next,
        cDims.reduce((product, dim) => product * dim, 1),
      ),
    };
    const bytes = oneProduct(
      'Gemm',
      ['m', K],
      { dims: isTransposed ? [N, K] : [K, N], data: w },
      ['m', N],
      attributes,
      c,
    );
    const [alpha, beta] = ['alpha', 'beta'].map(
      (name) => (attributes[name] as { float: number } | undefined)?.float ?? 1,
    );
    const real = (isTransposed ? w : transposed(w, K, N)).map((weight) => weight * alpha!);
    const { y, bound } = exact(x, quantizeWeights(real, { N, K, format: 'int8' }));
    for (let i = 0; i < y.length; i++) {
      if (!c) continue;
      const [rows, columns] = [0, 0, ...c.dims].slice(-2).map((dim) => dim || 1) as [number, number];
      const added = beta! * c.data[(rows === 1 ? 0 : Math.floor(i / N)) * columns + (columns === 1 ? 0 : i % N)]!;
      y[i]! += added;
      bound[i]! += 2 ** -23 * (Math.abs(added) + Math.abs(y[i]!) + bound[i]!);
    }
    const got = await run(bytes, x, [M, K], { quantize: 'int8' });
    expect(firstMiss(floats(got.y), { y, bound })).toBeUndefined();
    expect(got.report.nodes[0]!.quantized?.format).toBe('int8');
  });
});

describe('float16', () => {
  it.each<[Format, 'MatMul' | 'Gemm', boolean]>([
    ['int8', 'MatMul', false],
    ['int4', 'MatMul', false],
    ['int8', 'Gemm', true],
    ['int4', 'Gemm', true],
    ['int8', 'Gemm', false],
  ])('weights to %s, %s, B transposed: %s', async (format, opType, isTransposed) => {
    const [M, N, K] = [3, 19, 70];
    const next = random(6);
    const [bits, xBits] = [fp16Bits(gaussian(next, N * K)), fp16Bits(gaussian(next, M * K))];
    const half = 'float16' as const;
    const bytes = model({
      nodes: [
        {
          opType,
          name: 'product',
          inputs: ['x', 'w'],
          outputs: ['y'],
          attributes: isTransposed ? { transB: { int: 1 } } : {},
        },
      ],
      initializers: [{ name: 'w', dtype: half, dims: isTransposed ? [N, K] : [K, N], data: bits }],
      inputs: [{ name: 'x', dtype: half, dims: ['m', K] }],
      outputs: [{ name: 'y', dtype: half, dims: ['m', N] }],
    });
    const w = floatsOfFp16(bits);
    const real = isTransposed ? w : transposed(w, K, N);
    const weights = quantizeWeights(real, { N, K, format, blockSize: blockSizeOf(format) });
    const { y, bound } = exact(floatsOfFp16(xBits), weights);
    // The result is rounded to float16.
    for (let i = 0; i < y.length; i++) bound[i]! += 2 ** -11 * (Math.abs(y[i]!) + bound[i]!) + 2 ** -25;
    const s = await session(bytes, { name: 'msd', claim: 'all', quantize: format });
    const got = await s.run({ x: new ort.Tensor(half, xBits, [M, K]) });
    expect(firstMiss(floatsOfFp16(got.y!.data as unknown as HalfArray), { y, bound })).toBeUndefined();
    const { quantized } = reportOf(s)!.nodes[0]!;
    expect(quantized!.format).toBe(format);
    const codes = dequantizeWeights(weights);
    const sum = (of: (i: number) => number) => real.reduce((all, _, i) => all + of(i) ** 2, 0);
    const lost = Math.sqrt(sum((i) => real[i]! - codes[i]!) / sum((i) => real[i]!));
    expect(quantized!.relativeL2).toBeCloseTo(lost, 7);
    await s.release();
  });
});

describe('which weights', () => {
  it('by name of the node or of the weights, exactly or with stars', () => {
    const choose = formatChooser({ 'a.weight': false, '*.weight': 'int4', '/encoder/*/fc*': 'int8', '*': false });
    expect(choose(['/x', 'a.weight'])).toBeUndefined();
    expect(choose(['/x', 'b.weight'])).toBe('int4');
    expect(choose(['/encoder/layer.0/fc1', 'onnx::MatMul_7'])).toBe('int8');
    expect(choose(['/encoder/fc1', 'onnx::MatMul_7'])).toBeUndefined();
    expect(choose(['', ''])).toBeUndefined();
    expect(formatChooser('int8')(['', ''])).toBe('int8');
    expect(formatChooser(false)(['', ''])).toBeUndefined();
  });

  it('stars stand for any characters', () => {
    const part = fc.string({ maxLength: 3, unit: fc.constantFrom('a', 'b', '/') });
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 2, maxLength: 4 }),
        fc.string({ maxLength: 8, unit: fc.constantFrom('a', 'b', '/') }),
        (pieces, name) => {
          const expected = new RegExp(`^${pieces.join('.*')}$`).test(name);
          expect(formatChooser({ [pieces.join('*')]: 'int8' })([name]) === 'int8').toBe(expected);
        },
      ),
    );
  });

  it('an object leaves out what it does not name', async () => {
    const bytes = oneProduct('MatMul', ['m', 8], { dims: [8, 4], data: new Float32Array(32).fill(1) }, ['m', 4]);
    const x = gaussian(random(1), 16);
    const named = await run(bytes, x, [2, 8], { quantize: { 'layer.*': 'int4' } });
    expect(named.report.nodes[0]!.quantized?.format).toBe('int4');
    const other = await run(bytes, x, [2, 8], { quantize: { 'decoder.*': 'int4', '/layer/product': false } });
    expect(other.report.nodes[0]!.quantized).toBeUndefined();
  });

  it.each([
    ['int2', "msd: option 'quantize', expected 'int8', 'int4', false or an object of them, got 'int2'."],
    [['int8'], "msd: option 'quantize', expected 'int8', 'int4', false or an object of them, got int8."],
    [null, "msd: option 'quantize', expected 'int8', 'int4', false or an object of them, got null."],
    [{ a: true }, "msd: option 'quantize': 'a', expected 'int8', 'int4' or false, got true."],
  ])('%j is refused', async (quantize, message) => {
    const bytes = oneProduct('MatMul', ['m', 8], { dims: [8, 4], data: new Float32Array(32) }, ['m', 4]);
    await expect(session(bytes, { name: 'msd', quantize })).rejects.toThrow(message);
  });
});

describe('rows of a matrix', () => {
  const source = (data: Float32Array) => {
    const bytes = new Uint8Array(data.buffer);
    const whole = bytesSource(bytes);
    const reads: number[] = [];
    const counting = {
      ...whole,
      bytes: undefined,
      read(offset: number, length: number, into?: Uint8Array) {
        reads.push(length);
        into?.set(whole.read(offset, length));
        return into ? into.subarray(0, length) : whole.read(offset, length);
      },
    };
    return { reads, range: { source: counting, offset: 0, length: bytes.length } };
  };
  const tensorOf = (dims: number[], range: ReturnType<typeof source>['range']): Floats['tensor'] => ({
    name: 'w',
    elemType: 1,
    dims,
    storage: { kind: 'raw', range },
    proto: range,
  });

  it('are the same by rows and by columns, whatever is asked for, and read a part at a time', () => {
    const [N, K] = [50, 40_000];
    const byRows = gaussian(random(3), N * K);
    const byColumns = transposed(byRows, N, K);
    const [rows, columns] = [source(byRows), source(byColumns)];
    const base = { format: 'int8' as const, N, K };
    const read = [
      floatMatrix({ ...base, tensor: tensorOf([N, K], rows.range), isTransposed: false }).open(),
      floatMatrix({ ...base, tensor: tensorOf([K, N], columns.range), isTransposed: true }).open(),
    ];
    for (const [n, count] of [
      [0, 20],
      [20, 7],
      [27, 23],
    ] as const) {
      const [a, b] = read.map((rowsOf) => rowsOf(n, count, new Uint8Array(count * K)));
      const expected = quantizeWeights(byRows.slice(n * K, (n + count) * K), { N: count, K, format: 'int8' });
      expect(a).toEqual(expected);
      expect(b).toEqual(expected);
    }
    expect(Math.max(...rows.reads)).toBe(4 * 23 * K);
    // Windows of 26 columns of 40,000: every line is read twice.
    expect(columns.reads.length).toBe(2 * K);
  });
});
