/** What threads have to give, in Node and in pages: the bits of one thread, whatever happens to workers. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { WasmBackend } from '../src/backends/wasm/backend.ts';
import { type ActivationBlock, packWeights } from '../src/index.ts';
import { systemClock } from '../src/threads/clock.ts';
import type { ThreadWorker } from '../src/threads/environment.ts';
import { type JobEnd, LOOK_MS, START_LOOK_MS, threadPool } from '../src/threads/pool.ts';
import { createTeam, type Team } from '../src/threads/team.ts';
import { startWorker } from '../src/threads/worker.ts';
import { relaxedProbe } from '../src/wasm/features.ts';
import { weightShapes } from './conformance.ts';
import { firstDifference, gaussians, random, randomWeights, type WeightShape } from './random.ts';
import { TestClock } from './test-clock.ts';

/** A worker with code that runs before `runThread`: to spoil it. */
export type SpoiledWorker = (prelude: string) => ThreadWorker;

/** Workers that do something before each kernel call: the chunk is claimed, and not done. */
const before = (code: string) => `
  const { Instance } = WebAssembly;
  const word = new Int32Array(new SharedArrayBuffer(4));
  WebAssembly.Instance = function (module, imports) {
    const { exports } = new Instance(module, imports);
    if (exports.dots) return { exports };
    const changed = {};
    for (const id of Object.keys(exports))
      changed[id] = (...args) => { ${code}; exports[id](...args); };
    return { exports: changed };
  };`;

/** Kernels that take `ms` longer. */
const slowKernels = (ms: number) => before(`Atomics.wait(word, 0, 0, ${ms})`);
export const hangingKernels: string = before('Atomics.wait(word, 0, 0)');
/** The kernels that go on with the chunks of a product, while its own work. */
export const hangingEnds: string = before("if (id.startsWith('end_')) Atomics.wait(word, 0, 0)");
export const trappingEnds: string = before("if (id.startsWith('end_')) throw new Error('trap')");
/** A page's worker that closed itself runs to the end of its task: it is dead once it waits. */
const dyingKernels = before('(globalThis.process?.exit ?? close)(); Atomics.wait(word, 0, 0)');

const shape: WeightShape = { format: 'int4', blockSize: 32, N: 200, K: 512, asymmetric: false };
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Jobs of the pool from now on, the last one last. */
function watchJobs(): (JobEnd & { readonly chunks: number })[] {
  const jobs: (JobEnd & { chunks: number })[] = [];
  const pool = threadPool();
  const { run } = Object.getPrototypeOf(pool) as typeof pool;
  pool.run = (kernel, job, ...rest) => {
    const end = run.call(pool, kernel, job, ...rest);
    jobs.push({ ...end, chunks: job.chunks });
    return end;
  };
  return jobs;
}

/** Numbers are positions in lists of buffers. */
interface RepeatedCall {
  matrix: number;
  x: number;
  bias: number;
  out: number;
  components: 1 | 2;
  activationBlock: ActivationBlock;
  repeats: number;
  /** What happens first. */
  before: string;
}

