import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { GraphSpec, NodeSpec } from '../src/write/index.ts';
import { CLOSE, relativeMost } from './close.ts';
import { exactProduct, firstMiss, gaussian, type Matrix, makeMatrix, matmulModel, model, random } from './models.ts';
import { corpus } from './mutate.ts';
import { floats, ort, session, tensor } from './ort.ts';

/** Runs a model on MSD and on plain onnxruntime-web and compares every output; returns MSD's report. */
async function compare(bytes: Uint8Array, feeds: Record<string, ort.Tensor>, claim: 'auto' | 'all' = 'auto') {
  const msd = await session(bytes, { name: 'msd', claim });
  const plain = await session(bytes, 'wasm');
  const got = await msd.run(feeds);
  const expected = await plain.run(feeds);
  expect(Object.keys(got).sort()).toEqual(Object.keys(expected).sort());
  for (const name of plain.outputNames) {
    expect(got[name]!.dims, name).toEqual(expected[name]!.dims);
    expect(got[name]!.type, name).toBe(expected[name]!.type);
    if (expected[name]!.type !== 'float32') expect(got[name]!.data, name).toEqual(expected[name]!.data);
    else expect(relativeMost(floats(got[name]), floats(expected[name])), name).toBeLessThan(CLOSE);
  }
  const report = reportOf(msd)!;
  await msd.release();
  await plain.release();
  return report;
}

describe('one MatMulNBits against float64, onnxruntime-web alongside', () => {
  it.each<[string, Parameters<typeof makeMatrix>[0], number[]]>([
    ['int4, one row', { N: 48, K: 64 }, [1, 1]],
    ['int4, N and K odd', { N: 17, K: 77 }, [1, 3]],
    ['int4 with zero points', { N: 33, K: 300, zeroPoints: true }, [2, 2]],
    ['int4, block 128, zero points, odd block count', { N: 20, K: 330, blockSize: 128, zeroPoints: true }, [1, 5]],
    ['int4 with bias', { N: 40, K: 128, bias: true }, [1, 9]],
    ['int8', { N: 16, K: 96, bits: 8 }, [3, 1]],
    ['int2', { N: 18, K: 96, bits: 2 }, [3, 1]],
    ['int2, zero points, K not whole', { N: 21, K: 200, bits: 2, zeroPoints: true, bias: true }, [1, 9]],
    [
      'int8, block 64, zero points, bias',
      { N: 21, K: 200, bits: 8, blockSize: 64, zeroPoints: true, bias: true },
      [1, 8],
    ],
    ['int8, one block longer than K', { N: 5, K: 20, bits: 8, blockSize: 256 }, [1, 2]],
    ['N = K = 1', { N: 1, K: 1 }, [1, 1]],
    ['more than one slice of rows', { N: 8, K: 64 }, [1, 300]],
  ])('%s', async (_, options, [batch, rows]) => {
    const matrix = makeMatrix({ ...options, seed: 3 });
    const bytes = matmulModel(matrix);
    const x = gaussian(random(7), batch! * rows! * matrix.K);
    const exact = exactProduct(matrix, x);
    const feeds = { x: tensor(x, [batch!, rows!, matrix.K]) };
    const msd = await session(bytes, { name: 'msd', debug: true });
    const { y } = await msd.run(feeds);
    expect(y!.dims).toEqual([batch, rows, matrix.N]);
    expect(firstMiss(floats(y), exact)).toBeUndefined();
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    await msd.release();
    const plain = await session(bytes, 'wasm');
    const expected = await plain.run(feeds);
    expect(relativeMost(floats(y), floats(expected.y))).toBeLessThan(CLOSE);
    await plain.release();
  });

  it.each([[[]], [[4]], [[2, 3, 4]], [[0, 3]]])('batch dimensions %j', async (batch) => {
    const matrix = makeMatrix({ N: 12, K: 64 });
    const dims = [...batch, 64];
    const names = batch.map((_, index) => `d${index}`);
    const x = gaussian(
      random(1),
      dims.reduce((a, b) => a * b, 1),
    );
    await compare(matmulModel(matrix, names), { x: tensor(x, dims) });
  });

  it('NaN and Inf stay in their row', async () => {
    const matrix = makeMatrix({ N: 24, K: 64 });
    const msd = await session(matmulModel(matrix));
    const x = gaussian(random(1), 3 * 64);
    x[70] = Number.NaN;
    const { y } = await msd.run({ x: tensor(x, [1, 3, 64]) });
    const bad = [...floats(y)].map(Number.isNaN);
    expect(bad.slice(0, 24)).not.toContain(true);
    expect(bad.slice(24, 48)).not.toContain(false);
    expect(bad.slice(48)).not.toContain(true);
    await msd.release();
  });

  it('one component is dynamic int8', async () => {
    const matrix = makeMatrix({ N: 24, K: 256 });
    const msd = await session(matmulModel(matrix), { name: 'msd', components: 1 });
    const x = gaussian(random(1), 256);
    const { y } = await msd.run({ x: tensor(x, [1, 1, 256]) });
    const exact = exactProduct(matrix, x);
    const got = relativeMost(floats(y), Float32Array.from(exact.y));
    expect(got).toBeGreaterThan(1e-4);
    expect(got).toBeLessThan(2e-2);
    await msd.release();
  });
});

