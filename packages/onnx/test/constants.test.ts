/** Constants that are made of constants: nothing of them is computed or copied in a run. */

import { describe, expect, it } from 'vitest';
import { loadOperators } from '../src/execute/families.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { foldConstants } from '../src/passes/constants.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { tensorBytes } from '../src/read/tensor.ts';
import { formatReport, reportOf } from '../src/register.ts';
import { type AttributeSpec, type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { firstMiss, gaussian, gaussianSpec, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

await loadOperators();

const node = (opType: string, inputs: string[], outputs: string[], attributes: Record<string, AttributeSpec> = {}) =>
  ({ opType, name: outputs[0]!, inputs, outputs, attributes }) satisfies NodeSpec;
const value = (name: string, dims: (number | string)[]) => ({ name, dtype: 'float32' as const, dims });
const ints = (name: string, ...data: number[]): TensorSpec => ({
  name,
  dtype: 'int64',
  dims: [data.length],
  data: BigInt64Array.from(data, BigInt),
});
const next = random(11);
const constant = (name: string, ...dims: number[]): TensorSpec => gaussianSpec(next, name, ...dims);
/** int8 [rows, columns] with a scale for each column. */
function coded(name: string, rows: number, columns: number): TensorSpec[] {
  return [
    {
      name,
      dtype: 'int8',
      dims: [rows, columns],
      data: Int8Array.from({ length: rows * columns }, () => next() * 256 - 128),
    },
    {
      name: `${name}_s`,
      dtype: 'float32',
      dims: [columns],
      data: Float32Array.from({ length: columns }, () => next() / 50),
    },
  ];
}
const dequantize = (name: string) => node('DequantizeLinear', [name, `${name}_s`], [`${name}_f`], { axis: { int: 1 } });

function foldedOf(graph: GraphSpec) {
  const bytes = writeModel({ graph });
  return foldConstants(buildGraph(readModel(bytesSource(bytes))));
}

/** Results here and in ONNX Runtime, and the report. */
async function both(graph: GraphSpec, feeds: Record<string, ort.Tensor>, claim: 'auto' | 'all' = 'all') {
  const bytes = writeModel({ graph });
  const mine = await session(bytes, { name: 'msd', claim });
  // Its fusion of DequantizeLinear and MatMul refuses some matrices, with `vector` for a message.
  const theirs = await session(bytes, 'wasm', { graphOptimizationLevel: 'disabled' });
  const results = { mine: await mine.run(feeds), theirs: await theirs.run(feeds), report: reportOf(mine)! };
  await mine.release();
  await theirs.release();
  return results;
}

/** Two products and what lies between them, each with an error of 2^-16 of its rows: a share of the largest value. */
function expectNear(got: Float32Array, want: Float32Array, share: number): void {
  let most = 0;
  for (const each of want) most = Math.max(most, Math.abs(each));
  const bound = new Float64Array(want.length).fill(share * most);
  expect(firstMiss(got, { y: Float64Array.from(want), bound })).toBeUndefined();
}

describe('constants of constants', () => {
  it('are what ONNX Runtime computes', async () => {
    const initializers = [
      constant('a', 3, 4, 5),
      ints('three', 4, -1),
      ints('axes', 0, 2),
      ...coded('c', 6, 7),
      { name: 'step', dtype: 'float32', dims: [], data: Float32Array.of(0.013) } satisfies TensorSpec,
      {
        name: 'steps',
        dtype: 'float32',
        dims: [5],
        data: Float32Array.of(0.01, -0.02, 1, 0.5, 3),
      } satisfies TensorSpec,
      { name: 'zero', dtype: 'int8', dims: [], data: Int8Array.of(-3) } satisfies TensorSpec,
      { name: 'h', dtype: 'float16', dims: [3], data: Uint16Array.of(0x3c00, 0xc100, 0x0001) } satisfies TensorSpec,
      { name: 'i', dtype: 'uint8', dims: [2, 2], data: Uint8Array.of(1, 2, 3, 255) } satisfies TensorSpec,
    ];
    const made = [
      node('Identity', ['a'], ['identity']),
      node('Transpose', ['a'], ['turned'], { perm: { ints: [2, 0, 1] } }),
      node('Transpose', ['a'], ['back']),
      node('Reshape', ['turned', 'three'], ['reshaped']),
      node('Unsqueeze', ['reshaped', 'axes'], ['unsqueezed']),
      node('Squeeze', ['unsqueezed', 'axes'], ['squeezed']),
      node('Flatten', ['a'], ['flat'], { axis: { int: 2 } }),
      node('Cast', ['h'], ['wide'], { to: { int: 1 } }),
      node('Cast', ['i'], ['whole'], { to: { int: 1 } }),
      node('Transpose', ['i'], ['bytes']),
      node('Cast', ['bytes'], ['wholeBytes'], { to: { int: 1 } }),
      dequantize('c'),
      node('QuantizeLinear', ['flat', 'step', 'zero'], ['coded']),
      node('DequantizeLinear', ['coded', 'step', 'zero'], ['rounded']),
      node('QuantizeLinear', ['flat', 'steps'], ['each'], { axis: { int: 1 } }),
      node('Cast', ['each'], ['eachWhole'], { to: { int: 1 } }),
    ];
    const inner = new Set(['bytes', 'coded', 'each']);
    const names = made.map(({ outputs }) => outputs[0]!).filter((name) => !inner.has(name));
    const inputs = [value('x', ['n'])];
    const graph = foldedOf({ nodes: made, initializers, inputs, outputs: [value('x', ['n'])] });
    expect(graph.nodes).toEqual([]);
    const theirs = await session(
      writeModel({ graph: { nodes: made, initializers, inputs, outputs: names.map((name) => ({ name })) } }),
      'wasm',
      { graphOptimizationLevel: 'disabled' },
    );
    const results = await theirs.run({ x: tensor(new Float32Array(1), [1]) });
    for (const name of names) {
      const { tensor: own } = graph.constants.get(name) as { tensor: Parameters<typeof tensorBytes>[0] };
      expect(own.dims, name).toEqual(results[name]!.dims);
      expect(new Float32Array(new Uint8Array(tensorBytes(own)).buffer), name).toEqual(results[name]!.data);
    }
    await theirs.release();
  });

  it('stay what they are where a result is wanted, where nothing can say it, and where sizes contradict', () => {
    const nodes = [
      dequantize('c'),
      node('Identity', ['c_f'], ['wanted']),
      node('Reshape', ['c_f', 'bad'], ['r']),
      node('Transpose', ['x'], ['t']),
      node('Cast', ['c_f'], ['text'], { to: { int: 8 } }),
    ];
    const initializers = [...coded('c', 6, 7), ints('bad', 4, 4)];
    const outputs = ['wanted', 'r', 't', 'text'].map((name) => ({ name }));
    const graph = foldedOf({ nodes, initializers, inputs: [value('x', ['n', 2])], outputs });
    expect(graph.nodes.map(({ name }) => name)).toEqual(['wanted', 'r', 't', 'text']);
    expect([...graph.folded!.keys()]).toEqual(['c_f', 'wanted']);
    expect(graph.constants.has('wanted')).toBe(false);
  });

  it('cost no byte per call, beside foreign nodes or not, small or large', async () => {
    for (const [rows, columns] of [
      [16, 24],
      [512, 96],
    ] as const) {
      const initializers = [
        ...coded('c', rows, columns),
        ...coded('w', columns, columns),
        constant('b', rows, columns),
      ];
      const nodes = [
        dequantize('c'),
        dequantize('w'),
        node('Identity', ['b'], ['b2']),
        node('Transpose', ['b2'], ['b3'], { perm: { ints: [1, 0] } }),
        node('Transpose', ['b3'], ['b4'], { perm: { ints: [1, 0] } }),
        node('MatMul', ['x', 'w_f'], ['p']),
        // ONNX Runtime's, with a constant that is dequantized.
        node('Mish', ['p'], ['m']),
        node('PRelu', ['m', 'c_f'], ['q']),
        node('Add', ['q', 'b4'], ['s']),
        node('MatMul', ['s', 'w_f'], ['y']),
      ];
      const graph = {
        nodes,
        initializers,
        inputs: [value('x', [rows, columns])],
        outputs: [value('y', [rows, columns])],
      };
      const feeds = { x: tensor(gaussian(random(2), rows * columns), [rows, columns]) };
      const { mine, theirs, report } = await both(graph, feeds);
      expect(report.foreignRunsPerCall).toBe(1);
      const region = report.regions.find(({ where }) => where === 'ort')!;
      expect(region.inputs).toEqual(['p']);
      const bytes = 4 * rows * columns;
      expect(report.bytesCopiedPerCall).toEqual({
        intoOrt: bytes,
        outOfOrt: bytes,
        intoMsd: 2 * bytes,
        outOfMsd: bytes,
      });
      expect(report.nodes.filter(({ opType }) => opType === 'DequantizeLinear')).toEqual(
        ['c_f', 'w_f'].map((name) =>
          expect.objectContaining({ name, where: 'msd', region: -1, reason: 'its result is a constant' }),
        ),
      );
      expect(formatReport(report)).toContain('DequantizeLinear  its result is a constant');
      expectNear(floats(mine.y), floats(theirs.y), 2e-4);
    }
  });

  it('are read row by row where a table is behind DequantizeLinear', async () => {
    const [rows, columns] = [700, 64];
    const table: TensorSpec = {
      name: 'c',
      dtype: 'uint8',
      dims: [rows, columns],
      data: Uint8Array.from({ length: rows * columns }, () => next() * 256),
    };
    const scales: TensorSpec = { ...constant('c_s', rows), dims: [rows] };
    const nodes = [
      node('DequantizeLinear', ['c', 'c_s'], ['t'], { axis: { int: 0 } }),
      node('Gather', ['t', 'ids'], ['e']),
      ...[dequantize('w'), node('MatMul', ['e', 'w_f'], ['y'])],
    ];
    const graph: GraphSpec = {
      nodes,
      initializers: [table, scales, ...coded('w', columns, columns)],
      inputs: [{ name: 'ids', dtype: 'int64', dims: ['n'] }],
      outputs: [{ name: 'e', dtype: 'float32' }, value('y', ['n', columns])],
    };
    const ids = new ort.Tensor('int64', BigInt64Array.of(0n, 699n, 3n, -1n), [4]);
    const { mine, theirs, report } = await both(graph, { ids });
    expect(report.foreignRunsPerCall).toBe(0);
    expect(mine.e!.data).toEqual(theirs.e!.data);
    // The table's floats are in no memory: 700 · 64 · 4 bytes.
    expect(report.memory.wasmBytes - report.memory.scratchBytes).toBeLessThan(rows * columns * 4);
  });
});

describe('tensors of Constant nodes, which need no names', () => {
  it('are told apart: biases of products of codes', async () => {
    const size = 32;
    const [int8, scales] = coded('w', size, size) as [TensorSpec, TensorSpec];
    const whole = (name: string, factor: number): TensorSpec => ({
      name,
      dtype: 'int32',
      dims: [size],
      data: Int32Array.from({ length: size }, (_, i) => factor * (i - 9)),
    });
    const scalar = (name: string, number: number): TensorSpec => ({ ...constant(name), data: Float32Array.of(number) });
    const zero: TensorSpec = { name: 'zero', dtype: 'int8', dims: [], data: new Int8Array(1) };
    const zeros: TensorSpec = { ...zero, name: 'zeros', dims: [size], data: new Int8Array(size) };
    const constants = [int8, scales, whole('b', 400), whole('c', -900), scalar('s', 0.02), zero, zeros];
    const product = (bias: string, y: string) => ({
      ...node('QGemm', ['x', 's', 'zero', 'w', 'w_s', 'zeros', bias], [y]),
      domain: 'com.microsoft',
    });
    const graph: GraphSpec = {
      nodes: [
        ...constants.map((each) => node('Constant', [], [each.name], { value: { tensor: { ...each, name: '' } } })),
        product('b', 'y'),
        product('c', 'z'),
      ],
      inputs: [{ name: 'x', dtype: 'int8', dims: ['m', size] }],
      outputs: [value('y', ['m', size]), value('z', ['m', size])],
    };
    const x = new ort.Tensor(
      'int8',
      Int8Array.from({ length: 2 * size }, () => next() * 256 - 128),
      [2, size],
    );
    const { mine, theirs, report } = await both(graph, { x });
    expect(report.nodes.filter(({ opType }) => opType === 'QGemm').map(({ where }) => where)).toEqual(['msd', 'msd']);
    for (const name of ['y', 'z']) expectNear(floats(mine[name]), floats(theirs[name]), 2e-4);
  });
});

describe('weights that training rounded', () => {
  it('are multiplied as the integers that QuantizeLinear makes of them', async () => {
    const [K, N] = [300, 40];
    const scales = { name: 's', dtype: 'float32' as const, dims: [N], data: new Float32Array(N).fill(0.02) };
    const zeros = { name: 'z', dtype: 'int8' as const, dims: [N], data: new Int8Array(N) };
    const graph: GraphSpec = {
      nodes: [
        node('QuantizeLinear', ['w', 's', 'z'], ['q'], { axis: { int: 1 } }),
        node('DequantizeLinear', ['q', 's', 'z'], ['d'], { axis: { int: 1 } }),
        node('MatMul', ['x', 'd'], ['y']),
      ],
      initializers: [constant('w', K, N), scales, zeros],
      inputs: [value('x', ['m', K])],
      outputs: [value('y', ['m', N])],
    };
    const { mine, theirs, report } = await both(graph, { x: tensor(gaussian(random(3), 3 * K), [3, K]) });
    expect(report.nodes.map(({ where, region }) => [where, region])).toEqual([
      ['msd', 0],
      ['msd', -1],
      ['msd', -1],
    ]);
    expect(report.weights.packedBytes).toBeGreaterThan(0);
    expectNear(floats(mine.y), floats(theirs.y), 2e-4);
  });
});

describe('weights that somebody else needs, too', () => {
  it('are multiplied as integers, and dequantized for the other', async () => {
    const [K, N] = [96, 48];
    const nodes = [
      dequantize('w'),
      node('MatMul', ['x', 'w_f'], ['y']),
      node('MatMul', ['x', 'w_f'], ['z']),
      node('Transpose', ['w_f'], ['wt']),
      node('MatMul', ['y', 'wt'], ['u']),
      // Elements, not a product.
      node('Gather', ['w_f', 'one'], ['row']),
      node('Add', ['z', 'row'], ['v']),
    ];
    const graph: GraphSpec = {
      nodes,
      initializers: [...coded('w', K, N), ints('one', 1)],
      inputs: [value('x', ['m', K])],
      outputs: [value('y', ['m', N]), value('u', ['m', K]), value('v', ['m', N]), value('w_f', [K, N])],
    };
    const x = tensor(gaussian(random(5), 2 * K), [2, K]);
    const { mine, theirs, report } = await both(graph, { x });
    const products = report.nodes.filter(({ opType }) => opType === 'MatMul');
    expect(products.map(({ where, reason }) => [where, reason])).toEqual([
      ['msd', undefined],
      ['msd', undefined],
      ['msd', 'scales differ along K'],
    ]);
    expect(products[0]!.kernel).toContain('gemm');
    // One packed copy for both.
    expect(report.weights.packedBytes).toBeLessThan(K * N * 4 + 2 * K * N);
    expect(mine.w_f!.data).toEqual(theirs.w_f!.data);
    for (const name of ['y', 'u', 'v']) {
      expectNear(floats(mine[name]), floats(theirs[name]), 1e-3);
    }
  });
});
