/** MatMulNBits with float zero points, g_idx and small blocks against float64, onnxruntime-web alongside where it takes them. */
import { toFp16 } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { NodeSpec, TensorSpec } from '../src/write/index.ts';
import { CLOSE, relativeMost } from './close.ts';
import { exactProduct, firstMiss, gaussian, type Matrix, matmulModel, model, random } from './models.ts';
import { floats, type ort, session, tensor } from './ort.ts';

interface Options {
  readonly N: number;
  readonly K: number;
  readonly bits?: 2 | 4 | 8;
  readonly blockSize?: number;
  readonly zeroPoints?: 'floats' | 'whole' | 'far' | 'packed' | undefined;
  /** The group of each k. */
  readonly groupOf?: (k: number, groups: number) => number;
  readonly name?: string;
  readonly bias?: boolean;
}

function make({ N, K, bits = 4, blockSize = 32, zeroPoints, groupOf, name = 'w', bias = false }: Options): Matrix {
  const next = random(N + K + bits);
  const blocks = Math.ceil(K / blockSize);
  const data = Uint8Array.from({ length: (N * blocks * blockSize * bits) / 8 }, () => next() * 256);
  const scales = Float32Array.from({ length: N * blocks }, () => (next() < 0.1 ? 0 : next() - 0.4));
  const zeros = Float32Array.from({ length: N * blocks }, () => {
    const code = next() * 2 ** bits;
    if (zeroPoints === 'far') return 3 * code - 2 ** bits;
    return zeroPoints === 'floats' ? code : Math.floor(code);
  });
  const packed = new Uint8Array(N * Math.ceil((blocks * bits) / 8));
  const group = (k: number) => groupOf?.(k, blocks) ?? Math.floor(k / blockSize);
  const code = (n: number, k: number) => {
    const bit = k * bits;
    return (data[(n * blocks * blockSize * bits) / 8 + (bit >> 3)]! >> (bit & 7)) & (2 ** bits - 1);
  };
  const real = Float64Array.from({ length: N * K }, (_, i) => {
    const [n, k] = [Math.floor(i / K), i % K];
    const block = n * blocks + group(k);
    return scales[block]! * (code(n, k) - (zeroPoints ? zeros[block]! : 2 ** (bits - 1)));
  });
  if (zeroPoints === 'packed')
    for (let n = 0; n < N; n++)
      for (let b = 0; b < blocks; b++)
        packed[n * Math.ceil((blocks * bits) / 8) + ((b * bits) >> 3)]! |= zeros[n * blocks + b]! << ((b * bits) & 7);
  const biasValues = bias ? gaussian(next, N) : undefined;
  const initializers: TensorSpec[] = [
    { name: `${name}_Q`, dtype: 'uint8', dims: [N, blocks, (blockSize * bits) / 8], data },
    { name: `${name}_scales`, dtype: 'float32', dims: [N * blocks], data: scales },
  ];
  if (zeroPoints === 'packed')
    initializers.push({ name: `${name}_zp`, dtype: 'uint8', dims: [packed.length], data: packed });
  else if (zeroPoints) initializers.push({ name: `${name}_zp`, dtype: 'float32', dims: [N, blocks], data: zeros });
  if (groupOf)
    initializers.push({
      name: 'groups',
      dtype: 'int32',
      dims: [K],
      data: Int32Array.from({ length: K }, (_, k) => group(k)),
    });
  if (biasValues) initializers.push({ name: `${name}_bias`, dtype: 'float32', dims: [N], data: biasValues });
  const inputs = [`${name}_Q`, `${name}_scales`, zeroPoints ? `${name}_zp` : '', groupOf ? 'groups' : ''];
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
      name: `${name} product`,
      inputs: [x, ...inputs, ...(bias ? [`${name}_bias`] : [])],
      outputs: [y],
      attributes: { K: { int: K }, N: { int: N }, bits: { int: bits }, block_size: { int: blockSize } },
    }),
  };
}

