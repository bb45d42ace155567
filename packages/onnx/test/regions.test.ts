/** Claimed regions: the same bits fused or not, plans for every size, memory that stays, tables that stay in the file. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SessionStateError } from '../src/errors.ts';
import { reportOf } from '../src/register.ts';
import type { NodeSpec, TensorSpec } from '../src/write/index.ts';
import { gaussian, makeMatrix, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const H = 64;
const N = 96;
const node = (opType: string, inputs: string[], output: string, more: Partial<NodeSpec> = {}): NodeSpec => ({
  opType,
  name: output,
  inputs,
  outputs: [output],
  ...more,
});
const row = (name: string, length: number, seed: number): TensorSpec => ({
  name,
  dtype: 'float32',
  dims: [length],
  data: gaussian(random(seed), length),
});
const gate = makeMatrix({ name: 'gate', N, K: H, seed: 1 });
const up = makeMatrix({ name: 'up', N, K: H, seed: 2 });
const down = makeMatrix({ name: 'down', N: H, K: N, seed: 3 });
const norm = (x: string, y: string): NodeSpec =>
  node('SimplifiedLayerNormalization', [x, 'scale'], y, {
    attributes: { axis: { int: -1 }, epsilon: { float: 1e-5 } },
  });

/** One gated layer: norm, gate and up with biases, silu, down, residual. */
const layer: readonly NodeSpec[] = [
  norm('x', 'n'),
  gate.node('n', 'g'),
  node('Add', ['g', 'gate_bias'], 'gb'),
  node('Sigmoid', ['gb'], 's'),
  node('Mul', ['gb', 's'], 'a'),
  up.node('n', 'u'),
  node('Add', ['u', 'up_bias'], 'ub'),
  node('Mul', ['a', 'ub'], 'm'),
  down.node('m', 'd'),
  node('Add', ['x', 'd'], 'y'),
];
const initializers = [
  ...gate.initializers,
  ...up.initializers,
  ...down.initializers,
  row('scale', H, 4),
  row('gate_bias', N, 5),
  row('up_bias', N, 6),
];
const layerModel = (...outputs: string[]): Uint8Array =>
  model({
    nodes: layer,
    initializers,
    inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', 'sequence', H] }],
    outputs: outputs.map((name) => ({ name, dtype: 'float32' as const })),
  });
const rows = (count: number, seed = 7): ort.Tensor => tensor(gaussian(random(seed), count * H), [1, count, H]);

