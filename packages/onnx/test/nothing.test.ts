/** Operands and results that hold nothing, sizes that are known in a run alone: MSD gives what onnxruntime-web gives. */
import { describe, expect, it } from 'vitest';
import { countOf } from '../src/dims.ts';
import { reportOf } from '../src/register.ts';
import { type AttributeSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { CLOSE, relativeMost } from './close.ts';
import { gaussian, gaussianSpec, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

type Sizes = readonly number[];

interface Form {
  readonly op: string;
  /** Fed, floats. */
  readonly operands: readonly Sizes[];
  /** Whole numbers: the last operand. */
  readonly whole?: { readonly values: Sizes; readonly isFed?: boolean };
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
  readonly outputs?: number;
  readonly version?: number;
}
const ints = (attributes: Readonly<Record<string, number | Sizes>>): Record<string, AttributeSpec> =>
  Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [
      name,
      typeof value === 'number' ? { int: value } : { ints: value },
    ]),
  );

function modelOf({ op, operands, whole, attributes = {}, outputs = 1, version = 23 }: Form): Uint8Array {
  const names = operands.map((_, i) => `x${i}`);
  const made = Array.from({ length: outputs }, (_, i) => `y${i}`);
  const open = (name: string, { length }: Sizes) => Array.from({ length }, (_, i) => `${name}_${i}`);
  const held = whole && { name: 'whole', dtype: 'int64' as const, dims: [whole.values.length] };
  return writeModel({
    opsets: { '': version },
    graph: {
      nodes: [{ opType: op, inputs: [...names, ...(held ? [held.name] : [])], outputs: made, attributes }],
      initializers: held && !whole.isFed ? [{ ...held, data: BigInt64Array.from(whole.values, BigInt) }] : [],
      inputs: [
        ...operands.map((dims, i) => ({ name: names[i]!, dtype: 'float32' as const, dims: open(names[i]!, dims) })),
        ...(held && whole.isFed ? [held] : []),
      ],
      outputs: made.map((name) => ({ name, dtype: 'float32' })),
    },
  });
}

/** @returns results of both engines, MSD's and ONNX Runtime's. @throws what either throws */
async function both(form: Form): Promise<readonly (readonly [dims: Sizes, data: Sizes])[][]> {
  const next = random(5);
  const feeds: Record<string, ort.Tensor> = Object.fromEntries(
    form.operands.map((dims, i) => [`x${i}`, new ort.Tensor('float32', gaussian(next, countOf(dims)), dims)]),
  );
  const { whole } = form;
  if (whole?.isFed)
    feeds.whole = new ort.Tensor('int64', BigInt64Array.from(whole.values, BigInt), [whole.values.length]);
  const all: (readonly [Sizes, Sizes])[][] = [];
  for (const provider of [{ name: 'msd', claim: 'all' } as const, 'wasm' as const]) {
    const each = await session(modelOf(form), provider);
    if (provider !== 'wasm') expect(reportOf(each)!.nodes[0]!.where).toBe('msd');
    const results = await each.run(feeds).finally(() => each.release());
    all.push(each.outputNames.map((name) => [results[name]!.dims, [...(results[name]!.data as Float32Array)]]));
  }
  return all;
}

async function compared(form: Form): Promise<void> {
  const [own, expected] = await both(form);
  expect(own).toEqual(expected);
}

describe('Concat', () => {
  it('parts that take no place have any sizes', async () => {
    const next = random(17);
    const upTo = (most: number) => Math.floor(next() * (most + 1));
    for (let i = 0; i < 24; i++) {
      const rank = 1 + upTo(2);
      const axis = upTo(rank - 1);
      const wanted = Array.from({ length: rank }, () => 1 + upTo(3));
      const operands = Array.from({ length: 2 + upTo(2) }, () =>
        wanted.map((size, d) => (d === axis ? upTo(2) : size)),
      ).map((dims) => (dims[axis] === 0 ? dims.map((_, d) => (d === axis ? 0 : upTo(4))) : dims));
      await compared({ op: 'Concat', operands, attributes: ints({ axis: upTo(1) === 0 ? axis : axis - rank }) });
    }
  });
  it.each([
    [
      [
        [0, 5],
        [0, 4],
      ],
      0,
    ],
    [
      [
        [0, 5],
        [0, 4],
      ],
      1,
    ],
    [
      [
        [2, 0, 5],
        [3, 0, 4],
      ],
      2,
    ],
  ] as const)('nothing at all: %j along %i', async (operands, axis) => {
    await compared({ op: 'Concat', operands, attributes: ints({ axis }) });
  });
  it('a part that takes place and holds nothing is an error; ONNX Runtime leaves that place as it is', async () => {
    const form: Form = {
      op: 'Concat',
      operands: [
        [3, 0],
        [2, 2],
      ],
      attributes: ints({ axis: 0 }),
    };
    await expect(both(form)).rejects.toThrow('concat: shapes expected to differ along axis 0 only, got [3,0], [2,2].');
  });
});

