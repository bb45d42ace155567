import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { createBackend } from '../src/index.ts';
import { systemClock } from '../src/threads/clock.ts';
import { threadPool } from '../src/threads/pool.ts';
import { threadCode } from '../src/threads/thread.ts';
import { callSuite } from './calls.ts';
import { TestClock } from './test-clock.ts';
import { type SpoiledWorker, threadSuite } from './threads.ts';

const spoiled: SpoiledWorker = (prelude) => new Worker(`${prelude}\n${threadCode()}`, { eval: true, execArgv: [] });
threadSuite(spoiled);
callSuite(spoiled);

it('uses the cores of the machine by default, four at most', async () => {
  const backend = await createBackend('wasm');
  expect(backend.threads.count).toBe(Math.min(4, availableParallelism()));
  backend.dispose();
});

const run = promisify(execFile);
const script = (last: string) => `
  import { createBackend, quantizeWeights } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)};
  const [M, N, K] = [16, 512, 512];
  const backend = await createBackend('wasm', { threads: 3 });
  const prepared = backend.prepare(quantizeWeights(new Float32Array(N * K).fill(1), { N, K, format: 'int8' }));
  console.log(backend.threads.count, backend.matmul(new Float32Array(M * K).fill(1), prepared)[0]);
  ${last}`;

it.each([
  ['disposes', 'backend.dispose();'],
  ['forgets to', ''],
])('a process that %s its backend ends by itself', async (_, last) => {
  const { stdout } = await run(process.execPath, ['--input-type=module', '--no-warnings', '-e', script(last)], {
    timeout: 60_000,
  });
  expect(stdout.trim()).toBe('3 512');
});

it('the last backend that goes takes the workers along', async () => {
  const workers: { exited: boolean }[] = [];
  const worker = () => {
    const state = { exited: false };
    const made = new Worker(threadCode(), { eval: true, execArgv: [] });
    made.on('exit', () => {
      state.exited = true;
    });
    workers.push(state);
    return made;
  };
  const pool = threadPool();
  pool.stop(); // what other tests left behind
  const clock = new TestClock();
  pool.clock = clock;
  try {
    const first = await createBackend('wasm', { threads: 2, worker });
    const second = await createBackend('wasm', { threads: 3, worker });
    first.dispose();
    first.dispose();
    expect(clock.pending).toEqual([]);
    second.dispose();
    expect(clock.pending).toEqual([1000]);
    expect(workers).toEqual([{ exited: false }, { exited: false }]);
    clock.fire(1000);
    await expect.poll(() => workers, { timeout: 60_000 }).toEqual([{ exited: true }, { exited: true }]);
  } finally {
    pool.clock = systemClock;
  }
});

/** Counts in shared memory. */
const counting = `((given) => {
  if (given.fails) throw new Error('no');
  if (given.dies) process.exit(1);
  Atomics.add(new Int32Array(given.words), given.i, 1);
})`;

it('lends workers, which then multiply again, or are gone', async () => {
  const pool = threadPool();
  pool.stop();
  const backend = await createBackend('wasm', { threads: 3, debug: true });
  const words = new SharedArrayBuffer(16);
  const ended: number[] = [];
  const lend = (most: number, given: object) =>
    backend.lend({ code: counting, most, given: (i) => ({ words, i, ...given }), ended: (i) => ended.push(i) });
  try {
    expect(lend(3, {})).toBe(2);
    expect(lend(1, {})).toBe(1);
    expect(lend(0, {})).toBe(0);
    expect(lend(2, { fails: true })).toBe(2);
    await expect.poll(() => ended.toSorted(), { timeout: 20_000 }).toEqual([0, 0, 0, 1, 1]);
    expect([...new Int32Array(words)]).toEqual([2, 1, 0, 0]);
    expect(backend.threads).toEqual({ count: 3, requested: 3, warnings: [] });
    ended.length = 0;
    expect(lend(2, { dies: true })).toBe(2);
    await expect.poll(() => ended.toSorted(), { timeout: 20_000 }).toEqual([0, 1]);
    expect(backend.threads.count).toBe(1);
    expect(backend.threads.warnings.join()).toContain('is gone: it exited with code 1');
  } finally {
    backend.dispose();
    pool.stop();
    pool.warnings.length = 0;
  }
  expect(lend(3, {})).toBe(0);
  const alone = await createBackend('wasm', { threads: 1 });
  expect(alone.lend({ code: counting, most: 1, given: () => ({}), ended: () => {} })).toBe(0);
  alone.dispose();
});