describe('fused steps', () => {
  it('give the bits of the same steps one by one', async () => {
    const fused = await session(layerModel('y'));
    // Everything in between is asked for: nothing can be put together.
    const apart = await session(layerModel('y', 'g', 'gb', 'a', 'u', 'ub', 'm', 'd'));
    for (const count of [1, 2, 7, 33]) {
      const x = rows(count);
      expect(floats((await fused.run({ x })).y)).toEqual(floats((await apart.run({ x })).y));
    }
    const kernels = (s: ort.InferenceSession): Set<string> =>
      new Set(reportOf(s)!.nodes.flatMap(({ kernel = [] }) => kernel));
    expect([...kernels(apart)].some((id) => id.startsWith('elementwise'))).toBe(true);
    expect([...kernels(fused)].some((id) => id.startsWith('elementwise'))).toBe(false);
    expect(reportOf(fused)!.foreignRunsPerCall).toBe(0);
    for (const s of [fused, apart]) await s.release();
  });

  it('join elementwise chains into one pass, and leave a value alone that has two users', async () => {
    const chain = [
      gate.node('x', 'g'),
      node('Exp', ['g'], 'e'),
      node('Add', ['e', 'one'], 'f'),
      node('Log', ['f'], 'softplus'),
      node('Mul', ['softplus', 'f'], 'y'),
    ];
    const bytes = model({
      nodes: chain,
      initializers: [...gate.initializers, { name: 'one', dtype: 'float32', dims: [], data: Float32Array.of(1) }],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', H] }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    });
    const [msd, plain] = [await session(bytes), await session(bytes, 'wasm')];
    const x = tensor(gaussian(random(3), 5 * H), [5, H]);
    const [got, expected] = [floats((await msd.run({ x })).y), floats((await plain.run({ x })).y)];
    for (const [i, value] of got.entries())
      expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(1e-3 * (1 + Math.abs(expected[i]!)));
    const kernels = reportOf(msd)!.nodes.map(({ kernel }) => kernel!);
    expect(kernels[1]).toBe(kernels[2]); // Exp and Add are one step
    expect(kernels[3]).toBe(kernels[4]); // Log and Mul are another: f goes to both
    for (const s of [msd, plain]) await s.release();
  });
});

describe('plans', () => {
  it('are made for every length, dropped when they are many, and change no bit', async () => {
    const s = await session(layerModel('y'));
    const alone = new Map<number, Float32Array>();
    for (const count of [1, 9, 24]) {
      const fresh = await session(layerModel('y'));
      alone.set(count, floats((await fresh.run({ x: rows(count) })).y));
      await fresh.release();
    }
    const sizes: number[] = [];
    for (let round = 0; round < 3; round++)
      for (let count = 1; count <= 24; count++) {
        const { y } = await s.run({ x: rows(count) });
        if (alone.has(count)) expect(floats(y)).toEqual(alone.get(count));
        if (count === 24) sizes.push(reportOf(s)!.memory.wasmBytes);
      }
    expect(new Set(sizes).size).toBe(1);
    await s.release();
  });

  it('leave nothing behind in ten thousand steps', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const s = await session(layerModel('y'));
    const x = rows(1);
    const target = { y: tensor(new Float32Array(H), [1, 1, H]) };
    const steps = async (count: number): Promise<number> => {
      for (let i = 0; i < count; i++) await s.run({ x }, target);
      collect();
      return process.memoryUsage().heapUsed;
    };
    await steps(1_000);
    const before = await steps(1_000);
    const { memory } = reportOf(s)!;
    const after = await steps(10_000);
    expect((after - before) / 10_000).toBeLessThan(200);
    expect(reportOf(s)!.memory).toEqual(memory);
    await s.release();
  });
});

describe('tables', () => {
  const vocabulary = 5_000; // 1.28 MB: above what is copied
  const table: TensorSpec = {
    name: 'table',
    dtype: 'float32',
    dims: [vocabulary, H],
    data: gaussian(random(8), vocabulary * H),
  };
  const bytes = model({
    nodes: [node('Gather', ['table', 'ids'], 'h'), gate.node('h', 'y')],
    initializers: [table, ...gate.initializers],
    inputs: [{ name: 'ids', dtype: 'int64', dims: ['batch', 'sequence'] }],
    outputs: [
      { name: 'h', dtype: 'float32' },
      { name: 'y', dtype: 'float32' },
    ],
  });
  const ids = (...values: number[]): ort.Tensor =>
    new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'msd-tables-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('give their rows from a path and from bytes, without a copy', async () => {
    const path = join(folder, 'table.onnx');
    writeFileSync(path, bytes);
    for (const from of [path, bytes]) {
      const s = await session(from);
      expect(reportOf(s)!.foreignSessions).toBe(0);
      const { h } = await s.run({ ids: ids(3, vocabulary - 1, -1, 0) });
      const expected = [3, vocabulary - 1, vocabulary - 1, 0].flatMap((i) => [
        ...(table.data as Float32Array).subarray(i * H, (i + 1) * H),
      ]);
      expect(floats(h)).toEqual(Float32Array.from(expected));
      expect(reportOf(s)!.memory.wasmBytes).toBeLessThan(700_000);
      await expect(s.run({ ids: ids(vocabulary) })).rejects.toThrow(RangeError);
      expect((await s.run({ ids: ids(1) })).y!.dims).toEqual([1, 1, N]);
      await s.release();
    }
  });

  it('say so when their bytes were transferred', async () => {
    const own = bytes.slice();
    const s = await session(own);
    await s.run({ ids: ids(1) });
    structuredClone(own.buffer, { transfer: [own.buffer] });
    await expect(s.run({ ids: ids(1) })).rejects.toBeInstanceOf(SessionStateError);
    await s.release();
  });

  it('are dequantized by row if they are quantized', async () => {
    const blocks = H / 32;
    const next = random(9);
    const data = Uint8Array.from({ length: (vocabulary * H) / 2 }, () => 256 * next());
    const scales = Float32Array.from({ length: vocabulary * blocks }, () => next() / 8);
    const quantized = model({
      nodes: [
        node('GatherBlockQuantized', ['codes', 'ids', 'scales'], 'h', {
          domain: 'com.microsoft',
          attributes: { block_size: { int: 32 }, gather_axis: { int: 0 }, quantize_axis: { int: 1 }, bits: { int: 4 } },
        }),
        gate.node('h', 'y'),
      ],
      initializers: [
        { name: 'codes', dtype: 'uint8', dims: [vocabulary, H / 2], data },
        { name: 'scales', dtype: 'float32', dims: [vocabulary, blocks], data: scales },
        ...gate.initializers,
      ],
      inputs: [{ name: 'ids', dtype: 'int64', dims: ['batch', 'sequence'] }],
      outputs: [
        { name: 'h', dtype: 'float32' },
        { name: 'y', dtype: 'float32' },
      ],
    });
    const [msd, plain] = [await session(quantized), await session(quantized, 'wasm')];
    const feeds = { ids: ids(0, 17, vocabulary - 1) };
    expect(floats((await msd.run(feeds)).h)).toEqual(floats((await plain.run(feeds)).h));
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    for (const s of [msd, plain]) await s.release();
  });
});
