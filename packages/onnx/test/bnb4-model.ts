/** A product of MatMulBnb4 from a seed, and what it stands for. */
import { type ModelSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { type Matrix, random } from './models.ts';

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

export interface Bnb4Options {
  readonly N: number;
  readonly K: number;
  readonly format?: 'fp4' | 'nf4';
  readonly blockSize?: number;
  readonly attributes?: Readonly<Record<string, number>>;
  /** Of the standard operators. */
  readonly opset?: number;
}

export interface Bnb4 {
  readonly bytes: Uint8Array;
  readonly matrix: Matrix;
  /** What splitting the codebook may cost of each weight. */
  readonly off: Float64Array;
}

export function bnb4({ N, K, format = 'nf4', blockSize = 64, attributes = {}, opset }: Bnb4Options): Bnb4 {
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
  const graph: ModelSpec['graph'] = {
    nodes: [node('x', 'y')],
    initializers,
    inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', 'rows', K] }],
    outputs: [{ name: 'y', dtype: 'float32' }],
  };
  const bytes = writeModel({ ...(opset && { opsets: { '': opset, 'com.microsoft': 1 } }), graph });
  return { bytes, matrix, off };
}
