/** Weights behind DequantizeLinear: every spelling becomes the matrix that it stands for, and its product keeps the proved bound. */

import { fromFp16, toFp16 } from '@msd/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadOperators } from '../src/execute/families.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import { foldConstants } from '../src/passes/constants.ts';
import { matchNodes } from '../src/passes/match.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { reportOf } from '../src/register.ts';
import {
  type AttributeSpec,
  type EncodedSpec,
  type GraphSpec,
  type NodeSpec,
  type TensorSpec,
  writeModel,
} from '../src/write/index.ts';
import { Message } from '../src/write/message.ts';
import { gaussian, random } from './models.ts';
import { floats, session, tensor } from './ort.ts';

await loadOperators();

/** Codes of a type: bits, whether they are signed, ONNX's number. */
const TYPES = {
  int8: [8, true, 3],
  uint8: [8, false, 2],
  int4: [4, true, 22],
  uint4: [4, false, 21],
  int2: [2, true, 26],
  uint2: [2, false, 25],
} as const;
type CodeType = keyof typeof TYPES;

interface Spelling {
  readonly type: CodeType;
  readonly N: number;
  readonly K: number;
  /** [N, K] in the file, and a Transpose or transB. */
  readonly byRows: boolean;
  /** 0: per channel; -1: one scale. */
  readonly block: number;
  readonly zeros: boolean;
  readonly half: boolean;
  readonly behind: 'nothing' | 'Identity' | 'Cast' | 'Reshape';
  readonly product: 'MatMul' | 'Gemm';
  readonly seed: number;
}

/** Codes packed as in `raw_data`. */
function packed(values: readonly number[], bits: number): Uint8Array {
  const out = new Uint8Array(Math.ceil((values.length * bits) / 8));
  const perByte = 8 / bits;
  for (const [i, value] of values.entries())
    out[Math.floor(i / perByte)]! |= (value & (2 ** bits - 1)) << ((i % perByte) * bits);
  return out;
}

/** A tensor of any type, int2 and float4 included. */
function rawTensor(name: string, elemType: number, dims: readonly number[], bytes: Uint8Array): EncodedSpec {
  return { encoded: new Message().ints(1, dims).int(2, elemType).string(8, name).bytes(9, bytes) };
}

const node = (opType: string, inputs: string[], outputs: string[], attributes: Record<string, AttributeSpec> = {}) =>
  ({ opType, name: outputs[0]!, inputs, outputs, attributes }) satisfies NodeSpec;

interface Written {
  readonly bytes: Uint8Array;
  /** [N, K] */
  readonly real: Float64Array;
}