const H = 64;
const square = (name: string, extra: Partial<Parameters<typeof makeMatrix>[0]> = {}): Matrix =>
  makeMatrix({ name, N: H, K: H, seed: name.length + name.charCodeAt(0), ...extra });
const a = square('a');
const b = square('b', { bits: 8 });
const c = square('c', { zeroPoints: true });
const input = { name: 'x', dtype: 'float32' as const, dims: ['batch', 'rows', H] };
const out = (...names: string[]): GraphSpec['outputs'] => names.map((name) => ({ name, dtype: 'float32' as const }));
const op = (opType: string, inputs: string[], ...outputs: string[]): NodeSpec => ({
  opType,
  name: outputs[0]!,
  inputs,
  outputs,
});
const feeds = (): Record<string, ort.Tensor> => ({ x: tensor(gaussian(random(5), 2 * 3 * H), [2, 3, H]) });

describe('cut graphs equal onnxruntime-web', () => {
  it('fully claimed: a chain stays in the arena', async () => {
    const report = await compare(
      model({
        nodes: [a.node('x', 'p'), b.node('p', 'q'), c.node('q', 'y')],
        initializers: [...a.initializers, ...b.initializers, ...c.initializers],
        inputs: [input],
        outputs: out('y'),
      }),
      feeds(),
    );
    expect(report).toMatchObject({ foreignRunsPerCall: 0, foreignSessions: 0 });
    expect(report.regions.length).toBe(1);
    const bytes = 2 * 3 * H * 4;
    expect(report.bytesCopiedPerCall).toEqual({ intoOrt: 0, outOfOrt: 0, intoMsd: bytes, outOfMsd: bytes });
  });

  it('several consumers, an output in the middle, glue between', async () => {
    const report = await compare(
      model({
        nodes: [
          op('Selu', ['x'], 'r'),
          a.node('r', 'p'),
          b.node('r', 'q'),
          op('Mish', ['p'], 's'),
          op('Mul', ['s', 'q'], 'm'),
          c.node('m', 'd'),
          op('Add', ['d', 'r'], 'y'),
          op('Add', ['p', 'd'], 'z'),
        ],
        initializers: [...a.initializers, ...b.initializers, ...c.initializers],
        inputs: [input],
        outputs: out('y', 'p', 'z', 'm'),
      }),
      feeds(),
      'all',
    );
    expect(report.foreignRunsPerCall).toBe(2);
    expect(report.regions.map((region) => region.where)).toEqual(['ort', 'msd', 'ort', 'msd']);
  });

  it('regions that share a session but not their scales; glue between foreign nodes stays with them', async () => {
    const scale = (name: string, seed: number) => ({
      name,
      dtype: 'float32' as const,
      dims: [H],
      data: gaussian(random(seed), H),
    });
    const foreign = (index: number, from: string): NodeSpec[] => [
      op('Selu', [from], `r${index}`),
      op('Mul', [`r${index}`, `n${index}`], `m${index}`),
      op('Add', [`m${index}`, 'half'], `i${index}`),
      op('Selu', [`i${index}`], `h${index}`),
    ];
    const large = (name: string) => makeMatrix({ name, N: H, K: H, seed: 2, bits: 8 });
    const [d, e] = [large('d'), large('e')];
    const report = await compare(
      model({
        nodes: [
          ...foreign(0, 'x'),
          d.node('h0', 'p0'),
          ...foreign(1, 'p0'),
          { ...d.node('h1', 'p1'), name: 'd, again' },
          ...foreign(2, 'p1'),
          e.node('h2', 'y'),
        ],
        initializers: [
          ...d.initializers,
          ...e.initializers,
          ...[scale('n0', 1), scale('n1', 2), scale('n2', 3)],
          { name: 'half', dtype: 'float32', dims: [], data: Float32Array.of(0.5) },
        ],
        inputs: [input],
        outputs: out('y'),
      }),
      feeds(),
    );
    expect(report.foreignRunsPerCall).toBe(3);
    expect(report.foreignSessions).toBe(2); // the first one's input has a declared shape, the others share
    expect(report.nodes[1]).toMatchObject({ where: 'ort', reason: 'taking it would cost more than it saves' });
    expect(report.weights.fileBytes).toBe(
      [...d.initializers, ...e.initializers].reduce((sum, { data }) => sum + (data as Uint8Array).byteLength, 0),
    ); // the matrix that two nodes share counts once
  });

  it('optional inputs, Constant nodes, integer outputs, a computed bias', async () => {
    const biased = square('e', { bias: true });
    const withoutBias = biased.initializers.filter((tensor) => tensor.name !== 'e_bias');
    const report = await compare(
      model({
        nodes: [
          { opType: 'Constant', inputs: [], outputs: ['max'], attributes: { value_float: { float: 0.5 } } },
          { opType: 'Constant', inputs: [], outputs: ['zero'], attributes: { value_int: { int: 0 } } },
          op('Clip', ['x', '', 'max'], 'clipped'),
          op('Gather', ['clipped', 'zero'], 'first'),
          op('Gather', ['first', 'zero'], 'e_bias'),
          biased.node('clipped', 'p'),
          op('Shape', ['p'], 'shape'),
          op('Clip', ['p', '', 'max'], 'y'),
        ],
        initializers: withoutBias,
        inputs: [input],
        outputs: [...out('y'), { name: 'shape', dtype: 'int64' }],
      }),
      feeds(),
      'all',
    );
    expect(report.foreignRunsPerCall).toBe(0);
  });

  it('weights of MatMulNBits in Constant nodes', async () => {
    const constants = a.initializers.map(
      (tensor_): NodeSpec => ({
        opType: 'Constant',
        inputs: [],
        outputs: [tensor_.name],
        attributes: { value: { tensor: { ...tensor_, name: '' } } },
      }),
    );
    const report = await compare(
      model({ nodes: [...constants, a.node('x', 'y')], inputs: [input], outputs: out('y') }),
      feeds(),
    );
    expect(report.foreignSessions).toBe(0);
  });

  it('a node that no output needs is pruned', async () => {
    const report = await compare(
      model({
        nodes: [a.node('x', 'y'), op('Relu', ['y'], 'unused')],
        initializers: a.initializers,
        inputs: [input],
        outputs: out('y'),
      }),
      feeds(),
    );
    expect(report.foreignSessions).toBe(0);
    expect(report.nodes[1]).toMatchObject({ opType: 'Relu', region: -1 });
  });
});