describe('Split without sizes has equal parts', () => {
  it.each([
    [[6], 0],
    [[0], 0],
    [[2, 4], 1],
  ] as const)('%j along %i', async (dims, axis) => {
    for (const isFed of [false, true])
      for (const version of [13, 23])
        await compared({
          op: 'Split',
          operands: [dims],
          whole: { values: [], isFed },
          attributes: ints({ axis }),
          outputs: 2,
          version,
        });
  });
});

describe.each(['AveragePool', 'MaxPool'])('%s', (op) => {
  const pool = (dims: Sizes, kernel: Sizes, strides: Sizes, more: Readonly<Record<string, number>> = {}): Form => ({
    op,
    operands: [dims],
    attributes: ints({ kernel_shape: kernel, strides, ...more }),
  });
  it.each([
    [[2, 3, 1], [2], [1]],
    [[2, 3, 1], [4], [2]],
    [
      [2, 3, 5, 1],
      [2, 3],
      [1, 2],
    ],
    [
      [2, 3, 1, 5],
      [2, 3],
      [1, 2],
    ],
  ] as const)('windows that lack one stride and less than two: none (%j, %j by %j)', async (dims, kernel, strides) => {
    for (const ceil_mode of [0, 1]) await compared(pool(dims, kernel, strides, { ceil_mode }));
    if (op === 'AveragePool') await compared(pool(dims, kernel, strides, { count_include_pad: 1 }));
  });
  it('windows that lack more are an error', async () => {
    await expect(both(pool([2, 3, 1], [3], [1]))).rejects.toThrow('expected at least 3 elements, pads included, got 1');
  });
});

describe('reductions', () => {
  it.each(['Mean', 'Sum', 'Max', 'Min', 'Prod', 'L1', 'L2', 'SumSquare'])('Reduce%s of nothing', async (name) => {
    const op = `Reduce${name}`;
    await compared({ op, operands: [[2, 0]], whole: { values: [1] } });
    await compared({ op, operands: [[2, 0, 3]], whole: { values: [1, 2] }, attributes: ints({ keepdims: 0 }) });
    await compared({ op, operands: [[3, 0]] });
  });
});

describe('RotaryEmbedding', () => {
  it('of no heads', async () => {
    for (const pairs of [4, 2]) {
      const table = [2, 3, pairs];
      const attributes = ints(pairs === 2 ? { rotary_embedding_dim: 4 } : {});
      await compared({ op: 'RotaryEmbedding', operands: [[2, 0, 3, 8], table, table], attributes });
    }
  });
});

describe('ReduceMax and ReduceMin', () => {
  it.each([
    ['ReduceMax', 0],
    ['ReduceMin', 1],
  ] as const)('%s of no bools, which ONNX Runtime refuses, as in ONNX', async (opType, expected) => {
    const bytes = writeModel({
      opsets: { '': 23 },
      graph: {
        nodes: [{ opType, inputs: ['x', 'axes'], outputs: ['y'] }],
        initializers: [{ name: 'axes', dtype: 'int64', dims: [1], data: BigInt64Array.of(1n) }],
        inputs: [{ name: 'x', dtype: 'bool', dims: [2, 0] }],
        outputs: [{ name: 'y', dtype: 'bool' }],
      },
    });
    const msd = await session(bytes, { name: 'msd', claim: 'all' });
    const { y } = await msd.run({ x: new ort.Tensor('bool', new Uint8Array(0), [2, 0]) });
    expect([y!.dims, [...(y!.data as Uint8Array)]]).toEqual([
      [2, 1],
      [expected, expected],
    ]);
    await msd.release();
  });
});