function write(spelling: Spelling): Written {
  const { type, N, K, byRows, block, zeros, half, behind, product, seed } = spelling;
  const [bits, isSigned, elemType] = TYPES[type];
  const next = random(seed);
  const low = isSigned ? -(2 ** (bits - 1)) : 0;
  const code = () => low + Math.floor(next() * 2 ** bits);
  const dims = byRows ? [N, K] : [K, N];
  const axis = block > 0 ? (byRows ? 1 : 0) : byRows ? 0 : 1;
  const scaleDims = block > 0 ? dims.with(axis, Math.ceil(K / block)) : block === 0 ? [N] : [];
  const count = scaleDims.reduce((a, b) => a * b, 1);
  const q = Array.from({ length: N * K }, code);
  const z = Array.from({ length: count }, () => (zeros ? code() : 0));
  // Negative scales are common.
  const exact = Float32Array.from({ length: count }, () => (next() - 0.4) / 16);
  const scales = half ? exact.map((value) => fromFp16(toFp16(value))) : exact;
  const at = (n: number, k: number): number => {
    if (block < 0) return 0;
    if (block === 0) return n;
    const b = Math.floor(k / block);
    return byRows ? n * Math.ceil(K / block) + b : b * N + n;
  };
  const real = Float64Array.from({ length: N * K }, (_, i) => {
    const [n, k] = [Math.floor(i / K), i % K];
    return scales[at(n, k)]! * (q[byRows ? n * K + k : k * N + n]! - z[at(n, k)]!);
  });
  const scaleBytes = half ? new Uint8Array(Uint16Array.from(scales, toFp16).buffer) : new Uint8Array(scales.buffer);
  const initializers: (TensorSpec | EncodedSpec)[] = [
    rawTensor('q', elemType, dims, packed(q, bits)),
    rawTensor('s', half ? 10 : 1, scaleDims, scaleBytes),
  ];
  if (zeros) initializers.push(rawTensor('z', elemType, scaleDims, packed(z, bits)));
  const attributes: Record<string, AttributeSpec> = {
    ...(block >= 0 && { axis: { int: axis - (seed % 2 === 0 ? 2 : 0) } }),
    ...(block > 0 && { block_size: { int: block } }),
  };
  const nodes: NodeSpec[] = [node('DequantizeLinear', ['q', 's', ...(zeros ? ['z'] : [])], ['w0'], attributes)];
  let w = 'w0';
  if (half || behind === 'Cast') {
    nodes.push(node('Cast', [w], ['w1'], { to: { int: 1 } }));
    w = 'w1';
  }
  if (behind === 'Identity') nodes.push(node('Identity', [w], ['w2']));
  if (behind === 'Reshape') {
    initializers.push({ name: 'shape', dtype: 'int64', dims: [2], data: BigInt64Array.from(dims, BigInt) });
    initializers.push({ name: 'long', dtype: 'int64', dims: [3], data: BigInt64Array.of(1n, -1n, BigInt(dims[1]!)) });
    nodes.push(node('Reshape', [w, 'long'], ['w3']), node('Reshape', ['w3', 'shape'], ['w2']));
  }
  if (behind === 'Identity' || behind === 'Reshape') w = 'w2';
  if (byRows && product === 'MatMul') {
    nodes.push(node('Transpose', [w], ['t'], seed % 3 === 0 ? {} : { perm: { ints: [1, 0] } }));
    w = 't';
  }
  const alpha = product === 'Gemm' && seed % 2 === 0 ? -1.5 : 1;
  const ofGemm = { transB: { int: byRows ? 1 : 0 }, ...(alpha !== 1 && { alpha: { float: alpha } }) };
  nodes.push(node(product, ['x', w], ['y'], product === 'Gemm' ? ofGemm : {}));
  const graph: GraphSpec = {
    nodes,
    initializers,
    inputs: [{ name: 'x', dtype: 'float32', dims: ['m', K] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['m', N] }],
  };
  const bytes = writeModel({ opsets: { '': bits === 2 ? 25 : 21 }, irVersion: bits === 2 ? 13 : 10, graph });
  return { bytes, real: real.map((value) => alpha * value) };
}

/** y = x · Wᵀ in float64, and the bound for weights of that many bits as MSD has them. */
function expected(x: Float32Array, real: Float64Array, N: number, K: number) {
  return Float64Array.from({ length: (x.length / K) * N }, (_, i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    let sum = 0;
    for (let k = 0; k < K; k++) sum += x[m * K + k]! * real[n * K + k]!;
    return sum;
  });
}

/**
 * How far a product may be from x · Wᵀ: half a step of each K-block of 256 for each weight, and one rounding of f32 for each of the
 * partial sums, of which there is one per 16 weights at most, and two at the end.
 */
function bounds(x: Float32Array, real: Float64Array, N: number, K: number): Float64Array {
  return Float64Array.from({ length: (x.length / K) * N }, (_, i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    let bound = 0;
    let sum = 0;
    for (let from = 0; from < K; from += 256) {
      let most = 2 ** -100;
      for (let k = from; k < Math.min(K, from + 256); k++) most = Math.max(most, Math.abs(x[m * K + k]!));
      for (let k = from; k < Math.min(K, from + 256); k++) {
        bound += (most / 64516) * (1 + 2 ** -6) * Math.abs(real[n * K + k]!);
        sum += Math.abs(x[m * K + k]! * real[n * K + k]!);
      }
    }
    return bound + (K / 16 + 4) * 2 ** -24 * (sum + bound) + 1e-30;
  });
}

