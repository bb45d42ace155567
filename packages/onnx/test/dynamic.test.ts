/** Dynamic int8: chains that become products of floats, what they lose, and which stay ONNX Runtime's. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorBound } from '@msd/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { NodeReport } from '../src/report.ts';
import { type NodeSpec, type TensorSpec, type ValueSpec, writeModel } from '../src/write/index.ts';
import {
  bytesOf,
  type DynamicOptions,
  dynamicModel,
  dynamicProduct,
  expectedOf,
  quantizeLinear,
  SPELLINGS,
} from './dynamic.ts';
import { firstMiss, gaussian, makeMatrix, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const ALL = { name: 'msd', claim: 'all' } as const;

const nodesOf = (s: ort.InferenceSession): readonly NodeReport[] => reportOf(s)!.nodes;
const byOp = (s: ort.InferenceSession, opType: string) => nodesOf(s).filter((node) => node.opType === opType);

/** Runs a model of one product, all of it in MSD. @returns what is off, with the case */
async function check(options: DynamicOptions, lead: readonly number[]): Promise<void> {
  const product = dynamicProduct(options);
  const s = await session(dynamicModel([product], lead), ALL);
  const count = lead.reduce((a, b) => a * b, 1);
  const x = gaussian(random(7), count * product.K);
  const { y } = await s.run({ x: tensor(x, [...lead, product.K]) });
  expect(y!.dims).toEqual([...lead, product.N]);
  expect(firstMiss(floats(y), expectedOf(product, x)), JSON.stringify({ options, lead })).toBeUndefined();
  expect(reportOf(s)).toMatchObject({ foreignRunsPerCall: 0 });
  expect(byOp(s, 'MatMulInteger')).toMatchObject([{ where: 'msd' }]);
  await s.release();
}