/** Both engines on a graph of floats. @returns nodes of MSD's report */
async function graphCompared(
  nodes: readonly NodeSpec[],
  fed: Readonly<Record<string, ort.Tensor>>,
  initializers: readonly TensorSpec[] = [],
) {
  const inputs = Object.entries(fed).map(([name, { type, dims }]) => ({
    name,
    dtype: type as 'float32',
    dims: dims.map((_, i) => `${name}_${i}`),
  }));
  const bytes = writeModel({
    opsets: { '': 17, 'com.microsoft': 1 },
    graph: { nodes, initializers, inputs, outputs: [{ name: 'y', dtype: 'float32' }] },
  });
  const [plain, msd] = [await session(bytes, 'wasm'), await session(bytes, { name: 'msd', claim: 'all' })];
  const [expected, got] = [(await plain.run(fed)).y!, (await msd.run(fed)).y!];
  expect(got.dims).toEqual(expected.dims);
  expect(relativeMost(floats(got), floats(expected))).toBeLessThan(CLOSE);
  const nodesOf = reportOf(msd)!.nodes;
  for (const each of [plain, msd]) await each.release();
  return nodesOf;
}

const next = random(23);
const drawn = (...dims: number[]): ort.Tensor => tensor(gaussian(next, countOf(dims)), dims);
const fixed = (name: string, ...dims: number[]): TensorSpec => gaussianSpec(next, name, ...dims);

describe('attention that is spelt out', () => {
  const nodes: readonly NodeSpec[] = [
    { opType: 'Neg', inputs: ['k'], outputs: ['keys'] },
    { opType: 'Neg', inputs: ['v'], outputs: ['values'] },
    { opType: 'Transpose', inputs: ['keys'], outputs: ['turned'], attributes: { perm: { ints: [0, 1, 3, 2] } } },
    { opType: 'MatMul', inputs: ['q', 'turned'], outputs: ['scores'] },
    { opType: 'Add', inputs: ['scores', 'mask'], outputs: ['added'] },
    { opType: 'Softmax', inputs: ['added'], outputs: ['p'], attributes: { axis: { int: -1 } } },
    { opType: 'MatMul', inputs: ['p', 'values'], outputs: ['y'] },
  ];
  it.each([
    [1, 3, 1],
    [1, 3, 2],
    [3, 1, 2],
    [3, 3, 2],
  ])('%i queries, a mask of %i rows and %i batches', async (queries, rows, batch) => {
    const heads = (count: number) => drawn(1, 2, count, 8);
    const fed = { q: heads(queries), k: heads(5), v: heads(5), mask: drawn(batch, 1, rows, 5) };
    const report = await graphCompared(nodes, fed);
    expect(report.filter(({ where }) => where === 'ort')).toEqual([]);
  });
});

describe('types behind operators of ONNX Runtime', () => {
  const ids = new ort.Tensor('int32', Int32Array.of(3, 0, 2, 1, 1, 4), [2, 3]);
  it('EmbedLayerNormalization', async () => {
    const nodes: readonly NodeSpec[] = [
      {
        opType: 'EmbedLayerNormalization',
        domain: 'com.microsoft',
        inputs: ['ids', '', 'words', 'places', '', 'gamma', 'beta'],
        outputs: ['embedded', 'lengths'],
      },
      { opType: 'MatMul', inputs: ['embedded', 'w'], outputs: ['y'] },
    ];
    const tables = [fixed('words', 5, 8), fixed('places', 4, 8), fixed('gamma', 8), fixed('beta', 8)];
    const report = await graphCompared(nodes, { ids }, [...tables, fixed('w', 8, 6)]);
    expect(report.map(({ where }) => where)).toEqual(['ort', 'msd']);
  });
  it('TransposeMatMul', async () => {
    const nodes: readonly NodeSpec[] = [
      { opType: 'TransposeMatMul', domain: 'com.microsoft', inputs: ['a', 'b'], outputs: ['ab'] },
      { opType: 'MatMul', inputs: ['ab', 'w'], outputs: ['y'] },
    ];
    const report = await graphCompared(nodes, { a: drawn(3, 4), b: drawn(4, 8) }, [fixed('w', 8, 6)]);
    expect(report.map(({ where }) => where)).toEqual(['ort', 'msd']);
  });
});