async function run(bytes: Uint8Array, x: Float32Array, K: number, provider: 'wasm' | 'msd') {
  const s = await session(bytes, provider === 'wasm' ? 'wasm' : { name: 'msd', claim: 'all' });
  const y = (await s.run({ x: tensor(x, [x.length / K, K]) })).y!;
  const report = reportOf(s);
  await s.release();
  return { y: floats(y), dims: y.dims, report };
}

function firstOutside(got: Float32Array, want: Float64Array, bound: Float64Array): string | undefined {
  for (let i = 0; i < want.length; i++)
    if (!(Math.abs(got[i]! - want[i]!) <= bound[i]!)) return `[${i}] expected ${want[i]} ± ${bound[i]}, got ${got[i]}`;
  return got.length === want.length ? undefined : `${want.length} values, got ${got.length}`;
}

describe('a product with weights behind DequantizeLinear', () => {
  const spelling: fc.Arbitrary<Spelling> = fc.record({
    type: fc.constantFrom(...(Object.keys(TYPES) as CodeType[])),
    N: fc.constantFrom(1, 2, 3, 16, 37, 64),
    K: fc.constantFrom(1, 7, 32, 64, 100, 288, 320),
    byRows: fc.boolean(),
    block: fc.constantFrom(-1, 0, 32, 64, 96, 128),
    zeros: fc.boolean(),
    half: fc.boolean(),
    behind: fc.constantFrom('nothing', 'Identity', 'Cast', 'Reshape'),
    product: fc.constantFrom('MatMul', 'Gemm'),
    seed: fc.integer({ min: 1, max: 10_000 }),
  });

  it('keeps the bound, whatever the spelling', { timeout: 240_000 }, async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(spelling, fc.constantFrom(0, 1, 5), async (given, M) => {
        const { N, K, type } = given;
        const { bytes, real } = write(given);
        const x = gaussian(random(given.seed), M * K);
        const { y, dims, report } = await run(bytes, x, K, 'msd');
        expect(report!.whole).toBeUndefined();
        expect(report!.nodes.filter(({ where }) => where === 'ort')).toEqual([]);
        expect(report!.weights.packedBytes).toBeGreaterThan(0);
        expect(dims).toEqual([M, N]);
        seen.add(type);
        expect(firstOutside(y, expected(x, real, N, K), bounds(x, real, N, K))).toBeUndefined();
      }),
      { numRuns: 160, seed: 5 },
    );
    expect(seen.size).toBe(6);
  });

  it('is near to ONNX Runtime', { timeout: 120_000 }, async () => {
    // Its own fusions refuse some of the shapes, with `vector` for a message.
    let count = 0;
    await fc.assert(
      fc.asyncProperty(
        spelling.filter(({ type, half, K }) => !type.endsWith('2') && !half && K >= 32),
        async (given) => {
          const { N, K } = given;
          const { bytes, real } = write(given);
          const x = gaussian(random(given.seed), 3 * K);
          const theirs = await run(bytes, x, K, 'wasm').catch(() => undefined);
          if (!theirs) return;
          count++;
          const mine = await run(bytes, x, K, 'msd');
          const bound = bounds(x, real, N, K);
          // Its own sums of K products, in some order.
          const slack = bound.map((value, i) => value + K * 2 ** -23 * Math.abs(theirs.y[i]!) + 64 * K * 2 ** -24);
          expect(firstOutside(mine.y, Float64Array.from(theirs.y), slack)).toBeUndefined();
        },
      ),
      { numRuns: 40, seed: 9 },
    );
    expect(count).toBeGreaterThan(30);
  });
});