describe('DynamicQuantizeLinear, MatMulInteger, Cast, Mul', () => {
  const cases: DynamicOptions[] = SPELLINGS.flatMap((spelling) =>
    [false, true].flatMap((flipped) => [
      { N: 5, K: 40, spelling, flipped },
      { N: 17, K: 33, spelling, flipped, type: 'uint8' as const, scale: [17], zeroPoints: [17], bias: true },
    ]),
  );
  it.each(cases)('%o', async (options) => check(options, [3]));

  it.each([{ scale: [] }, { scale: [1] }, { scale: [6] }, { scale: [1, 6] }])('a scale of dims %o', async ({ scale }) =>
    check({ N: 6, K: 64, scale }, [2]),
  );

  it.each<DynamicOptions['zeroPoints']>([undefined, [], [1], [6], 'middle'])('zero points %o', async (zeroPoints) => {
    for (const type of ['int8', 'uint8'] as const) await check({ N: 6, K: 64, type, zeroPoints }, [2]);
  });

  it.each<number[][]>([[[]], [[1]], [[2, 3]], [[1, 2, 2]], [[0]], [[2, 0]]])('rows of dims %o', async (lead) => {
    await check({ N: 6, K: 64, bias: true }, lead);
    await check({ N: 1, K: 1, type: 'uint8' }, lead);
  });

  it('any of them, within the proved bound', async () => {
    const size = fc.integer({ min: 1, max: 300 });
    const one = fc.constantFrom('', 'one', 'each');
    const given = fc.record({
      N: fc.integer({ min: 1, max: 40 }),
      K: size,
      type: fc.constantFrom('int8' as const, 'uint8' as const),
      scale: one,
      zero: one,
      bias: fc.boolean(),
      spelling: fc.constantFrom(...SPELLINGS),
      flipped: fc.boolean(),
      seed: fc.integer({ min: 1, max: 1e6 }),
    });
    const property = fc.asyncProperty(given, fc.integer({ min: 1, max: 5 }), async ({ scale, zero, ...rest }, rows) => {
      const dims = (kind: string): number[] => (kind === 'each' ? [rest.N] : []);
      await check({ ...rest, scale: dims(scale), zeroPoints: zero === '' ? undefined : dims(zero) }, [rows]);
    });
    await fc.assert(property, { seed: 11, numRuns: 40 });
  });

  it('is at least 30 dB nearer to the product of floats than ONNX Runtime, with outliers', async () => {
    const product = dynamicProduct({ N: 64, K: 256, scale: [64] });
    const x = gaussian(random(3), 16 * 256).map((value, i) => (i % 256 === 5 ? 30 * value : value));
    const { y: exact } = expectedOf(product, x);
    const errors = [];
    for (const provider of [ALL, 'wasm' as const]) {
      const s = await session(dynamicModel([product], ['rows']), provider);
      const { y } = await s.run({ x: tensor(x, [16, 256]) });
      errors.push(floats(y).reduce((sum, value, i) => sum + (value - exact[i]!) ** 2, 0));
      await s.release();
    }
    expect(10 * Math.log10(errors[1]! / errors[0]!)).toBeGreaterThan(30);
  });

  it('keeps NaN and infinities in their rows, and gives the bias for a row of zeros', async () => {
    const product = dynamicProduct({ N: 6, K: 64, bias: true });
    const s = await session(dynamicModel([product], ['rows']), ALL);
    const x = gaussian(random(3), 4 * 64);
    x[5] = Number.NaN;
    x[64 + 7] = Number.NEGATIVE_INFINITY;
    x.fill(0, 128, 192);
    const { y } = await s.run({ x: tensor(x, [4, 64]) });
    expect(floats(y).subarray(0, 12)).toEqual(new Float32Array(12).fill(Number.NaN));
    expect(floats(y).subarray(12, 18)).toEqual(product.biasValues);
    const last = expectedOf(product, x.subarray(192));
    expect(firstMiss(floats(y).subarray(18), last)).toBeUndefined();
    await s.release();
  });

  it('shares one DynamicQuantizeLinear, which nobody runs, and one matrix', async () => {
    const products = ['q', 'k', 'v'].map((name, seed) => dynamicProduct({ name, N: 8, K: 64, seed }));
    const s = await session(dynamicModel(products, ['rows']), ALL);
    const x = gaussian(random(3), 2 * 64);
    const results = await s.run({ x: tensor(x, [2, 64]) });
    for (const [i, name] of ['y', 'y1', 'y2'].entries())
      expect(firstMiss(floats(results[name]), expectedOf(products[i]!, x))).toBeUndefined();
    expect(byOp(s, 'DynamicQuantizeLinear')).toMatchObject([{ region: -1 }]);
    const { packedBytes } = reportOf(s)!.weights;
    await s.release();
    const once = await session(dynamicModel([products[0]!], ['rows']), ALL);
    expect(packedBytes).toBe(3 * reportOf(once)!.weights.packedBytes);
    await once.release();
  });

  it('leaves DynamicQuantizeLinear to ONNX Runtime where its codes are asked for', async () => {
    const product = dynamicProduct({ N: 8, K: 64 });
    const model = writeModel({
      graph: {
        nodes: [quantizeLinear('x'), ...product.nodes('x', 'y')],
        initializers: product.initializers,
        inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', 64] }],
        outputs: [
          { name: 'y', dtype: 'float32' },
          { name: 'x_quantized', dtype: 'uint8' },
          { name: 'x_scale', dtype: 'float32' },
        ],
      },
    });
    const [s, plain] = [await session(model, ALL), await session(model, 'wasm')];
    const x = gaussian(random(3), 2 * 64);
    const feeds = { x: tensor(x, [2, 64]) };
    const [ours, theirs] = [await s.run(feeds), await plain.run(feeds)];
    expect(firstMiss(floats(ours.y), expectedOf(product, x))).toBeUndefined();
    for (const name of ['x_quantized', 'x_scale']) expect(ours[name]!.data).toEqual(theirs[name]!.data);
    expect(byOp(s, 'DynamicQuantizeLinear')).toMatchObject([{ where: 'ort' }]);
    expect(byOp(s, 'MatMulInteger')).toMatchObject([{ where: 'msd' }]);
    for (const each of [s, plain]) await each.release();
  });
});