const turns = (k: number, groups: number) => (k * 7) % groups;
const uneven = (k: number, groups: number) => (k % 3 === 0 ? 0 : (k * 5) % groups);

describe('MatMulNBits', () => {
  it.each<[string, Options, number, 'both' | 'msd']>([
    ['float zero points', { N: 33, K: 128, zeroPoints: 'floats' }, 3, 'both'],
    ['float zero points, one row, bias', { N: 20, K: 96, zeroPoints: 'floats', bias: true }, 1, 'both'],
    ['float zero points that are codes', { N: 17, K: 96, zeroPoints: 'whole' }, 2, 'both'],
    ['float zero points outside of the codes', { N: 16, K: 64, zeroPoints: 'far' }, 2, 'both'],
    ['float zero points, 2 bits', { N: 9, K: 64, bits: 2, zeroPoints: 'floats' }, 2, 'both'],
    ['float zero points, 8 bits', { N: 9, K: 64, bits: 8, zeroPoints: 'floats' }, 2, 'msd'],
    ['float zero points, K no whole blocks', { N: 18, K: 75, zeroPoints: 'floats' }, 9, 'both'],
    ['groups in turns', { N: 33, K: 128, groupOf: turns }, 3, 'both'],
    ['groups of blocks as they lie', { N: 16, K: 64, groupOf: (k) => k >> 5 }, 1, 'both'],
    ['groups of other sizes', { N: 19, K: 128, groupOf: uneven }, 1, 'both'],
    ['an empty group', { N: 16, K: 64, groupOf: () => 1 }, 5, 'both'],
    ['groups and float zero points', { N: 16, K: 128, groupOf: uneven, zeroPoints: 'floats', bias: true }, 9, 'both'],
    ['groups, 8 bits, blocks of 16', { N: 16, K: 80, bits: 8, blockSize: 16, groupOf: turns }, 2, 'msd'],
    ['8 bits in blocks of 16', { N: 17, K: 80, bits: 8, blockSize: 16 }, 9, 'both'],
    ['8 bits in blocks of 16, zero points', { N: 17, K: 75, bits: 8, blockSize: 16, zeroPoints: 'packed' }, 1, 'both'],
    ['2 bits in blocks of 16', { N: 17, K: 80, bits: 2, blockSize: 16 }, 3, 'both'],
    ['2 bits in blocks of 16, zero points', { N: 5, K: 48, bits: 2, blockSize: 16, zeroPoints: 'packed' }, 9, 'both'],
    ['K = 1', { N: 1, K: 1, blockSize: 16, zeroPoints: 'floats' }, 1, 'both'],
    ['no rows', { N: 4, K: 64, groupOf: turns, zeroPoints: 'floats' }, 0, 'msd'],
  ])('%s', async (_, options, rows, who) => {
    const matrix = make(options);
    const bytes = matmulModel(matrix);
    const x = gaussian(random(7), rows * matrix.K);
    const feeds = { x: tensor(x, [1, rows, matrix.K]) };
    const exact = exactProduct(matrix, x);
    // Two products, whose activations may be in another order: each K-block has at most the largest maximum of all.
    const bound = exact.bound.map((own, i) => {
      const [m, n] = [Math.floor(i / matrix.N), i % matrix.N];
      const row = x.subarray(m * matrix.K, (m + 1) * matrix.K);
      const most = row.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      const weights = matrix.real.subarray(n * matrix.K, (n + 1) * matrix.K);
      const sum = weights.reduce((total, weight) => total + Math.abs(weight) + 2 ** (options.bits ?? 4), 0);
      return 2 * own + (options.groupOf || options.zeroPoints ? (most / 64516) * sum : 0);
    });
    const msd = await session(bytes, { name: 'msd', debug: true });
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    const { y } = await msd.run(feeds);
    expect(firstMiss(floats(y), { y: exact.y, bound })).toBeUndefined();
    await msd.release();
    if (who === 'msd') return;
    const plain = await session(bytes, 'wasm');
    const expected = floats((await plain.run(feeds)).y as ort.Tensor);
    const largest = exact.y.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    for (const [i, value] of expected.entries())
      expect(Math.abs(value - exact.y[i]!)).toBeLessThanOrEqual(matrix.K * 2 ** -20 * (1 + largest));
    await plain.release();
  });

  it('puts activations into another order once for all products of them', async () => {
    const [a, b] = [
      make({ N: 16, K: 128, groupOf: turns, name: 'a' }),
      make({ N: 32, K: 128, groupOf: turns, name: 'b' }),
    ];
    const bytes = model({
      nodes: [a.node('x', 'p'), b.node('x', 'q')],
      initializers: [...a.initializers, ...b.initializers.filter(({ name }) => name !== 'groups')],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', 128] }],
      outputs: ['p', 'q'].map((name) => ({ name, dtype: 'float32' as const })),
    });
    const msd = await session(bytes, { name: 'msd', debug: true });
    const x = gaussian(random(3), 2 * 128);
    const results = await msd.run({ x: tensor(x, [2, 128]) });
    for (const [name, matrix] of [
      ['p', a],
      ['q', b],
    ] as const) {
      const exact = exactProduct(matrix, x);
      const bound = exact.bound.map((own) => 4 * own);
      expect(firstMiss(floats(results[name]), { y: exact.y, bound })).toBeUndefined();
    }
    // One call of both: each node is told its own gemm.
    const kernels = reportOf(msd)!.nodes.map(({ kernel }) => kernel);
    expect(kernels.every((kernel) => kernel?.startsWith('gemm'))).toBe(true);
    await msd.release();
  });

  it('takes weights behind Constant, Identity, Reshape and Cast', async () => {
    const matrix = make({ N: 18, K: 96, zeroPoints: 'packed' });
    const [data, scales, zeros] = matrix.initializers as [TensorSpec, TensorSpec, TensorSpec];
    const halves = Uint16Array.from(scales.data as Float32Array, toFp16);
    const node = matrix.node('x', 'y');
    const made = (
      opType: string,
      inputs: string[],
      output: string,
      attributes: NodeSpec['attributes'] = {},
    ): NodeSpec => ({
      opType,
      name: output,
      inputs,
      outputs: [output],
      attributes,
    });
    const bytes = model({
      nodes: [
        made('Constant', [], 'flat', { value: { tensor: { ...data, dims: [18 * 3 * 16] } } }),
        made('Reshape', ['flat', 'shape'], 'B'),
        made('Cast', ['halves'], 'S', { to: { int: 1 } }),
        made('Identity', [zeros.name], 'Z'),
        { ...node, inputs: ['x', 'B', 'S', 'Z'] },
      ],
      initializers: [
        { name: 'shape', dtype: 'int64', dims: [3], data: BigInt64Array.of(18n, 3n, 16n) },
        { name: 'halves', dtype: 'float16', dims: [18, 3], data: halves },
        zeros,
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', 96] }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    });
    const [msd, plain] = [await session(bytes, { name: 'msd', debug: true }), await session(bytes, 'wasm')];
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    const feeds = { x: tensor(gaussian(random(4), 3 * 96), [3, 96]) };
    const [got, want] = [floats((await msd.run(feeds)).y), floats((await plain.run(feeds)).y)];
    expect(relativeMost(got, want)).toBeLessThan(CLOSE);
    await Promise.all([msd.release(), plain.release()]);
  });

  it.each<[string, Options]>([
    ['packed zero points beside g_idx', { N: 16, K: 64, groupOf: turns, zeroPoints: 'packed' }],
    ['g_idx of 2 bits', { N: 16, K: 128, bits: 2, groupOf: turns }],
    ['g_idx has 9 where there are 2 groups', { N: 16, K: 64, groupOf: (k) => (k === 5 ? 9 : 0) }],
  ])('leaves to ONNX Runtime: %s', async (reason, options) => {
    const msd = await session(matmulModel(make(options)));
    expect(reportOf(msd)!.nodes[0]!.reason).toContain(reason);
    await msd.release();
  });
});