/** MXFP4: E2M1 in blocks of 32 with a power of two each. */
function mxModel(N: number, K: number, byRows: boolean, seed: number): Written {
  const next = random(seed);
  const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const blocks = Math.ceil(K / 32);
  const q = Array.from({ length: N * K }, () => Math.floor(next() * 16));
  const s = Uint8Array.from({ length: N * blocks }, () => 110 + Math.floor(next() * 20));
  const real = Float64Array.from({ length: N * K }, (_, i) => {
    const [n, k] = [Math.floor(i / K), i % K];
    const code = q[byRows ? n * K + k : k * N + n]!;
    const b = Math.floor(k / 32);
    const scale = 2 ** (s[byRows ? n * blocks + b : b * N + n]! - 127);
    return (code & 8 ? -1 : 1) * E2M1[code & 7]! * scale;
  });
  const nodes = [
    node('DequantizeLinear', ['q', 's'], ['w'], { axis: { int: byRows ? 1 : 0 }, block_size: { int: 32 } }),
  ];
  if (byRows) nodes.push(node('Transpose', ['w'], ['t'], { perm: { ints: [1, 0] } }));
  nodes.push(node('MatMul', ['x', byRows ? 't' : 'w'], ['y']));
  const graph: GraphSpec = {
    nodes,
    initializers: [
      rawTensor('q', 23, byRows ? [N, K] : [K, N], packed(q, 4)),
      rawTensor('s', 24, byRows ? [N, blocks] : [blocks, N], s),
    ],
    inputs: [{ name: 'x', dtype: 'float32', dims: ['m', K] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['m', N] }],
  };
  return { bytes: writeModel({ opsets: { '': 24 }, irVersion: 12, graph }), real };
}

describe('weights of more dimensions', () => {
  it.each([
    [['b', 'm', 64], true],
    [['m', 64], false],
  ] as const)('[1, K, N] beside x %j', async (dims, isTaken) => {
    const [K, N] = [64, 32];
    const codes = Int8Array.from({ length: K * N }, (_, i) => (i * 37) % 256);
    const graph: GraphSpec = {
      nodes: [node('DequantizeLinear', ['q', 's'], ['w']), node('MatMul', ['x', 'w'], ['y'])],
      initializers: [
        { name: 'q', dtype: 'int8', dims: [1, K, N], data: codes },
        { name: 's', dtype: 'float32', dims: [], data: Float32Array.of(0.02) },
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: [...dims] }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    };
    const bytes = writeModel({ graph });
    const x = tensor(gaussian(random(8), 3 * K), isTaken ? [1, 3, K] : [3, K]);
    const s = await session(bytes, { name: 'msd', claim: 'all' });
    const y = (await s.run({ x })).y!;
    expect(y.dims).toEqual([1, 3, N]);
    const report = reportOf(s)!;
    expect(report.weights.packedBytes > 0).toBe(isTaken);
    const scale = Math.fround(0.02);
    const real = Float64Array.from({ length: N * K }, (_, i) => scale * codes[(i % K) * N + Math.floor(i / K)]!);
    const data = floats(x);
    expect(firstOutside(floats(y), expected(data, real, N, K), bounds(data, real, N, K))).toBeUndefined();
    await s.release();
  });
});