describe('every operator of the fuzz corpus', () => {
  const feedsOf: Record<string, () => Record<string, ort.Tensor>> = {
    layer: () => ({
      ids: new ort.Tensor('int64', BigInt64Array.of(1n, 5n, -1n), [1, 3]) as ort.Tensor,
      position: new ort.Tensor('int64', BigInt64Array.of(1n), [1]) as ort.Tensor,
    }),
    moves: () => ({
      x: tensor(gaussian(random(4), 3 * 32), [3, 32]),
      flag: new ort.Tensor('bool', Uint8Array.of(1), [1]) as ort.Tensor,
    }),
    spelt: () => ({ x: tensor(gaussian(random(5), 4 * 32), [4, 32]) }),
  };
  it.each(Object.keys(feedsOf))('%s gives what onnxruntime-web gives, and needs it for nothing', async (name) => {
    const report = await compare(corpus().get(`${name}.onnx`)!, feedsOf[name]!(), 'all');
    expect(report.foreignRunsPerCall).toBe(0);
  });
});

describe('models that go to ONNX Runtime whole', () => {
  it.each<[string, GraphSpec]>([
    ['no node is claimed', { nodes: [op('Selu', ['x'], 'y')], inputs: [input], outputs: out('y') }],
    ['no product with weights of the file', { nodes: [op('Relu', ['x'], 'y')], inputs: [input], outputs: out('y') }],
    [
      'a cut does not pay',
      {
        nodes: [
          op('Selu', ['x'], 'r'),
          op('MatMul', ['r', 'w'], 'p'),
          op('Selu', ['p'], 's'),
          op('MatMul', ['s', 'w'], 'q'),
          op('Selu', ['q'], 'y'),
        ],
        initializers: [{ name: 'w', dtype: 'float32', dims: [H, H], data: gaussian(random(8), H * H) }],
        inputs: [input],
        outputs: out('y'),
      },
    ],
    [
      'would cross a cut as something that is not a tensor',
      {
        nodes: [
          op('SequenceConstruct', ['x'], 'list'),
          op('SequenceAt', ['list', 'zero'], 'item'),
          a.node('item', 'p'),
          op('SequenceInsert', ['list', 'p'], 'longer'),
          op('SequenceAt', ['longer', 'one'], 'y'),
        ],
        initializers: [
          ...a.initializers,
          { name: 'zero', dtype: 'int64', dims: [], data: BigInt64Array.of(0n) },
          { name: 'one', dtype: 'int64', dims: [], data: BigInt64Array.of(1n) },
        ],
        inputs: [input],
        outputs: out('y'),
      },
    ],
    [
      'refused: ',
      {
        // bfloat16 exists in ONNX Runtime, but not in its JavaScript layer.
        nodes: [
          { ...op('Cast', ['x'], 'low'), attributes: { to: { int: 16 } } },
          { ...op('Cast', ['low'], 'high'), attributes: { to: { int: 1 } } },
          a.node('high', 'p'),
          op('CastLike', ['p', 'low'], 'like'),
          { ...op('Cast', ['like'], 'y'), attributes: { to: { int: 1 } } },
        ],
        initializers: a.initializers,
        inputs: [input],
        outputs: out('y'),
      },
    ],
  ])('%s', async (reason, graph) => {
    const isForced = reason === 'refused: ' || reason.startsWith('would cross');
    const report = await compare(model(graph), feeds(), isForced ? 'all' : 'auto');
    expect(report.whole).toContain(reason);
    expect(report.foreignRunsPerCall).toBe(1);
    expect(report.nodes.every((node) => node.where === 'ort')).toBe(true);
  });
});