describe('what ONNX Runtime makes of such chains', () => {
  const microsoft = (opType: string, inputs: string[], outputs: string[]): NodeSpec => ({
    opType,
    domain: 'com.microsoft',
    inputs,
    outputs,
  });
  const x = gaussian(random(5), 3 * 64);

  it.each<DynamicOptions>([
    { N: 8, K: 64, scale: [1] },
    { N: 8, K: 64, scale: [8], zeroPoints: [8], bias: true },
    { N: 8, K: 64, type: 'uint8', scale: [8], zeroPoints: [8] },
    { N: 8, K: 64, type: 'uint8', scale: [], bias: true },
  ])('DynamicQuantizeMatMul and MatMulIntegerToFloat: %o', async (options) => {
    const product = dynamicProduct(options);
    const names = product.initializers.map(({ name }) => name);
    const given = (name: string): string => (names.includes(name) ? name : '');
    const [zero, bias] = [given('w_zero_point'), given('w_bias')];
    const model = writeModel({
      graph: {
        nodes: [
          quantizeLinear('x'),
          microsoft(
            'MatMulIntegerToFloat',
            ['x_quantized', 'w_quantized', 'x_scale', 'w_scale', 'x_zero_point', zero, bias],
            ['y'],
          ),
          microsoft('DynamicQuantizeMatMul', ['x', 'w_quantized', 'w_scale', zero, bias], ['z']),
        ],
        initializers: product.initializers,
        inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', 64] }],
        outputs: ['y', 'z'].map((name) => ({ name, dtype: 'float32' as const })),
      },
    });
    const s = await session(model, ALL);
    const results = await s.run({ x: tensor(x, [3, 64]) });
    for (const name of ['y', 'z']) expect(firstMiss(floats(results[name]), expectedOf(product, x))).toBeUndefined();
    expect(reportOf(s)).toMatchObject({ foreignRunsPerCall: 0 });
    await s.release();
    const plain = await session(model, 'wasm');
    const { y } = await plain.run({ x: tensor(x, [3, 64]) });
    expect(y!.dims).toEqual(results.y!.dims);
    await plain.release();
  });

  it('leaves MatMulIntegerToFloat of other codes to it', async () => {
    const product = dynamicProduct({ N: 8, K: 64 });
    const model = writeModel({
      graph: {
        nodes: [
          microsoft('MatMulIntegerToFloat', ['codes', 'w_quantized', 'scale', 'w_scale', ''], ['a']),
          quantizeLinear('x'),
          microsoft('MatMulIntegerToFloat', ['x_quantized', 'w_quantized', 'scale', 'w_scale', 'x_zero_point'], ['b']),
          ...product.nodes('x', 'y'),
        ],
        initializers: product.initializers,
        inputs: [
          { name: 'x', dtype: 'float32', dims: ['rows', 64] },
          { name: 'codes', dtype: 'uint8', dims: ['rows', 64] },
          { name: 'scale', dtype: 'float32', dims: [] },
        ],
        outputs: ['a', 'b', 'y'].map((name) => ({ name, dtype: 'float32' as const })),
      },
    });
    const s = await session(model, ALL);
    expect(byOp(s, 'MatMulIntegerToFloat').map(({ reason }) => reason)).toEqual([
      'MatMulIntegerToFloat: A is not made by DynamicQuantizeLinear',
      'MatMulIntegerToFloat: scale or zero point of A is another one',
    ]);
    await s.release();
  });
});