describe('a row of the file for each block', () => {
  it.each([
    ['DequantizeLinear', 22, 32, ''],
    ['DequantizeLinear', 3, 32, ''],
    ['DequantizeLinear', 22, 16, 'com.microsoft'],
  ] as const)(
    '%s of type %d in blocks of %d, domain %j, is a matrix of blocks',
    async (opType, elemType, block, domain) => {
      const [N, K] = [13, 96];
      const next = random(elemType + block);
      const bits = elemType === 3 ? 8 : 4;
      const q = Array.from({ length: N * K }, () => Math.floor(next() * 2 ** bits) - 2 ** (bits - 1));
      const scales = Float32Array.from({ length: (N * K) / block }, () => (next() - 0.4) / 16);
      const real = Float64Array.from(q, (code, i) => code * scales[Math.floor(i / block)]!);
      const graph: GraphSpec = {
        nodes: [
          { ...node(opType, ['q', 's'], ['w'], { axis: { int: 0 } }), domain },
          node('Reshape', ['w', 'shape'], ['rows']),
          node('Transpose', ['rows'], ['t'], { perm: { ints: [1, 0] } }),
          node('MatMul', ['x', 't'], ['y']),
        ],
        initializers: [
          rawTensor('q', elemType, [(N * K) / block, block], packed(q, bits)),
          { name: 's', dtype: 'float32', dims: [scales.length], data: scales },
          { name: 'shape', dtype: 'int64', dims: [2], data: BigInt64Array.of(BigInt(N), BigInt(K)) },
        ],
        inputs: [{ name: 'x', dtype: 'float32', dims: ['m', K] }],
        outputs: [{ name: 'y', dtype: 'float32', dims: ['m', N] }],
      };
      const x = gaussian(random(4), 3 * K);
      const { y, report } = await run(writeModel({ graph }), x, K, 'msd');
      expect(report!.weights.packedBytes).toBeGreaterThan(0);
      expect(firstOutside(y, expected(x, real, N, K), bounds(x, real, N, K))).toBeUndefined();
    },
  );

  it('of a convolution has all channels of a tap side by side', async () => {
    const [N, channels, block] = [16, 32, 32];
    const K = 9 * channels;
    const next = random(6);
    const q = Array.from({ length: N * K }, () => Math.floor(next() * 16) - 8);
    const scales = Float32Array.from({ length: (N * K) / block }, () => next() / 16);
    const graph: GraphSpec = {
      nodes: [
        node('DequantizeLinear', ['q', 's'], ['w'], { axis: { int: 0 } }),
        node('Reshape', ['w', 'shape'], ['taps']),
        node('Transpose', ['taps'], ['kernel'], { perm: { ints: [0, 3, 1, 2] } }),
        node('Conv', ['x', 'kernel'], ['y'], { pads: { ints: [1, 1, 1, 1] } }),
      ],
      initializers: [
        rawTensor('q', 22, [(N * K) / block, block], packed(q, 4)),
        { name: 's', dtype: 'float32', dims: [scales.length], data: scales },
        { name: 'shape', dtype: 'int64', dims: [4], data: BigInt64Array.from([N, 3, 3, channels], BigInt) },
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: [1, channels, 8, 8] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: [1, N, 8, 8] }],
    };
    const bytes = writeModel({ graph });
    const x = () => tensor(gaussian(random(9), channels * 64), [1, channels, 8, 8]);
    const mine = await session(bytes, { name: 'msd', claim: 'all' });
    const theirs = await session(bytes, 'wasm');
    const [a, b] = [floats((await mine.run({ x: x() })).y), floats((await theirs.run({ x: x() })).y)];
    // Codes and scales, not floats: half a byte and an eighth for each weight.
    expect(reportOf(mine)!.weights.packedBytes).toBeLessThan(N * K);
    expect(reportOf(mine)!.weights.packedBytes).toBeGreaterThan(0);
    const size = Math.hypot(...b);
    expect(Math.hypot(...a.map((value, i) => value - b[i]!))).toBeLessThan(3e-4 * size);
    await mine.release();
    await theirs.release();
  });
});

describe('MXFP4', () => {
  it.each([
    [16, 64, true],
    [37, 100, true],
    [64, 288, false],
    [5, 33, false],
  ])('[N %d, K %d], by rows %s: keeps the bound', async (N, K, byRows) => {
    const { bytes, real } = mxModel(N, K, byRows, N + K);
    const x = gaussian(random(4), 3 * K);
    const { y, report } = await run(bytes, x, K, 'msd');
    expect(report!.foreignRunsPerCall).toBe(0);
    expect(firstOutside(y, expected(x, real, N, K), bounds(x, real, N, K))).toBeUndefined();
  });
});

