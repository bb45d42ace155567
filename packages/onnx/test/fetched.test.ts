/** What the names of operators do not tell: it is fetched when it is met, and the results are those of onnxruntime-web. */
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { type GraphSpec, writeModel } from '../src/write/index.ts';
import { gaussian, makeMatrix, random } from './models.ts';
import { ort } from './ort.ts';

const K = 64;
const matrix = makeMatrix({ N: K, K });
const x = { name: 'x', dtype: 'float32', dims: ['rows', K] } as const;
const other = { name: 'other', dtype: 'float32', dims: ['any', K] } as const;

/** Of fresh modules: nothing was fetched before. */
async function freshly() {
  vi.resetModules();
  const { OPERATORS } = await import('../src/ops/index.ts');
  const { createSession } = await import('../src/execute/create.ts');
  const has = (): boolean => OPERATORS.has('Transpose');
  expect(has()).toBe(false);
  return {
    has,
    create: (bytes: Uint8Array) =>
      createSession(ort, bytes, { executionProviders: [{ name: 'msd', claim: 'all' }] }, {}),
  };
}

const rows = (count: number, seed: number): ort.Tensor =>
  new ort.Tensor('float32', gaussian(random(seed), count * K), [count, K]);

async function stock(bytes: Uint8Array, feeds: Record<string, ort.Tensor>): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
  const { y } = await session.run(feeds);
  await session.release();
  return y!.data as Float32Array;
}

const modelOf = (graph: Omit<GraphSpec, 'initializers' | 'outputs'>): Uint8Array =>
  writeModel({ graph: { ...graph, initializers: matrix.initializers, outputs: [{ name: 'y', dtype: 'float32' }] } });

function expectNear(got: Float32Array, want: Float32Array): void {
  expect(got.length).toBe(want.length);
  const norm = Math.hypot(...want);
  // Two int8 components leave 2^-15 of a row at most, products of 64 of them less.
  expect(Math.hypot(...got.map((value, i) => value - want[i]!)) / norm).toBeLessThan(2 ** -10);
}

describe('what is fetched when it is met', () => {
  beforeEach(() => vi.resetModules());

  it('a reduction on the device, while nodes are matched', async () => {
    const { has, create } = await freshly();
    const norm = { opType: 'ReduceL2', inputs: ['h'], outputs: ['y'] };
    const bytes = modelOf({ nodes: [matrix.node('x', 'h'), norm], inputs: [x] });
    const session = await create(bytes);
    expect(has()).toBe(true);
    const feeds = { x: rows(3, 1) };
    const { y } = await session.run(feeds, { y: null }, {});
    expectNear(y!.data as Float32Array, await stock(bytes, feeds));
    await session.dispose();
  });

  it('kernels of elementwise functions, in a run whose sizes leave such a step', async () => {
    const { has, create } = await freshly();
    const product = { opType: 'Mul', inputs: ['h', 'other'], outputs: ['y'] };
    const bytes = modelOf({ nodes: [matrix.node('x', 'h'), product], inputs: [x, other] });
    const session = await create(bytes);
    for (const [count, beside] of [
      [1, 1],
      [3, 3],
      [3, 1],
      [1, 3],
    ] as const) {
      // Rows of one shape are the end of the product.
      if (count === beside) expect(has()).toBe(false);
      const feeds = { x: rows(count, count), other: rows(beside, 7) };
      const running = session.run(feeds, { y: null }, {});
      const want = await stock(bytes, feeds);
      expectNear((await running).y!.data as Float32Array, want);
    }
    expect(has()).toBe(true);
    await session.dispose();
  });
});