describe('codes with a constant zero point', () => {
  const [N, K, zero] = [3, 300, 7];
  const next = random(4);
  const w = Int8Array.from({ length: K * N }, () => next() * 256 - 128);
  const codes = Uint8Array.from({ length: 2 * K }, () => next() * 256);
  const sums = Array.from({ length: 2 * N }, (_, i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    let sum = 0;
    for (let k = 0; k < K; k++) sum += (codes[m * K + k]! - zero) * w[k * N + n]!;
    return sum;
  });
  const cast = (from: string, to: string): NodeSpec => ({
    opType: 'Cast',
    inputs: [from],
    outputs: [to],
    attributes: { to: { int: 1 } },
  });
  const model = (behind: readonly NodeSpec[]): Uint8Array => {
    const kept = dynamicProduct({ name: 'kept', N: 8, K: 64, seed: 3 });
    return writeModel({
      graph: {
        nodes: [
          { opType: 'MatMulInteger', inputs: ['codes', 'w', 'zero'], outputs: ['sums'] },
          ...behind,
          quantizeLinear('x'),
          ...kept.nodes('x', 'z'),
        ],
        initializers: [
          ...kept.initializers,
          { name: 'w', dtype: 'int8', dims: [K, N], data: w },
          { name: 'zero', dtype: 'uint8', dims: [], data: Uint8Array.of(zero) },
          { name: 'step', dtype: 'float32', dims: [], data: Float32Array.of(0.25) },
          { name: 'wanted', dtype: 'float32', dims: [2, N], data: Float32Array.from(sums) },
        ],
        inputs: [
          { name: 'codes', dtype: 'uint8', dims: ['rows', K] },
          { name: 'x', dtype: 'float32', dims: ['rows', 64] },
        ],
        outputs: ['y', 'z'].map((name) => ({ name, dtype: 'float32' as const })),
      },
    });
  };
  const feeds = { codes: new ort.Tensor('uint8', codes, [2, K]), x: tensor(new Float32Array(2 * 64), [2, 64]) };

  it.each<[string, NodeSpec[], number[]]>([
    ['a result', [cast('sums', 'y')], sums],
    [
      'compared with others',
      [cast('sums', 'a'), { opType: 'Sub', inputs: ['a', 'wanted'], outputs: ['y'] }],
      sums.map(() => 0),
    ],
    [
      'scaled and looked at',
      [
        cast('sums', 'a'),
        { opType: 'Mul', inputs: ['a', 'step'], outputs: ['b'] },
        { opType: 'Sub', inputs: ['a', 'b'], outputs: ['y'] },
      ],
      sums.map((sum) => 0.75 * sum),
    ],
  ])('sums that are %s are exact integers', async (_, behind, wanted) => {
    const s = await session(model(behind), ALL);
    expect([...floats((await s.run(feeds)).y)]).toEqual(wanted);
    expect(byOp(s, 'MatMulInteger')).toMatchObject([
      {
        where: 'ort',
        reason: expect.stringContaining('MatMulInteger: its sums are used as integers'),
      },
      { where: 'msd' },
    ]);
    await s.release();
  });

  it.each([
    ['Mul', ['a', 'step'], 0.25],
    ['Mul', ['step', 'a'], 0.25],
    ['Div', ['a', 'step'], 4],
  ])('sums that a %s of %s scales are a product of floats', async (opType, inputs, factor) => {
    const s = await session(model([cast('sums', 'a'), { opType, inputs, outputs: ['y'] }]), ALL);
    const y = floats((await s.run(feeds)).y);
    expect(byOp(s, 'MatMulInteger').map(({ where }) => where)).toEqual(['msd', 'msd']);
    const scales = new Float32Array(N).fill(factor);
    const data = Int8Array.from({ length: N * K }, (_, i) => w[(i % K) * N + Math.floor(i / K)]!);
    const x = Float32Array.from(codes, (code) => code - zero);
    const bound = errorBound(x, { format: 'int8', N, K, blockSize: null, data, scales });
    expect(firstMiss(y, { y: Float64Array.from(sums, (sum) => factor * sum), bound })).toBeUndefined();
    await s.release();
  });

  it('a quotient by sums does not scale them', async () => {
    const behind: NodeSpec[] = [cast('sums', 'a'), { opType: 'Div', inputs: ['step', 'a'], outputs: ['y'] }];
    const s = await session(model(behind), ALL);
    expect([...floats((await s.run(feeds)).y)]).toEqual(sums.map((sum) => Math.fround(0.25 / sum)));
    await s.release();
  });
});