export function threadSuite(spoiled: SpoiledWorker): void {
  describe('threads', () => {
    const teams: Team[] = [];
    const single = new WasmBackend();

    /** A backend that shares even the smallest work. */
    async function create(threads: number, worker?: () => ThreadWorker): Promise<WasmBackend> {
      const team = await createTeam({ threads, worker });
      teams.push(team);
      threadPool().chunkMacs = 1;
      return new WasmBackend({ debug: true }, team);
    }

    afterEach(() => {
      for (const team of teams) team.release();
      teams.length = 0;
      const pool = threadPool();
      pool.stop();
      pool.warnings.length = 0;
      pool.chunkMacs = undefined;
      pool.clock = systemClock;
      Reflect.deleteProperty(pool, 'run'); // of watchJobs
      pool.patienceMs = 100;
    });

    /** Multiplies on both and compares, operands as arrays and as handles. */
    function check(backend: WasmBackend, of: WeightShape, M: number, seed: number, block: ActivationBlock = 256) {
      const next = random(seed);
      const weights = randomWeights(next, of);
      const x = gaussians(next, M * of.K);
      const options = {
        bias: gaussians(next, of.N),
        activationBlock: block,
        ...(seed % 2 && {
          activation: 'silu' as const,
          multiply: gaussians(next, M * of.N),
          residual: gaussians(next, M * of.N),
        }),
      };
      const [one, prepared] = [single.prepare(weights), backend.prepare(weights)];
      const want = single.matmul(x, one, options);
      const { arena } = backend;
      const out = arena.alloc(want.byteLength);
      expect(firstDifference(backend.matmul(x, prepared, options), want)).toBe(-1);
      backend.matmul(x, prepared, { ...options, out });
      expect(firstDifference(arena.float32(out), want)).toBe(-1);
      arena.free(out);
      one.dispose();
      prepared.dispose();
    }

    it.each([2, 3, 5])(
      '%i give the bits of one on odd shapes, every format, any activation block',
      {
        timeout: 120_000,
      },
      async (threads) => {
        const backend = await create(threads);
        expect(backend.threads).toEqual({ count: threads, requested: threads, warnings: [] });
        const cases = fc.tuple(
          weightShapes,
          fc.constantFrom(1, 2, 9, 33, 257),
          fc.nat(),
          fc.constantFrom<ActivationBlock>('row', 256, 32),
        );
        fc.assert(
          fc.property(cases, ([of, M, seed, block]) => check(backend, of, M, seed, block)),
          { numRuns: 60 },
        );
        expect(backend.threads.warnings).toEqual([]);
      },
    );

    /** K-blocks for a cut along K of two threads: eight and a short one. */
    const deep: WeightShape = { ...shape, N: 100, K: 8 * 256 + 96 };

    it.each([2, 3])('one row is cut along K where K is long and N short, on %i threads', async (threads) => {
      const backend = await create(threads);
      const shapes: WeightShape[] = [
        deep,
        { ...deep, asymmetric: true, scale: 'f16' },
        { ...deep, blockSize: 128, K: 16 * 256 },
        { ...deep, format: 'int8', blockSize: null, K: 12 * 256 },
        { ...deep, format: 'mxfp4', K: 12 * 256 + 32 },
      ];
      for (const [i, of] of shapes.entries())
        for (const block of ['row', 256, 32] as const) {
          const jobs = watchJobs();
          for (const seed of [2 * i, 2 * i + 1]) check(backend, of, 1, seed, block);
          const blocks = Math.ceil(of.K / 256);
          const isDeep = blocks >= 4 * threads;
          expect(jobs.some(({ chunks }) => chunks === 1 + blocks - Math.floor(blocks / threads))).toBe(isDeep);
          Reflect.deleteProperty(threadPool(), 'run');
          check(backend, of, 2, i, block);
        }
    });

    it.each([
      ['hangs in gemm', before("if (id.startsWith('gemm')) Atomics.wait(word, 0, 0)")],
      ['hangs in the end, after all of gemm', before("if (id.startsWith('end')) Atomics.wait(word, 0, 0)")],
      ['dies', dyingKernels],
    ])('one row that is cut along K is right where a worker %s', async (_, spoil) => {
      const next = random(3);
      const of = { ...deep, N: 480 };
      const weights = randomWeights(next, of);
      const x = gaussians(next, of.K);
      const [bias, multiply, residual] = [1, 2, 3].map(() => gaussians(next, of.N));
      const options = { bias, activation: 'silu', multiply, residual } as const;
      const want = single.matmul(x, single.prepare(weights), options);
      const backend = await create(2, () => spoiled(spoil));
      threadPool().patienceMs = 20;
      const prepared = backend.prepare(weights);
      const jobs = watchJobs();
      for (let i = 0; i < 5000 && !jobs.some(({ lost }) => lost); i++) {
        expect(firstDifference(backend.matmul(x, prepared, options), want)).toBe(-1);
        if (i % 20 === 0) await sleep(1); // a worker that is awake takes part
      }
      expect(jobs.some(({ lost }) => lost)).toBe(true);
      expect(firstDifference(backend.matmul(x, prepared, options), want)).toBe(-1);
    });

    it.each([1, 2])(
      'calls of one row that are repeated, with one thing or another changed in between, on %i threads',
      async (threads) => {
        const backend = await create(threads);
        const { arena } = backend;
        const [K, N] = [512, 160];
        const next = random(5);
        const weights = [8, 4].map((bits) =>
          randomWeights(next, { ...shape, format: bits === 8 ? 'int8' : 'int4', N }),
        );
        const matrices = weights.map((matrix) => [backend.prepare(matrix), single.prepare(matrix)] as const);
        const inputs = Array.from({ length: 2 }, () => arena.alloc(4 * K));
        const biases = [undefined, arena.alloc(4 * N), arena.alloc(4 * N)];
        for (const bias of biases) if (bias) arena.float32(bias).set(gaussians(next, N));
        let outs = Array.from({ length: 2 }, () => arena.alloc(4 * N));
        let most = 1;
        const call: fc.Arbitrary<RepeatedCall> = fc.record({
          matrix: fc.nat({ max: 1 }),
          x: fc.nat({ max: 1 }),
          bias: fc.nat({ max: 2 }),
          out: fc.nat({ max: 1 }),
          components: fc.constantFrom<1 | 2>(1, 2),
          activationBlock: fc.constantFrom<ActivationBlock>('row', 256),
          repeats: fc.integer({ min: 1, max: 3 }),
          before: fc.constantFrom('nothing', 'nothing', 'more rows', 'new buffers', 'another memory', 'autotune'),
        });
        const run = ({ matrix, x, bias, out, repeats, before, ...decomposition }: RepeatedCall) => {
          const [prepared, one] = matrices[matrix];
          if (before === 'more rows') backend.matmul(gaussians(next, ++most * K), prepared, decomposition); // scratch moves
          if (before === 'another memory') arena.move();
          if (before === 'autotune') backend.autotune(prepared, 1, decomposition);
          if (before === 'new buffers') {
            for (const handle of outs) arena.free(handle);
            arena.alloc(64);
            outs = outs.map(() => arena.alloc(4 * N));
          }
          for (let i = 0; i < repeats; i++) {
            const values = gaussians(next, K);
            arena.float32(inputs[x]).set(values);
            const at = biases[bias];
            backend.matmul(inputs[x], prepared, { ...decomposition, M: 1, bias: at, out: outs[out] });
            const want = single.matmul(values, one, { ...decomposition, bias: at && arena.float32(at).slice() });
            expect(firstDifference(arena.float32(outs[out]), want)).toBe(-1);
          }
        };
        fc.assert(
          fc.property(fc.array(call, { minLength: 3, maxLength: 8 }), (calls) => calls.forEach(run)),
          {
            numRuns: 12,
          },
        );
        for (const [prepared, one] of matrices) for (const each of [prepared, one]) each.dispose();
      },
    );

    /** One row times matrices of so many columns, with all operands in the arena; `run` gives all results, one after the other. */
    function bindMany(backend: WasmBackend, columns: readonly number[], endOf: number, hasBias: boolean) {
      const next = random(columns.length + endOf);
      const K = 512;
      const matrices = columns.map((N) => backend.prepare(randomWeights(next, { ...shape, N, K })));
      const put = (values: Float32Array) => {
        const handle = backend.alloc(values.byteLength);
        backend.write(handle, values);
        return handle;
      };
      const x = put(gaussians(next, K));
      const outs = columns.map((N) => backend.alloc(4 * N));
      const operands = columns.flatMap((N, i) => {
        const bias = put(gaussians(next, N));
        const residual = put(gaussians(next, N));
        const multiply = i > 0 && columns[i - 1] === N ? outs[i - 1] : residual;
        return [hasBias ? bias : undefined, ...(i === endOf ? [multiply, residual] : [undefined, undefined]), outs[i]];
      });
      const each = columns.map((_, i) => (i === endOf ? { activation: 'silu' as const } : {}));
      const call = backend.bind({ kind: 'product', matrices, M: 1, each }, [x, ...operands]);
      return () => {
        backend.run(call);
        return outs.flatMap((out) => [...backend.arena.float32(out)]);
      };
    }

    it.each([
      ['q, k and v', [208, 48, 64], -1, true, 1],
      ['gate and up', [208, 208], 1, false, 1],
      ['columns that end within a panel', [200, 200], 1, true, 2],
      ['an end before the last one', [208, 208], 0, false, 2],
      ['two results that lie in scratch', [200, 130], 1, true, 2],
      ['more than a job takes', [130, 130, 130, 130, 130], 4, false, 5],
    ])('several matrices of one row: %s', async (_, columns, endOf, hasBias, jobsOfGemm) => {
      for (const threads of [2, 3]) {
        const backend = await create(threads);
        const [run, one] = [backend, single].map((each) => bindMany(each, columns, endOf, hasBias));
        const want = one();
        expect(firstDifference(run(), want)).toBe(-1);
        const jobs = watchJobs();
        for (let i = 0; i < 20; i++) expect(firstDifference(run(), want)).toBe(-1);
        expect(jobs.length / 20).toBe(jobsOfGemm + (endOf < 0 ? 0 : 1));
        Reflect.deleteProperty(threadPool(), 'run');
        backend.arena.move();
        expect(firstDifference(run(), want)).toBe(-1);
      }
    });

    it.each([
      ['hangs in gemm', before("if (id.startsWith('gemm')) Atomics.wait(word, 0, 0)")],
      ['hangs in the end, after all of gemm', before("if (id.startsWith('end')) Atomics.wait(word, 0, 0)")],
      ['dies', dyingKernels],
    ])('several matrices of one row are right where a worker %s', async (_, spoil) => {
      const columns = [4096, 4096];
      const want = bindMany(single, columns, 1, true)();
      const backend = await create(2, () => spoiled(spoil));
      threadPool().patienceMs = 20;
      const run = bindMany(backend, columns, 1, true);
      const jobs = watchJobs();
      for (let i = 0; i < 5000 && !jobs.some(({ lost }) => lost); i++) {
        expect(firstDifference(run(), want)).toBe(-1);
        if (i % 20 === 0) await sleep(1); // a worker that is awake takes part
      }
      expect(jobs.some(({ lost }) => lost)).toBe(true);
      expect(firstDifference(run(), want)).toBe(-1);
    });

    /** Columns that are computed in several ranges: one is copied to the caller's array beside the next one's product. */
    const wide: WeightShape = { ...shape, N: 4500, K: 64 };

    it.each([2, 3])('results in arrays, range by range and slice by slice, on %i threads', async (threads) => {
      const backend = await create(threads);
      for (const [M, seed] of [
        [256, 1],
        [300, 2],
        [521, 3],
      ] as const)
        check(backend, wide, M, seed);
      const weights = randomWeights(random(4), wide);
      const x = gaussians(random(5), 300 * wide.K);
      const [one, prepared] = [single.prepare(weights), backend.prepare(weights)];
      for (const outType of ['f16', 'bf16'] as const) {
        const options = { outType, activation: 'silu' as const };
        expect(backend.matmul(x, prepared, options)).toEqual(single.matmul(x, one, options));
      }
      for (const each of [one, prepared]) each.dispose();
    });

    it('results in arrays are right where a worker hangs', async () => {
      const backend = await create(2, () => spoiled(hangingKernels));
      threadPool().patienceMs = 20;
      const jobs = watchJobs();
      for (let i = 0; i < 200 && !jobs.some(({ lost }) => lost); i++) {
        check(backend, wide, 256, i);
        await sleep(1);
      }
      expect(jobs.some(({ lost }) => lost)).toBe(true);
      check(backend, wide, 256, 1);
    });

    /** A matrix of so much work that a worker which is awake takes part. */
    const large: WeightShape = { ...shape, N: 2000 };

    /** Multiplies until `done`; `before` each product something can happen. */
    async function until(done: () => boolean, backend: WasmBackend, before = () => {}): Promise<void> {
      const weights = randomWeights(random(1), large);
      const x = gaussians(random(2), 64 * large.K);
      const [one, prepared] = [single.prepare(weights), backend.prepare(weights)];
      const want = single.matmul(x, one);
      for (let i = 0; i < 5000 && !done(); i++) {
        before();
        expect(firstDifference(backend.matmul(x, prepared), want)).toBe(-1);
        await sleep(1);
      }
      for (const each of [one, prepared]) each.dispose();
      expect(done()).toBe(true);
    }

    /** Multiplies until a worker had a part in it. */
    async function helped(backend: WasmBackend): Promise<void> {
      const jobs = watchJobs();
      await until(() => jobs.some(({ chunks, own, missing }) => own + missing.length < chunks), backend);
    }

    /** Ends a worker as the system would: a page is not told of a terminated worker, only of a failed one. */
    function kill(worker: ThreadWorker): void {
      const target = worker as unknown as EventTarget & { emit?(event: string, code: number): void };
      // First: WebKit tells nobody of events of a worker that is terminated.
      if (!target.emit) target.dispatchEvent(new ErrorEvent('error', { message: 'failed' }));
      worker.terminate();
    }

    it('really share the work', async () => {
      await helped(await create(2));
    });

    it('workers that sleep are woken for work that comes soon', async () => {
      const backend = await create(2);
      single.wake();
      const [run, one] = [backend, single].map((each) => bindMany(each, [4096, 4096], -1, false));
      const want = one();
      const jobs = watchJobs();
      for (let i = 0; i < 500 && !jobs.some(({ own, chunks }) => own < chunks); i++) {
        await sleep(3); // it sleeps
        backend.wake();
        for (const end = performance.now() + 0.3; performance.now() < end; );
        expect(firstDifference(run(), want)).toBe(-1);
      }
      expect(jobs.some(({ own, chunks }) => own < chunks)).toBe(true);
    });

    it('results are plain arrays, not views of shared memory', async () => {
      const backend = await create(2);
      const y = backend.matmul(gaussians(random(1), shape.K), backend.prepare(randomWeights(random(2), shape)));
      expect(y.buffer).toBeInstanceOf(ArrayBuffer);
    });

    it('a worker that hangs in a chunk is reported; its chunk is repeated where it cannot write any more', async () => {
      const backend = await create(2, () => spoiled(slowKernels(700)));
      const jobs = watchJobs();
      const { memory } = backend.arena;
      for (let i = 0; i < 200 && !jobs.some(({ lost }) => lost); i++) {
        check(backend, shape, 33, i);
        await sleep(1);
      }
      const { waitedMs, patienceMs } = jobs.find(({ lost }) => lost)!;
      expect(waitedMs).toBeGreaterThan(patienceMs);
      expect(waitedMs).toBeLessThanOrEqual(patienceMs + LOOK_MS);
      expect(backend.threads.warnings[0]).toMatch(/did not finish its part/);
      expect(backend.arena.memory).not.toBe(memory);
      threadPool().patienceMs = 5000;
      for (let i = 0; i < 20; i++) check(backend, shape, 5, 1000 + i);
    });

    it.each([
      ['hangs', hangingKernels, 1],
      ['dies', dyingKernels, 1],
      ['hangs while the calling thread is mostly off its core', hangingKernels, 1000],
    ])('a worker that %s in a chunk costs a moment once; another one takes its place', async (_, spoil, ms) => {
      const clock = new TestClock();
      threadPool().clock = clock;
      let made = 0;
      const backend = await create(2, () => (made++ === 0 ? spoiled(spoil) : startWorker()));
      const jobs = watchJobs();
      const real = clock.passPerLook(ms);
      await until(() => jobs.some(({ lost }) => lost), backend);
      const [end, ...more] = jobs.filter(({ lost }) => lost);
      expect(more).toEqual([]);
      expect(end).toMatchObject({ missing: [expect.any(Number)], own: end.chunks - 1 });
      expect(end.patienceMs).toBe(Math.max(100, (50 * ms) / end.own));
      const counted = Math.min(ms, LOOK_MS);
      expect(end.waitedMs).toBe(counted * (Math.floor(end.patienceMs / counted) + 1));
      expect(backend.threads).toEqual({
        count: 1,
        requested: 2,
        warnings: [expect.stringMatching(/did not finish its part/)],
      });
      expect([made, clock.pending]).toEqual([1, [100]]);
      real();
      threadPool().patienceMs = 60_000;
      clock.fire(100);
      await expect.poll(() => backend.threads.count, { timeout: 60_000 }).toBe(2);
      expect([made, clock.pending]).toEqual([2, []]);
      await helped(backend);
      expect(backend.threads.warnings).toHaveLength(1);
    });

    it('of workers whose replacements hang too, fewer and fewer stay', async () => {
      const clock = new TestClock();
      threadPool().clock = clock;
      let made = 0;
      const backend = await create(3, () => {
        made++;
        return spoiled(hangingKernels);
      });
      const jobs = watchJobs();
      clock.passPerLook(1);
      const delays: number[] = [];
      const replace = () => {
        for (const ms of clock.pending) {
          if (ms === START_LOOK_MS) continue;
          delays.push(ms);
          clock.fire(ms);
        }
      };
      await until(() => /; threads left: 1\./.test(backend.threads.warnings.at(-1) ?? ''), backend, replace);
      const lost = jobs.filter((job) => job.lost);
      expect(lost.map(({ patienceMs }) => patienceMs)).toEqual([100, 200, 400, 400].slice(0, lost.length));
      expect(lost.length).toBeGreaterThan(2);
      for (const { missing } of lost) expect(missing.length).toBeLessThanOrEqual(2);
      expect(delays).toEqual([100, 400]);
      expect(made).toBeLessThanOrEqual(7); // two, replaced twice; the third failure may have left one that starts anew
      expect(clock.pending).toEqual([]);
      const { warnings } = backend.threads;
      for (let i = 0; i < 5; i++) check(backend, shape, 33, i);
      expect(backend.threads).toEqual({ count: 1, requested: 3, warnings });
    });

    it('a worker that ends between calls is replaced, and meanwhile the others go on', async () => {
      const clock = new TestClock();
      threadPool().clock = clock;
      const workers: ThreadWorker[] = [];
      const backend = await create(3, () => {
        workers.push(startWorker());
        return workers.at(-1)!;
      });
      threadPool().patienceMs = 60_000;
      await helped(backend);
      kill(workers[0]);
      await expect
        .poll(() => backend.threads.warnings, { timeout: 60_000 })
        .toEqual([expect.stringMatching(/worker 1 is gone/)]);
      expect(backend.threads).toMatchObject({ count: 2, requested: 3 });
      await helped(backend);
      expect([workers.length, clock.pending]).toEqual([2, [100]]);
      clock.fire(100);
      await expect.poll(() => backend.threads.count, { timeout: 60_000 }).toBe(3);
      expect(workers).toHaveLength(3);
      kill(workers[1]);
      await expect.poll(() => backend.threads.warnings, { timeout: 60_000 }).toHaveLength(2);
      await helped(backend);
    });

    it('workers that keep ending between calls are not replaced for ever', async () => {
      const clock = new TestClock();
      threadPool().clock = clock;
      const workers: ThreadWorker[] = [];
      const backend = await create(2, () => {
        workers.push(startWorker());
        return workers.at(-1)!;
      });
      for (const delay of [100, 400, undefined]) {
        await expect.poll(() => backend.threads.count, { timeout: 60_000 }).toBe(2);
        kill(workers.at(-1)!);
        await expect.poll(() => backend.threads.count, { timeout: 60_000 }).toBe(1);
        expect(clock.pending).toEqual(delay ? [delay] : []);
        if (delay) clock.fire(delay);
      }
      expect(workers).toHaveLength(3);
      expect(backend.threads.warnings.at(-1)).toMatch(/; threads left: 1\./);
      check(backend, shape, 9, 1);
    });

    it('workers terminated in the middle of calls cost no bit', async () => {
      threadPool().patienceMs = 100;
      for (let round = 0; round < 5; round++) {
        const workers: ThreadWorker[] = [];
        const backend = await create(3, () => {
          workers.push(startWorker());
          return workers.at(-1)!;
        });
        for (let i = 0; i < 4; i++) check(backend, shape, 65, i);
        for (const worker of workers.splice(0)) worker.terminate();
        for (let i = 0; i < 8; i++) check(backend, shape, 65, 10 + i);
        backend.dispose();
        threadPool().stop();
      }
    });

    it('workers that never start are reported', async () => {
      const clock = new TestClock();
      threadPool().clock = clock;
      const creating = create(3, () => spoiled('while (true);'));
      await expect.poll(() => clock.pending).toEqual([START_LOOK_MS, START_LOOK_MS]);
      for (let look = 0; look < 10; look++) clock.fire(START_LOOK_MS);
      const backend = await creating;
      expect(backend.threads.count).toBe(1);
      expect(backend.threads.warnings).toHaveLength(2);
      expect(backend.threads.warnings[0]).toMatch(/worker 1 is gone: it did not start within 5000 ms/);
      expect(clock.pending).toEqual([]);
      check(backend, shape, 9, 1);
    });

    it('workers that start while the calling thread is busy are used', async () => {
      const clock = new TestClock();
      threadPool().clock = clock;
      const creating = create(3, startWorker);
      // Often, for soon they have started.
      await expect.poll(() => clock.pending, { interval: 1 }).toEqual([START_LOOK_MS, START_LOOK_MS]);
      clock.fire(START_LOOK_MS); // after a busy time it is late, but one look all the same
      const backend = await creating;
      expect(backend.threads).toMatchObject({ count: 3, warnings: [] });
      expect(clock.pending).toEqual([]);
    });

    it('workers that cannot be made are reported: a CSP without blob:', async () => {
      const backend = await create(2, () => {
        throw new Error('blocked by the CSP');
      });
      expect(backend.threads).toMatchObject({ count: 1, requested: 2 });
      expect(backend.threads.warnings[0]).toMatch(/worker 1 is gone: blocked by the CSP/);
      check(backend, shape, 9, 1);
    });

    it('of workers of which the first does not start the second helps', async () => {
      const clock = new TestClock();
      threadPool().clock = clock;
      let made = 0;
      const creating = create(3, () => (made++ === 0 ? spoiled('while (true);') : startWorker()));
      await expect.poll(() => threadPool().threads, { timeout: 60_000 }).toBe(2);
      expect(clock.pending).toEqual([START_LOOK_MS]);
      for (let look = 0; look < 10; look++) clock.fire(START_LOOK_MS);
      const backend = await creating;
      expect(backend.threads).toMatchObject({ count: 2, requested: 3 });
      await helped(backend);
    });

    it('a worker whose relaxed dot gives other results is not used', async ({ skip }) => {
      skip(!relaxedProbe(), 'this engine has no relaxed dot');
      const spoil = `
        const { Instance } = WebAssembly;
        WebAssembly.Instance = function (module, imports) {
          const { exports } = new Instance(module, imports);
          if (!exports.dots) return { exports };
          const dots = (pairs, out, count) => {
            exports.dots(pairs, out, count);
            new Uint8Array(imports.env.memory.buffer)[out + 16 * count - 1] ^= 1;
          };
          return { exports: { dots } };
        };`;
      let made = 0;
      const backend = await create(3, () => (made++ === 0 ? spoiled(spoil) : startWorker()));
      expect(backend.threads).toMatchObject({ count: 2, requested: 3 });
      expect(backend.threads.warnings).toEqual([
        'threads: worker 1 is gone: its relaxed dot gives other results than that of the calling thread.',
      ]);
      for (let i = 0; i < 10; i++) check(backend, shape, 9, i);
    });

    it('without SharedArrayBuffer there is one thread, and a reason', async () => {
      const real = globalThis.SharedArrayBuffer;
      try {
        Object.assign(globalThis, { SharedArrayBuffer: undefined });
        const backend = await create(2);
        expect(backend.threads).toMatchObject({ count: 1, requested: 2 });
        expect(backend.threads.warnings[0]).toMatch(/not cross-origin isolated/);
        expect(backend.arena.shared).toBe(false);
        check(backend, shape, 9, 1);
      } finally {
        Object.assign(globalThis, { SharedArrayBuffer: real });
      }
    });

    it('a backend that asks for fewer threads than the pool has uses no more', async () => {
      await create(4);
      const backend = await create(2);
      expect(backend.threads.count).toBe(2);
      for (let i = 0; i < 20; i++) check(backend, shape, 17, i);
    });

    it('an arena that outgrows its maximum moves, and results stay right', async () => {
      const backend = await create(2);
      const { arena } = backend;
      const weights = randomWeights(random(1), shape);
      const prepared = backend.prepare(weights);
      const packed = packWeights(weights);
      const handle = arena.alloc(packed.bytes.length);
      arena.bytes(handle).set(packed.bytes);
      const adopted = backend.adopt(packed, handle);
      const x = gaussians(random(2), 3 * shape.K);
      const want = backend.matmul(x, prepared);
      expect(firstDifference(backend.matmul(x, adopted), want)).toBe(-1);
      const { memory } = arena;
      const large = arena.alloc(300 * 2 ** 20); // more than the room it reserved
      expect(arena.memory).not.toBe(memory);
      expect(arena.shared).toBe(true);
      expect(firstDifference(backend.matmul(x, prepared), want)).toBe(-1);
      expect(firstDifference(backend.matmul(x, adopted), want)).toBe(-1);
      arena.free(large);
    });

    it('refuses numbers of threads that mean nothing', async () => {
      for (const threads of [0, -1, 1.5, Number.NaN, 65, '2' as never])
        await expect(createTeam({ threads })).rejects.toThrow(/threads expected 'auto' or 1 to 64, got/);
      await expect(createTeam({ worker: 1 as never })).rejects.toThrow(/worker expected a function/);
    });
  });
}
