/**
 * Seeded models for the tests: quantized matrices with their float64 product, and graphs around them.
 */
import { random } from '../../core/test/seeded.ts';
import { countOf } from '../src/dims.ts';
import { type AttributeSpec, type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';

export { random };

/** About Gaussian, as activations are. */
export function gaussian(next: () => number, length: number): Float32Array {
  return Float32Array.from({ length }, () => {
    let sum = 0;
    for (let i = 0; i < 12; i++) sum += next();
    return sum - 6;
  });
}

/** A weight of a file: f32, random. */
export const gaussianSpec = (next: () => number, name: string, ...dims: readonly number[]): TensorSpec => ({
  name,
  dtype: 'float32',
  dims,
  data: gaussian(next, countOf(dims)),
});

export interface MatrixOptions {
  readonly name?: string;
  readonly N: number;
  readonly K: number;
  readonly bits?: 2 | 4 | 8;
  readonly blockSize?: number;
  readonly zeroPoints?: boolean;
  readonly bias?: boolean;
  readonly seed?: number;
}

/** A MatMulNBits matrix: what the file holds, and its real values. */
export interface Matrix {
  readonly name: string;
  readonly N: number;
  readonly K: number;
  readonly initializers: readonly TensorSpec[];
  /** float64 [N, K]. */
  readonly real: Float64Array;
  readonly biasValues: Float32Array | undefined;
  /** The node that multiplies `x` by it. */
  node(x: string, y: string): NodeSpec;
}

export function makeMatrix(options: MatrixOptions): Matrix {
  const { name = 'w', N, K, bits = 4, blockSize = 32, zeroPoints = false, bias = false, seed = 1 } = options;
  const next = random(seed);
  const blocks = Math.ceil(K / blockSize);
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const blob = (blockSize * bits) / 8;
  const codeAt = (bytes: Uint8Array, from: number, i: number): number =>
    (bytes[from + Math.floor((i * bits) / 8)]! >> ((i * bits) % 8)) & (2 ** bits - 1);
  const data = Uint8Array.from({ length: N * blocks * blob }, () => next() * 256);
  const scales = Float32Array.from({ length: N * blocks }, () => (next() - 0.5) / 8);
  const zeros = Uint8Array.from({ length: N * zeroBytes }, () => next() * 256);
  const real = new Float64Array(N * K);
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < K; k++) {
      const block = Math.floor(k / blockSize);
      const at = (n * blocks + block) * blob;
      const within = k % blockSize;
      const q = codeAt(data, at, within);
      let zero = 2 ** (bits - 1);
      if (zeroPoints) {
        zero = codeAt(zeros, n * zeroBytes, block);
      }
      real[n * K + k] = scales[n * blocks + block]! * (q - zero);
    }
  }
  const biasValues = bias ? gaussian(next, N) : undefined;
  const initializers: TensorSpec[] = [
    { name: `${name}_Q`, dtype: 'uint8', dims: [N, blocks, blob], data },
    { name: `${name}_scales`, dtype: 'float32', dims: [N, blocks], data: scales },
  ];
  if (zeroPoints) initializers.push({ name: `${name}_zp`, dtype: 'uint8', dims: [N, zeroBytes], data: zeros });
  if (biasValues) initializers.push({ name: `${name}_bias`, dtype: 'float32', dims: [N], data: biasValues });
  const inputs = (x: string): string[] => {
    const list = [x, `${name}_Q`, `${name}_scales`, zeroPoints ? `${name}_zp` : '', '', bias ? `${name}_bias` : ''];
    while (list.at(-1) === '') list.pop();
    return list;
  };
  return {
    name,
    N,
    K,
    initializers,
    real,
    biasValues,
    node: (x, y) => ({
      opType: 'MatMulNBits',
      domain: 'com.microsoft',
      name: `${name}/MatMul_Q4`,
      inputs: inputs(x),
      outputs: [y],
      attributes: { K: { int: K }, N: { int: N }, bits: { int: bits }, block_size: { int: blockSize } },
    }),
  };
}

/** One matmul: x [batch, rows, K] -> y. */
export function matmulModel(matrix: Matrix, dims: readonly (number | string)[] = ['batch', 'rows']): Uint8Array {
  return writeModel({
    graph: {
      nodes: [matrix.node('x', 'y')],
      initializers: matrix.initializers,
      inputs: [{ name: 'x', dtype: 'float32', dims: [...dims, matrix.K] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: [...dims, matrix.N] }],
    },
  });
}

/** A model around a graph. */
export function model(graph: GraphSpec): Uint8Array {
  return writeModel({ graph });
}

/** y = x · Wᵀ + bias in float64, and how far MSD may be from it. */
export function exactProduct(matrix: Matrix, x: Float32Array): { y: Float64Array; bound: Float64Array } {
  const { N, K, real, biasValues } = matrix;
  const rows = x.length / K;
  const y = new Float64Array(rows * N);
  const bound = new Float64Array(rows * N);
  for (let m = 0; m < rows; m++) {
    for (let n = 0; n < N; n++) {
      let sum = biasValues?.[n] ?? 0;
      let magnitude = Math.abs(sum);
      let decomposition = 0;
      for (let start = 0; start < K; start += 256) {
        let max = 0;
        let weights = 0;
        for (let k = start; k < Math.min(K, start + 256); k++) {
          const value = x[m * K + k]!;
          const weight = real[n * K + k]!;
          sum += value * weight;
          magnitude += Math.abs(value * weight);
          max = Math.max(max, Math.abs(value));
          weights += Math.abs(weight);
        }
        decomposition += (max / 64516) * weights;
      }
      y[m * N + n] = sum;
      // Half a step per element (and its f32 allowance), then one f32 rounding per partial sum. (docs/msd.md)
      bound[m * N + n] = decomposition * (1 + 2 ** -6) + magnitude * (K / 32 + 2) * 2 ** -24 + 2 ** -100;
    }
  }
  return { y, bound };
}

/** Index, expected and got of the first value outside its bound. */
export function firstMiss(
  got: Float32Array,
  { y, bound }: { y: Float64Array; bound: Float64Array },
): string | undefined {
  if (got.length !== y.length) return `length: expected ${y.length}, got ${got.length}`;
  for (let i = 0; i < y.length; i++) {
    if (!(Math.abs(got[i]! - y[i]!) <= bound[i]!)) return `[${i}]: expected ${y[i]} ± ${bound[i]}, got ${got[i]}`;
  }
  return undefined;
}

/** A node that reports can be searched for: its name says what it makes. */
export const namedOp = (
  opType: string,
  inputs: readonly string[],
  outputs: string | readonly string[],
  attributes: Readonly<Record<string, AttributeSpec>> = {},
): NodeSpec => {
  const list = typeof outputs === 'string' ? [outputs] : outputs;
  return { opType, name: `the ${opType} of ${list.find((name) => name !== '')}`, inputs, outputs: list, attributes };
};