describe('weights and tables', () => {
  it('takes B of three dimensions beside A of three', async () => {
    const product = dynamicProduct({ N: 8, K: 64 });
    const initializers = product.initializers.map((each) =>
      each.name === 'w_quantized' ? { ...each, dims: [1, 64, 8] } : each,
    );
    const s = await session(dynamicModel([{ ...product, initializers }], ['batch', 'rows']), ALL);
    const x = gaussian(random(5), 4 * 64);
    const { y } = await s.run({ x: tensor(x, [2, 2, 64]) });
    expect(y!.dims).toEqual([2, 2, 8]);
    expect(firstMiss(floats(y), expectedOf(product, x))).toBeUndefined();
    expect(reportOf(s)).toMatchObject({ foreignRunsPerCall: 0 });
    await s.release();
  });

  it('takes weights, scales and zero points that are made of constants', async () => {
    const product = dynamicProduct({ N: 8, K: 64, type: 'uint8', scale: [8], zeroPoints: [8] });
    const transposed = (data: Uint8Array): Uint8Array => data.map((_, i) => data[(i % 64) * 8 + Math.floor(i / 64)]!);
    const made: NodeSpec[] = [
      { opType: 'Transpose', inputs: ['stored'], outputs: ['turned'], attributes: { perm: { ints: [1, 0] } } },
      { opType: 'Identity', inputs: ['turned'], outputs: ['w_quantized'] },
      { opType: 'Identity', inputs: ['zeros'], outputs: ['w_zero_point'] },
      { opType: 'Unsqueeze', inputs: ['scales', 'first'], outputs: ['w_scale'] },
    ];
    const renamed: Readonly<Record<string, string>> = {
      w_quantized: 'stored',
      w_zero_point: 'zeros',
      w_scale: 'scales',
    };
    const initializers: TensorSpec[] = product.initializers.map((each) => {
      const isWeights = each.name === 'w_quantized';
      const name = renamed[each.name] ?? each.name;
      return isWeights
        ? { ...each, name, dims: [8, 64], data: transposed(each.data as Uint8Array) }
        : { ...each, name };
    });
    const model = writeModel({
      graph: {
        nodes: [...made, quantizeLinear('x'), ...product.nodes('x', 'y')],
        initializers: [...initializers, { name: 'first', dtype: 'int64', dims: [1], data: BigInt64Array.of(0n) }],
        inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', 64] }],
        outputs: [{ name: 'y', dtype: 'float32' }],
      },
    });
    const s = await session(model, ALL);
    const x = gaussian(random(5), 3 * 64);
    const { y } = await s.run({ x: tensor(x, [3, 64]) });
    expect(firstMiss(floats(y), expectedOf(product, x))).toBeUndefined();
    expect(reportOf(s)).toMatchObject({ foreignRunsPerCall: 0 });
    await s.release();
  });

  it('gives the same bits from a file beside the model and from bytes', async () => {
    const product = dynamicProduct({ N: 40, K: 70, scale: [40], zeroPoints: [40] });
    const folder = mkdtempSync(join(tmpdir(), 'msd-dynamic-'));
    const inBytes = dynamicModel([product], ['rows']);
    const path = join(folder, 'model.onnx');
    writeFileSync(path, inBytes);
    const x = gaussian(random(5), 3 * 70);
    const results = [];
    for (const given of [inBytes, path]) {
      const s = await session(given, ALL);
      results.push(floats((await s.run({ x: tensor(x, [3, 70]) })).y));
      await s.release();
    }
    expect(results[0]).toEqual(results[1]);
    rmSync(folder, { recursive: true });
  });

  it.each([
    { type: 'uint8' as const, columns: 64, zero: 131 },
    { type: 'int8' as const, columns: 33, zero: -3 },
    { type: 'int8' as const, columns: 64, zero: undefined },
  ])('rows of a table become floats as they are read: %o', async ({ type, columns, zero }) => {
    const array = bytesOf(type);
    const next = random(9);
    const product = dynamicProduct({ N: 8, K: columns });
    const model = writeModel({
      graph: {
        nodes: [
          { opType: 'Gather', inputs: ['table', 'ids'], outputs: ['codes'] },
          {
            opType: 'DequantizeLinear',
            inputs: ['codes', 'scale', ...(zero === undefined ? [] : ['zero'])],
            outputs: ['x'],
          },
          quantizeLinear('x'),
          ...product.nodes('x', 'y'),
        ],
        initializers: [
          ...product.initializers,
          {
            name: 'table',
            dtype: type,
            dims: [10, columns],
            data: array.from({ length: 10 * columns }, () => next() * 256),
          },
          { name: 'scale', dtype: 'float32', dims: [], data: Float32Array.of(0.037) },
          ...(zero === undefined
            ? []
            : [{ name: 'zero', dtype: type, dims: [], data: array.from({ length: 1 }, () => zero) }]),
        ],
        inputs: [{ name: 'ids', dtype: 'int64', dims: ['batch', 'rows'] }],
        outputs: ['x', 'y'].map((name) => ({ name, dtype: 'float32' as const })),
      },
    });
    const [s, plain] = [await session(model, ALL), await session(model, 'wasm')];
    const feeds = { ids: new ort.Tensor('int64', BigInt64Array.of(3n, -1n, 0n, 9n), [2, 2]) };
    const [ours, theirs] = [await s.run(feeds), await plain.run(feeds)];
    expect(ours.x!.dims).toEqual(theirs.x!.dims);
    expect(ours.x!.data).toEqual(theirs.x!.data);
    expect(firstMiss(floats(ours.y), expectedOf(product, floats(ours.x)))).toBeUndefined();
    expect(reportOf(s)).toMatchObject({ foreignRunsPerCall: 0 });
    for (const each of [s, plain]) await each.release();
  });
});

