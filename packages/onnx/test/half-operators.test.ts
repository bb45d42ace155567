/**
 * Operators with float16 operands beside ONNX Runtime, node by node. Both compute in f32 and round once, so results are at most one
 * step of float16 apart (a product of integers: its bound more).
 */

import { floatsOfFp16, fp16Bits, type HalfArray } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { loadOperators } from '../src/execute/families.ts';
import { halvesOf } from '../src/half.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import { matchNodes } from '../src/passes/match.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { reportOf } from '../src/register.ts';
import { type AttributeSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { exactProduct, gaussian, makeMatrix, random } from './models.ts';
import { ort, session } from './ort.ts';

await loadOperators();

const next = random(16);
/** Values of float16. */
const rounded = (floats: Float32Array): Float32Array => floatsOfFp16(fp16Bits(floats) as HalfArray);
const sample = (...dims: number[]): Float32Array =>
  rounded(
    gaussian(
      next,
      dims.reduce((a, b) => a * b, 1),
    ),
  );

const half = (name: string, dims: readonly number[], data: Float32Array): TensorSpec => ({
  name,
  dtype: 'float16',
  dims,
  data: fp16Bits(data),
});
const longs = (name: string, ...data: number[]): TensorSpec => ({
  name,
  dtype: 'int64',
  dims: [data.length],
  data: BigInt64Array.from(data, BigInt),
});

/** The step of float16 at a value. */
const stepAt = (value: number): number => 2 ** (Math.max(-14, Math.floor(Math.log2(Math.abs(value) || 2 ** -14))) - 10);

/** The first element that is more than a step and `bound` away. */
function miss(got: ArrayLike<number>, want: ArrayLike<number>, bound: ArrayLike<number> = []): string | undefined {
  for (let i = 0; i < want.length; i++) {
    const [a, b] = [got[i]!, want[i]!];
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const allowed = stepAt(Math.max(Math.abs(a), Math.abs(b))) + (bound[i] ?? 0);
    if (!(Math.abs(a - b) <= allowed)) return `[${i}]: expected ${b} ± ${allowed}, got ${a}`;
  }
  return undefined;
}

interface Case {
  readonly op: string;
  readonly domain?: string;
  /** Operands after the fed ones, from the file. */
  readonly constants?: readonly TensorSpec[];
  /** Names of all operands. Default: x, and the constants. */
  readonly inputs?: readonly string[];
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
  readonly outputs?: number;
  readonly x?: readonly number[];
  readonly type?: 'float16' | 'float32' | 'bool' | 'int64';
  readonly bound?: (x: Float32Array) => ArrayLike<number>;
  readonly opset?: number;
}

const dataOf = (tensor: ort.Tensor): ArrayLike<number> =>
  tensor.type === 'float16'
    ? floatsOfFp16(tensor.data as unknown as HalfArray)
    : Array.from(tensor.data as unknown as ArrayLike<number>, Number);

async function check({ op, domain = '', constants = [], outputs = 1, type = 'float16', opset = 21, ...given }: Case) {
  const names = Array.from({ length: outputs }, (_, i) => `y${i}`);
  const inputs = given.inputs ?? ['x', ...constants.map(({ name }) => name)];
  const dims = given.x ?? [2, 3, 8];
  const node: NodeSpec = { opType: op, domain, name: op, inputs, outputs: names, attributes: given.attributes ?? {} };
  const model = writeModel({
    opsets: { '': opset, 'com.microsoft': 1 },
    graph: {
      nodes: [node],
      initializers: constants,
      inputs: [
        { name: 'x', dtype: 'float16', dims },
        ...(inputs.includes('z') ? [{ name: 'z', dtype: 'float16' as const, dims }] : []),
      ],
      outputs: names.map((name) => ({ name, dtype: type })),
    },
  });
  const [x, z] = [sample(...dims), sample(...dims)];
  const tensor = (data: Float32Array) => new ort.Tensor('float16', halvesOf(data) as never, dims) as ort.Tensor;
  const feeds = { x: tensor(x), ...(inputs.includes('z') && { z: tensor(z) }) };
  const [msd, plain] = [await session(model, { name: 'msd', claim: 'all' }), await session(model, 'wasm')];
  expect(reportOf(msd)!.nodes.map(({ where, reason }) => reason ?? where)).toEqual(['msd']);
  const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
  for (const name of names) {
    expect(got[name]!.type).toBe(type);
    expect(got[name]!.dims).toEqual(want[name]!.dims);
    expect(got[name]!.data.constructor).toBe(want[name]!.data.constructor);
    expect(miss(dataOf(got[name]!), dataOf(want[name]!), given.bound?.(x))).toBeUndefined();
  }
  await msd.release();
  await plain.release();
}

const row = half('row', [8], sample(8));
const bias = half('bias', [8], sample(8));
const wide = half('wide', [2, 3, 8], sample(2, 3, 8));
const number = (name: string, value: number) => half(name, [], Float32Array.of(value));
const axis = (value: number): Case['attributes'] => ({ axis: { int: value } });

const elementwise: readonly Case[] = [
  ...['Add', 'Sub', 'Mul', 'Div', 'Min', 'Max'].flatMap((op) => [
    { op, inputs: ['x', 'z'] },
    { op, constants: [row] },
    { op, constants: [number('one', 0.5)] },
  ]),
  ...['Abs', 'Neg', 'Exp', 'Erf', 'Tanh', 'Sigmoid', 'Relu', 'LeakyRelu', 'Sqrt', 'Floor', 'Ceil', 'Softplus'].map(
    (op) => ({ op }),
  ),
  { op: 'Pow', constants: [number('two', 2)] },
  { op: 'Clip', constants: [number('low', -0.5), number('high', 0.5)] },
  {
    op: 'Where',
    constants: [
      { name: 'mask', dtype: 'bool', dims: [8], data: Uint8Array.of(1, 0, 1, 1, 0, 0, 1, 0) },
      number('lowest', -65504),
    ],
    inputs: ['mask', 'x', 'lowest'],
  },
  { op: 'Less', inputs: ['x', 'z'], type: 'bool' },
  { op: 'Cast', attributes: { to: { int: 1 } }, type: 'float32' },
  { op: 'Cast', attributes: { to: { int: 10 } } },
  { op: 'Cast', attributes: { to: { int: 9 } }, type: 'bool' },
  {
    op: 'CastLike',
    constants: [{ name: 'like', dtype: 'float32', dims: [1], data: new Float32Array(1) }],
    type: 'float32',
  },
  { op: 'FastGelu', domain: 'com.microsoft', constants: [bias] },
  { op: 'Gelu' },
];

const rows: readonly Case[] = [
  ...['ReduceSum', 'ReduceMean', 'ReduceMax'].map((op) => ({ op, constants: [longs('axes', -1)] })),
  { op: 'ArgMax', attributes: axis(-1), type: 'int64' },
  { op: 'Softmax', attributes: axis(-1) },
  { op: 'LogSoftmax', attributes: axis(-1) },
  { op: 'LayerNormalization', constants: [row, bias] },
  { op: 'RMSNormalization', constants: [row], opset: 23 },
  { op: 'SimplifiedLayerNormalization', constants: [row] },
  { op: 'SkipLayerNormalization', domain: 'com.microsoft', inputs: ['x', 'z', 'row', 'bias'], constants: [row, bias] },
  { op: 'SkipSimplifiedLayerNormalization', domain: 'com.microsoft', inputs: ['x', 'z', 'row'], constants: [row] },
  {
    op: 'RotaryEmbedding',
    domain: 'com.microsoft',
    constants: [longs('at', 1), half('cos', [9, 4], sample(9, 4)), half('sin', [9, 4], sample(9, 4))],
    x: [1, 3, 8],
  },
];

const movements: readonly Case[] = [
  { op: 'Transpose' },
  { op: 'Reshape', constants: [longs('shape', -1, 6)] },
  { op: 'Unsqueeze', constants: [longs('axes', 0)] },
  { op: 'Concat', constants: [wide], attributes: axis(1) },
  { op: 'Split', attributes: { axis: { int: -1 }, num_outputs: { int: 2 } }, outputs: 2 },
  { op: 'Slice', constants: [longs('from', 1), longs('to', 7), longs('axes', 2), longs('steps', 2)] },
  { op: 'Expand', constants: [longs('shape', 4, 1, 1, 1)] },
  { op: 'Tile', constants: [longs('times', 1, 2, 1)] },
  { op: 'Pad', constants: [longs('pads', 0, 1, 0, 0, 0, 2), number('fill', -65504)] },
  { op: 'Gather', constants: [longs('at', 1, 0, -1)], attributes: axis(1) },
];

const weights = makeMatrix({ N: 6, K: 40, zeroPoints: true, bias: true });
const asHalves = (tensor: TensorSpec): TensorSpec =>
  tensor.dtype === 'float32'
    ? half(tensor.name, tensor.dims, new Float32Array((tensor.data as Float32Array).buffer))
    : tensor;

const products: readonly Case[] = [
  { op: 'MatMul', constants: [half('w', [8, 5], sample(8, 5))] },
  { op: 'MatMul', constants: [half('w', [2, 8, 5], sample(2, 8, 5))] },
  {
    op: 'Gemm',
    x: [3, 8],
    constants: [half('w', [5, 8], sample(5, 8)), half('c', [5], sample(5))],
    attributes: { transB: { int: 1 } },
  },
  {
    ...{ op: 'MatMulNBits', domain: 'com.microsoft', x: [2, 3, 40], constants: weights.initializers.map(asHalves) },
    inputs: weights.node('x', 'y').inputs,
    attributes: weights.node('x', 'y').attributes!,
    // Scales and bias are rounded to float16 on both sides, by 2^-11 of them at most: their bound is that of the exact ones, and a bit.
    bound: (x) => exactProduct(weights, x).bound.map((each) => each * (1 + 2 ** -10)),
  },
];

describe('float16 beside ONNX Runtime', () => {
  const titled = (cases: readonly Case[]) =>
    cases.map(
      (each) =>
        [
          `${each.op} ${(each.inputs ?? ['x', ...(each.constants ?? []).map(({ name }) => name)]).join(' ')}`,
          each,
        ] as const,
    );
  it.each(titled(elementwise))('elementwise: %s', (_, each) => check(each));
  it.each(titled(rows))('rows: %s', (_, each) => check(each));
  it.each(titled(movements))('movement: %s', (_, each) => check(each));
  it.each(titled(products))('product: %s', (_, each) => check(each));
});

describe('float16 inside a region', () => {
  const graphOf = (
    nodes: readonly NodeSpec[],
    initializers: readonly TensorSpec[],
    dims: readonly number[],
    outputs: readonly string[],
  ) =>
    writeModel({
      graph: {
        nodes,
        initializers,
        inputs: [{ name: 'x', dtype: 'float16', dims }],
        outputs: outputs.map((name) => ({ name, dtype: 'float16' })),
      },
    });
  const run = async (
    model: Uint8Array,
    x: Float32Array,
    dims: readonly number[],
  ): Promise<Record<string, Float32Array>> => {
    const msd = await session(model, { name: 'msd', claim: 'all' });
    expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
    const results = await msd.run({ x: new ort.Tensor('float16', halvesOf(x) as never, dims) as ort.Tensor });
    await msd.release();
    return Object.fromEntries(Object.entries(results).map(([name, each]) => [name, dataOf(each) as Float32Array]));
  };

  it('does not overflow between two nodes, only where a value leaves', async () => {
    const node = (opType: string, input: string, output: string): NodeSpec => ({
      ...{ opType, inputs: [input, 'thousand'], outputs: [output] },
    });
    const nodes = [node('Mul', 'x', 'large'), node('Div', 'large', 'y')];
    const x = Float32Array.of(1, -100, 60, 65504, 0, 2 ** -24);
    const model = graphOf(nodes, [number('thousand', 1000)], [6], ['large', 'y']);
    const { large, y } = await run(model, x, [6]);
    expect(y).toEqual(x);
    expect(large).toEqual(
      Float32Array.of(
        1000,
        Number.NEGATIVE_INFINITY,
        60000,
        Number.POSITIVE_INFINITY,
        0,
        floatsOfFp16(fp16Bits([1000 * 2 ** -24]) as HalfArray)[0]!,
      ),
    );
  });

  it('keeps NaN, infinities and zeros of either sign', async () => {
    const nodes: NodeSpec[] = [{ opType: 'Mul', inputs: ['x', 'two'], outputs: ['y'] }];
    const x = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0, 2 ** -24);
    const { y } = await run(graphOf(nodes, [number('two', 2)], [6], ['y']), x, [6]);
    expect(y).toEqual(x.map((each) => each * 2));
  });

  // Its constants are off by up to half a step of float16.
  it('finds Gelu as it is spelt out', async () => {
    const nodes: NodeSpec[] = [
      { opType: 'Div', inputs: ['x', 'root'], outputs: ['a'] },
      { opType: 'Erf', inputs: ['a'], outputs: ['b'] },
      { opType: 'Add', inputs: ['b', 'one'], outputs: ['c'] },
      { opType: 'Mul', inputs: ['x', 'c'], outputs: ['d'] },
      { opType: 'Mul', inputs: ['d', 'half'], outputs: ['y'] },
    ];
    const constants = [number('root', Math.SQRT2), number('one', 1), number('half', 0.5)];
    const model = graphOf(nodes, constants, [4, 8], ['y']);
    const graph = buildGraph(readModel(bytesSource(model)));
    const matches = new Set(matchNodes(inferTypes(graph)).values());
    expect([...matches]).toMatchObject([{ op: 'elementwise', nodes: graph.nodes }]);
    const x = sample(4, 8);
    const { y } = await run(model, x, [4, 8]);
    const plain = await session(model, 'wasm');
    const want = await plain.run({ x: new ort.Tensor('float16', halvesOf(x) as never, [4, 8]) as ort.Tensor });
    // The slope of Gelu's argument is 1.13 at most.
    expect(
      miss(
        y!,
        dataOf(want.y!),
        x.map((each) => 1.13 * 2 ** -11 * Math.abs(each)),
      ),
    ).toBeUndefined();
    await plain.release();
  });

  it('reads rows of a table in few bits whose scales are float16', async () => {
    const [entries, columns, block] = [6, 64, 32];
    const model = writeModel({
      graph: {
        nodes: [
          {
            ...{ opType: 'GatherBlockQuantized', domain: 'com.microsoft' },
            ...{ inputs: ['table', 'ids', 'scales', 'zeros'], outputs: ['y'] },
            attributes: { bits: { int: 4 }, block_size: { int: block }, quantize_axis: { int: 1 } },
          },
        ],
        initializers: [
          {
            name: 'table',
            dtype: 'uint8',
            dims: [entries, columns / 2],
            data: Uint8Array.from({ length: 192 }, (_, i) => i * 37),
          },
          half('scales', [entries, columns / block], sample(entries, 2)),
          {
            name: 'zeros',
            dtype: 'uint8',
            dims: [entries, 1],
            data: Uint8Array.from({ length: entries }, (_, i) => i * 41),
          },
        ],
        inputs: [{ name: 'ids', dtype: 'int64', dims: ['n'] }],
        outputs: [{ name: 'y', dtype: 'float16' }],
      },
    });
    const [msd, plain] = [await session(model, { name: 'msd', claim: 'all' }), await session(model, 'wasm')];
    expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
    const feeds = { ids: new ort.Tensor('int64', BigInt64Array.of(5n, 0n, 2n), [3]) };
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(got.y!.type).toBe('float16');
    expect(got.y!.dims).toEqual(want.y!.dims);
    // A scale of 11 bits times a code of 5: one rounding, on either side.
    expect(miss(dataOf(got.y!), dataOf(want.y!))).toBeUndefined();
    await msd.release();
    await plain.release();
  });

  // What is masked with the lowest float16 must weigh nothing, however large the values behind it are.
  it.each(['Where', 'Add'])('attention that is spelt out, masked by %s', async (kind) => {
    const [rows, size] = [5, 8];
    const mask =
      kind === 'Add'
        ? half('mask', [1, 1, 1, rows], Float32Array.of(0, 0, 0, -65504, -65504))
        : { name: 'mask', dtype: 'bool' as const, dims: [1, 1, 1, rows], data: Uint8Array.of(1, 1, 1, 0, 0) };
    const nodes: NodeSpec[] = [
      { opType: 'Transpose', inputs: ['x'], outputs: ['t'], attributes: { perm: { ints: [0, 1, 3, 2] } } },
      { opType: 'MatMul', inputs: ['x', 't'], outputs: ['s'] },
      { opType: 'Mul', inputs: ['s', 'scale'], outputs: ['scaled'] },
      { opType: kind, inputs: kind === 'Add' ? ['scaled', 'mask'] : ['mask', 'scaled', 'lowest'], outputs: ['m'] },
      { opType: 'Softmax', inputs: ['m'], outputs: ['w'], attributes: { axis: { int: -1 } } },
      { opType: 'MatMul', inputs: ['w', 'x'], outputs: ['y'] },
    ];
    const dims = [1, 1, rows, size];
    const initializers = [mask, number('scale', 0.25), number('lowest', -65504)];
    const model = graphOf(nodes, initializers, dims, ['y']);
    const msd = await session(model, { name: 'msd', claim: 'all' });
    const ops = new Set(reportOf(msd)!.nodes.map(({ where }) => where));
    expect([...ops]).toEqual(['msd']);
    await msd.release();
    const x = sample(...dims);
    const other = x.slice().fill(64, 3 * size);
    const [first, second] = [await run(model, x, dims), await run(model, other, dims)];
    // Rows that are not masked see the same keys in both.
    expect(second.y!.slice(0, 3 * size)).toEqual(first.y!.slice(0, 3 * size));
    const plain = await session(model, 'wasm');
    const want = await plain.run({ x: new ort.Tensor('float16', halvesOf(x) as never, dims) as ort.Tensor });
    const bound = new Float32Array(x.length).fill(2 ** -10); // ONNX Runtime rounds scores and weights, too
    expect(miss(first.y!, dataOf(want.y!), bound)).toBeUndefined();
    await plain.release();
  });
});
