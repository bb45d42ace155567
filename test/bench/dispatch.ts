/**
 * What threads cost: `node test/bench/dispatch.ts`, after a build. Empty jobs of the pool, chunks that count to a number, and the
 * smallest products, on one and on two threads.
 */
import { createBackend, quantizeWeights } from '@msd/core';
import { chunkTable, uncut } from '../../packages/core/src/plan/share.ts';
import { Job } from '../../packages/core/src/threads/job.ts';
import { ThreadPool } from '../../packages/core/src/threads/pool.ts';
import { i32, Module } from '../../packages/core/src/wasm/emitter.ts';
import { relaxedProbe } from '../../packages/core/src/wasm/features.ts';
import { describeMachine } from './environments.ts';
import { interleave } from './measure.ts';
import { gaussian } from './models/random.ts';

const CHUNKS = 4;
const COUNTS = [1, 1000, 10_000, 100_000];
const SIZES = [96, 256, 384, 512, 640, 896];
const ASLEEP = { times: 50, pauseMs: 3 };

function counter(): WebAssembly.Module {
  const module = new Module();
  module.func('count', { turns: 'i32', chunk: 'i32' }, (f, p) => {
    const sum = f.let(i32.const(0));
    f.repeat(p.turns, () => sum.set(i32.add(sum, p.chunk)));
    f.storeI32(i32.const(0), sum);
  });
  return new WebAssembly.Module(module.toBytes({ shared: true }));
}

const microseconds = (ms: number): string => (1000 * ms).toFixed(2).padStart(8);

async function printDispatch(): Promise<void> {
  const pool = new ThreadPool();
  await pool.acquire(2, relaxedProbe);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
  const module = counter();
  const count = new WebAssembly.Instance(module, { env: { memory } }).exports.count as (n: number, c: number) => void;
  const kernel = pool.install('count', module, memory);
  const shared = (turns: number) => {
    const chunks = chunkTable({ total: 1, size: 1 }, { ...uncut(CHUNKS), last: CHUNKS });
    const job = new Job([[{ value: turns }, { perPanel: 1 }]], chunks);
    job.place([]);
    return () => void pool.run(kernel, job, 2, (chunk) => count(turns, chunk));
  };
  const alone = (turns: number) => () => {
    for (let chunk = 0; chunk < CHUNKS; chunk++) count(turns, chunk);
  };
  await new Promise((resolve) => setTimeout(resolve, 50)); // the kernel has arrived
  console.log(`${CHUNKS} chunks, µs     one thread   two   more than half of one`);
  for (const turns of COUNTS) {
    const [one, two] = await interleave([
      { name: 'one', macs: 0, run: alone(turns) },
      { name: 'two', macs: 0, run: shared(turns) },
    ]);
    const more = two!.median - one!.median / 2;
    console.log(
      `${String(turns).padStart(7)} turns  ${microseconds(one!.median)}${microseconds(two!.median)}${microseconds(more)}`,
    );
  }
  const empty = shared(1);
  const times: number[] = [];
  for (let i = 0; i < ASLEEP.times; i++) {
    await new Promise((resolve) => setTimeout(resolve, ASLEEP.pauseMs));
    const start = performance.now();
    empty();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  console.log(`empty, the worker asleep: ${microseconds(times[times.length >> 1]!)}`);
  pool.stop();
}

async function printSmallProducts(): Promise<void> {
  const backends = [await createBackend('wasm', { threads: 1 }), await createBackend('wasm', { threads: 2 })];
  for (const format of ['int8', 'int4'] as const)
    for (const N of SIZES) {
      const weights = quantizeWeights(gaussian(N * N, N), { N, K: N, format });
      const calls = backends.map((backend) => {
        const prepared = backend.prepare(weights);
        const [x, out] = [backend.arena.alloc(4 * N), backend.arena.alloc(4 * N)];
        backend.arena.float32(x).set(gaussian(N, 1));
        return { name: '', macs: N * N, run: () => backend.matmul(x, prepared, { out, M: 1 }) };
      });
      const [one, two] = await interleave(calls);
      const ratios = (one!.median / two!.median).toFixed(2);
      console.log(
        `${format} ${N}², M = 1: ${microseconds(one!.median)} ${microseconds(two!.median)} µs, ${ratios} times as fast`,
      );
    }
  for (const backend of backends) backend.dispose();
}

const { cpu, cores } = describeMachine();
console.log(`${cpu}, ${cores} cores, Node ${process.versions.node}`);
await printDispatch();
await printSmallProducts();