interface Change {
  readonly nodes?: (nodes: NodeSpec[]) => NodeSpec[];
  readonly tensors?: (tensors: TensorSpec[]) => TensorSpec[];
  readonly inputs?: readonly ValueSpec[];
  readonly outputs?: readonly ValueSpec[];
}

/** Reason why the product of a changed graph stays ONNX Runtime's. */
async function reasonOf({ nodes = (n) => n, tensors = (t) => t, inputs = [], outputs = [] }: Change) {
  const product = dynamicProduct({ N: 8, K: 64, zeroPoints: [] });
  const kept = dynamicProduct({ name: 'kept', N: 8, K: 64, seed: 3 });
  const model = writeModel({
    graph: {
      nodes: [quantizeLinear('x'), ...nodes(product.nodes('x', 'y')), ...kept.nodes('x', 'z')],
      initializers: [...tensors([...product.initializers]), ...kept.initializers],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', 64] }, ...inputs],
      outputs: [...['y', 'z'].map((name) => ({ name, dtype: 'float32' as const })), ...outputs],
    },
  });
  const s = await session(model, ALL);
  const found = nodesOf(s).find(({ name }) => name === 'y_quant')!;
  expect(reportOf(s)!.whole).toBeUndefined();
  await s.release();
  expect(found.where).toBe('ort');
  return found.reason;
}

const renamed = (from: string, to: string) => (nodes: NodeSpec[]) =>
  nodes.map((node) => ({ ...node, inputs: node.inputs.map((name) => (name === from ? to : name)) }));
const only = (opType: string, change: (node: NodeSpec) => NodeSpec) => (nodes: NodeSpec[]) =>
  nodes.map((node) => (node.opType === opType ? change(node) : node));

