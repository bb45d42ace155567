/** Runs that there is no memory for, and what a session computes after them. */
import { Arena, BackendUnavailableError } from '@msd/core';
import { afterEach, expect, it } from 'vitest';
import type { GraphSpec } from '../src/write/index.ts';
import { gaussian, gaussianSpec, makeMatrix, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const { alloc } = Arena.prototype;
afterEach(() => {
  Arena.prototype.alloc = alloc;
});

const K = 96;
const next = random(3);
const matrix = makeMatrix({ N: 64, K, blockSize: 32 });

/** As many equal rows as a feed says, a norm, a product, a Softmax and a sum. */
const graph: GraphSpec = {
  nodes: [
    { opType: 'Expand', inputs: ['x', 'sizes'], outputs: ['rows'] },
    { opType: 'LayerNormalization', inputs: ['rows', 'scale'], outputs: ['norm'] },
    matrix.node('norm', 'product'),
    { opType: 'Softmax', inputs: ['product'], outputs: ['shares'] },
    { opType: 'ReduceMax', inputs: ['shares'], outputs: ['y'], attributes: { keepdims: { int: 0 } } },
  ],
  initializers: [...matrix.initializers, gaussianSpec(next, 'scale', K)],
  inputs: [
    { name: 'x', dtype: 'float32', dims: [1, K] },
    { name: 'sizes', dtype: 'int64', dims: [2] },
  ],
  outputs: [{ name: 'y', dtype: 'float32' }],
};
const x = tensor(gaussian(next, K), [1, K]);

async function open() {
  const own = await session(model(graph), { name: 'msd', claim: 'all', debug: true });
  return {
    release: () => own.release(),
    async run(rows: number): Promise<number> {
      const sizes = new ort.Tensor('int64', BigInt64Array.of(BigInt(rows), BigInt(K)), [2]);
      return floats((await own.run({ x, sizes })).y)[0]!;
    },
  };
}

it('runs on after sizes that WebAssembly has no addresses for', async () => {
  const { run, release } = await open();
  const expected = await run(1);
  for (const rows of [2e9, 3, 2e9, 1, 2e12, 1, 300]) {
    if (rows < 1e6) expect(await run(rows), `${rows}`).toBe(expected);
    else await expect(run(rows), `${rows}`).rejects.toThrow(BackendUnavailableError);
  }
  await release();
});

it('runs on, whichever allocation of a run has failed', async () => {
  let failures = 0;
  for (let failing = 0, hasFailed = true; hasFailed; failing++) {
    const { run, release } = await open();
    const expected = await run(1);
    let count = 0;
    Arena.prototype.alloc = function (byteLength, label) {
      if (count++ === failing) throw new BackendUnavailableError('no memory');
      return alloc.call(this, byteLength, label);
    };
    const [result] = await Promise.allSettled([run(400)]);
    hasFailed = result.status === 'rejected';
    if (hasFailed) expect((result as PromiseRejectedResult).reason).toBeInstanceOf(BackendUnavailableError);
    Arena.prototype.alloc = alloc;
    failures += Number(hasFailed);
    for (const rows of [1, 400, 2]) expect(await run(rows), `${failing}: ${rows}`).toBe(expected);
    await release();
  }
  expect(failures).toBeGreaterThan(1);
});