/** Why a product's weights are not multiplied as integers: beside the match, or instead of one. */
function reasonOf(graph: Pick<GraphSpec, 'nodes' | 'initializers'>): string | undefined {
  const io = { inputs: [{ name: 'x', dtype: 'float32' as const, dims: ['m', 64] }], outputs: [{ name: 'y' }] };
  const bytes = writeModel({ opsets: { '': 24 }, irVersion: 12, graph: { ...graph, ...io } });
  const folded = foldConstants(buildGraph(readModel(bytesSource(bytes))));
  const decision = matchNodes(inferTypes(folded)).get(folded.nodes.at(-1)!);
  return typeof decision === 'object' ? decision.note : decision;
}

describe('what stays floats', () => {
  const K = 64;
  const N = 32;
  const codes = (elemType: number, ...dims: number[]) => {
    const bits = { 3: 8, 5: 16, 22: 4, 23: 4 }[elemType]!;
    return rawTensor('q', elemType, dims, new Uint8Array((dims.reduce((a, b) => a * b, 1) * bits) / 8));
  };
  const scales = (value: number, ...dims: number[]): TensorSpec => ({
    name: 's',
    dtype: 'float32',
    dims,
    data: new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(value),
  });
  const behind = (attributes: Record<string, AttributeSpec> = {}) =>
    node('DequantizeLinear', ['q', 's'], ['w'], attributes);
  const product = node('MatMul', ['x', 'w'], ['y']);
  const axis = (at: number, block = 0): Record<string, AttributeSpec> => ({
    axis: { int: at },
    ...(block > 0 && { block_size: { int: block } }),
  });

  const cases: readonly [string, readonly NodeSpec[], readonly (TensorSpec | EncodedSpec)[]][] = [
    ['scales differ along K', [behind(axis(0)), product], [codes(3, K, N), scales(1, K)]],
    ['blocks do not lie along K', [behind(axis(1, 16)), product], [codes(3, K, N), scales(1, K, 2)]],
    ['blocks of 8 of int4', [behind(axis(0, 8)), product], [codes(22, K, N), scales(1, 8, N)]],
    ['blocks of 16 of int8', [behind(axis(0, 16)), product], [codes(3, K, N), scales(1, 4, N)]],
    ['weights are int16', [behind(), product], [codes(5, K, N), scales(1)]],
    ['scales of float4e2m1 are float32', [behind(axis(0, 32)), product], [codes(23, K, N), scales(1, 2, N)]],
    ['a scale is NaN, not below 2^90', [behind(), product], [codes(3, K, N), scales(Number.NaN)]],
    ['a scale is 1.2379400392853803e+27, not below 2^90', [behind(), product], [codes(3, K, N), scales(2 ** 90)]],
    [
      'weights are not a matrix of the file',
      [
        behind(),
        node('Transpose', ['w'], ['t'], { perm: { ints: [1, 0, 2] } }),
        node('Reshape', ['t', 'shape'], ['r']),
        node('MatMul', ['x', 'r'], ['y']),
      ],
      [
        codes(3, 2, K, N / 2),
        scales(1),
        { name: 'shape', dtype: 'int64', dims: [2], data: BigInt64Array.of(BigInt(K), BigInt(N)) },
      ],
    ],
  ];

  it.each(cases)('%s', (reason, nodes, initializers) => {
    expect(reasonOf({ nodes, initializers })).toBe(reason);
  });

  it('nothing of one scale for heads of columns, and of blocks that are no powers of two', () => {
    const heads: NodeSpec[] = [
      behind(axis(1)),
      node('Flatten', ['w'], ['f'], { axis: { int: 1 } }),
      node('MatMul', ['x', 'f'], ['y']),
    ];
    expect(reasonOf({ nodes: heads, initializers: [codes(3, K, 4, N / 4), scales(1, 4)] })).toBeUndefined();
  });
});