describe('stays ONNX Runtime’s', () => {
  const codes: TensorSpec = { name: 'other', dtype: 'uint8', dims: [], data: Uint8Array.of(3) };
  const scalar: ValueSpec = { name: 'fed', dtype: 'float32', dims: [] };
  it.each<[string, Change]>([
    [
      'MatMulInteger: A is not made by DynamicQuantizeLinear, and its zero point is not one constant number',
      { nodes: renamed('x_quantized', 'fed'), inputs: [{ name: 'fed', dtype: 'uint8', dims: ['rows', 64] }] },
    ],
    [
      'MatMulInteger: the zero point of A is another one',
      {
        nodes: only('MatMulInteger', (node) => ({ ...node, inputs: node.inputs.with(2, 'other') })),
        tensors: (t) => [...t, codes],
      },
    ],
    [
      'MatMulInteger: the zero point of A is another one',
      { nodes: only('MatMulInteger', (node) => ({ ...node, inputs: node.inputs.slice(0, 2) })) },
    ],
    [
      'MatMulInteger: its sums do not become floats, or somebody else needs them',
      { outputs: [{ name: 'y_sums', dtype: 'int32' }] },
    ],
    [
      'MatMulInteger: the scale of A does not multiply its sums',
      { nodes: renamed('x_scale', 'fed'), inputs: [scalar] },
    ],
    [
      'MatMulInteger: B is not constant',
      {
        tensors: (t) => t.filter(({ name }) => name !== 'w_quantized'),
        inputs: [{ name: 'w_quantized', dtype: 'int8', dims: [64, 8] }],
      },
    ],
    [
      'MatMulInteger: zero points of B are not constant',
      {
        tensors: (t) => t.filter(({ name }) => name !== 'w_zero_point'),
        inputs: [{ name: 'w_zero_point', dtype: 'int8', dims: [] }],
      },
    ],
    [
      'MatMulInteger: B has shape [64]',
      {
        tensors: (t) =>
          t.map((each) => (each.name === 'w_quantized' ? { ...each, dims: [64], data: new Int8Array(64) } : each)),
      },
    ],
    [
      'MatMulInteger: B has shape [1, 64, 8]',
      { tensors: (t) => t.map((each) => (each.name === 'w_quantized' ? { ...each, dims: [1, 64, 8] } : each)) },
    ],
    [
      `MatMulInteger: a scale is ${2 ** 90}, not below 2^90`,
      {
        tensors: (t) => t.map((each) => (each.name === 'w_scale' ? { ...each, data: Float32Array.of(2 ** 90) } : each)),
      },
    ],
  ])('%s', async (reason, change) => {
    expect(await reasonOf(change)).toBe(reason);
  });
});

describe('exact', () => {
  const EXACT = { ...ALL, exact: true } as const;
  const REASON = "the option 'exact' asks for 8-bit activations, as ONNX Runtime rounds them";

  it('leaves a model of such products whole', async () => {
    const s = await session(dynamicModel([dynamicProduct({ N: 8, K: 64 })], ['rows']), { ...EXACT, claim: 'auto' });
    expect(reportOf(s)!.whole).toBe('no product with weights of the file');
    expect(byOp(s, 'MatMulInteger')).toMatchObject([{ where: 'ort', reason: `MatMulInteger: ${REASON}` }]);
    await s.release();
  });

  it.each(SPELLINGS)('gives the bits of ONNX Runtime in a model that is cut, too: %s', async (spelling) => {
    const products = [
      dynamicProduct({ name: 'a', N: 24, K: 96, scale: [24], bias: true, spelling }),
      dynamicProduct({ name: 'b', N: 17, K: 96, type: 'uint8', zeroPoints: [], spelling, seed: 5 }),
    ];
    const other = makeMatrix({ N: 16, K: 96 });
    const model = writeModel({
      graph: {
        nodes: [
          quantizeLinear('x'),
          ...products.flatMap((product, i) => product.nodes('x', `y${i}`)),
          other.node('x', 'z'),
        ],
        initializers: [...products.flatMap(({ initializers }) => initializers), ...other.initializers],
        inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', 96] }],
        outputs: ['y0', 'y1', 'z'].map((name) => ({ name, dtype: 'float32' as const })),
      },
    });
    const [s, plain] = [await session(model, EXACT), await session(model, 'wasm')];
    for (const rows of [1, 5, 16]) {
      const feeds = { x: tensor(gaussian(random(rows), rows * 96), [rows, 96]) };
      const [ours, theirs] = [await s.run(feeds), await plain.run(feeds)];
      for (const name of ['y0', 'y1']) expect(ours[name]!.data).toEqual(theirs[name]!.data);
    }
    expect(byOp(s, 'MatMulNBits')).toMatchObject([{ where: 'msd' }]);
    expect(byOp(s, 'MatMulInteger').map(({ reason }) => reason)).toEqual([1, 2].map(() => `MatMulInteger: ${REASON}`));
    for (const each of [s, plain]) await each.release();
  });

  it('is a boolean', async () => {
    const model = dynamicModel([dynamicProduct({ N: 8, K: 64 })], ['rows']);
    await expect(session(model, { name: 'msd', exact: 1 })).rejects.toThrow(
      "msd: option 'exact', expected a boolean, got number.",
    );
  });
});
