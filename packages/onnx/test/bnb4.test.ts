/** MatMulBnb4 against the exact codebooks in float64, onnxruntime-web alongside. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { TensorSpec } from '../src/write/index.ts';
import { exactProduct, firstMiss, gaussian, type Matrix, model, random } from './models.ts';
import { floats, type ort, session, tensor } from './ort.ts';

/** Numbers of the codebooks as ONNX Runtime has them (blockwise_quant_block_bnb4.h). */
const CODEBOOKS: Readonly<Record<'fp4' | 'nf4', readonly number[]>> = {
  nf4: [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
  ],
  fp4: [
    0, 0.00520833333, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25, 0, -0.00520833333, -0.66666667, -1, -0.33333333,
    -0.5, -0.16666667, -0.25,
  ],
};

interface Bnb4Options {
  readonly N: number;
  readonly K: number;
  readonly format?: 'fp4' | 'nf4';
  readonly blockSize?: number;
  readonly attributes?: Readonly<Record<string, number>>;
}

interface Bnb4 {
  readonly bytes: Uint8Array;
  readonly matrix: Matrix;
  /** What splitting the codebook may cost of each weight. */
  readonly off: Float64Array;
}

function bnb4({ N, K, format = 'nf4', blockSize = 64, attributes = {} }: Bnb4Options): Bnb4 {
  const next = random(N + K);
  const data = Uint8Array.from({ length: Math.ceil((N * K) / 2) }, () => next() * 256);
  // Negative and zero magnitudes are nothing that a quantizer writes, but what ONNX Runtime multiplies with.
  const absmax = Float32Array.from({ length: Math.ceil((N * K) / blockSize) }, () => (next() < 0.1 ? 0 : next() - 0.3));
  const code = (i: number) => (i % 2 === 0 ? data[i >> 1]! >> 4 : data[i >> 1]! & 15);
  const magnitude = (i: number) => absmax[Math.floor(i / blockSize)]!;
  const real = Float64Array.from({ length: N * K }, (_, i) => CODEBOOKS[format][code(i)]! * magnitude(i));
  const off = real.map((_, i) => Math.abs(magnitude(i)) * 2 ** (format === 'nf4' ? -16 : -22));
  const initializers: TensorSpec[] = [
    { name: 'B', dtype: 'uint8', dims: [data.length], data },
    { name: 'absmax', dtype: 'float32', dims: [absmax.length], data: absmax },
  ];
  const node: Matrix['node'] = (x, y) => ({
    opType: 'MatMulBnb4',
    domain: 'com.microsoft',
    name: 'product',
    inputs: [x, 'B', 'absmax'],
    outputs: [y],
    attributes: Object.fromEntries(
      Object.entries({ K, N, block_size: blockSize, quant_type: format === 'nf4' ? 1 : 0, ...attributes }).map(
        ([name, int]) => [name, { int }],
      ),
    ),
  });
  const matrix: Matrix = { name: 'w', N, K, initializers, real, biasValues: undefined, node };
  const bytes = model({
    nodes: [node('x', 'y')],
    initializers,
    inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', 'rows', K] }],
    outputs: [{ name: 'y', dtype: 'float32' }],
  });
  return { bytes, matrix, off };
}

async function outcome(options: Bnb4Options): Promise<string> {
  const msd = await session(bnb4(options).bytes);
  const [node] = reportOf(msd)!.nodes;
  await msd.release();
  return node!.where === 'msd' ? 'taken' : (node!.reason ?? '');
}

describe('MatMulBnb4', () => {
  it.each<[string, Bnb4Options, number, ('i8' | 'i16')?]>([
    ['NF4, one row', { N: 48, K: 128 }, 1],
    ['NF4, many rows', { N: 17, K: 192 }, 19],
    ['NF4, i16', { N: 33, K: 320 }, 3, 'i16'],
    ['NF4, i8', { N: 33, K: 320 }, 3, 'i8'],
    ['FP4', { N: 33, K: 64, format: 'fp4' }, 1],
    ['FP4, blocks of 16, i16', { N: 15, K: 48, format: 'fp4', blockSize: 16 }, 2, 'i16'],
    ['FP4, long blocks', { N: 16, K: 1024, format: 'fp4', blockSize: 256 }, 9],
    ['blocks that are part of two rows', { N: 19, K: 96 }, 2],
    ['a block longer than a row', { N: 6, K: 16, blockSize: 64 }, 2],
    ['N = 1', { N: 1, K: 64 }, 1],
    ['no rows', { N: 4, K: 64 }, 0],
  ])('%s', async (_, options, rows, carrier) => {
    const { bytes, matrix, off } = bnb4(options);
    const { N, K } = matrix;
    const x = gaussian(random(7), rows * K);
    const feeds = { x: tensor(x, [1, rows, K]) };
    const msd = await session(bytes, { name: 'msd', debug: true, ...(carrier && { carrier }) });
    const { y } = await msd.run(feeds);
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    expect(y!.dims).toEqual([1, rows, N]);
    const exact = exactProduct(matrix, x);
    const bound = exact.bound.map((own, i) => {
      const [m, n] = [Math.floor(i / N), i % N];
      let codebook = 0;
      for (let k = 0; k < K; k++) codebook += Math.abs(x[m * K + k]!) * off[n * K + k]!;
      return 2 * own + codebook; // two products
    });
    expect(firstMiss(floats(y), { y: exact.y, bound })).toBeUndefined();
    await msd.release();
    const plain = await session(bytes, 'wasm');
    const expected = floats((await plain.run(feeds)).y as ort.Tensor);
    const ofOrt = expected.map((value, i) => value - floats(y)[i]!);
    for (const [i, difference] of ofOrt.entries())
      expect(Math.abs(difference)).toBeLessThanOrEqual(bound[i]! + Math.abs(exact.y[i]!) * K * 2 ** -23 + 1e-5);
    await plain.release();
  });

  it.each<[string, Bnb4Options]>([
    ['blocks of 64 cut rows of 40 into pieces below 16', { N: 8, K: 40 }],
    ['B is not transposed', { N: 64, K: 64, attributes: { transB: 0 } }],
    ['it is for training', { N: 8, K: 64, attributes: { training_mode: 1 } }],
  ])('leaves to ONNX Runtime: %s', async (reason, options) => {
    expect(await outcome(options)).toContain(reason);
  });
});
