/** Weights that threads pack: the same bytes, however far they come, and the same errors. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInThisContext } from 'node:vm';
import * as threads from 'node:worker_threads';
import { createBackend, type WasmBackend } from '@msd/core';
import { packKernels, packRecipes, reserveRows, type ThreadTask } from '@msd/core/program';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PackThreads, type Place } from '../src/execute/pack-threads.ts';
import { openFile } from '../src/read/file.ts';
import type { ByteSource } from '../src/read/source.ts';
import { type TensorRef, tensorRange } from '../src/read/tensor.ts';
import { reportOf } from '../src/register.ts';
import { type Groups, grouped, groupsOf } from '../src/weights/grouped.ts';
import { nBitsMatrix } from '../src/weights/nbits.ts';
import { type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { floats, session, tensor } from './ort.ts';

const isPossible = availableParallelism() > 1;

let backend: WasmBackend | undefined;
let folder: string;
let source: ByteSource | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-pack-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  backend?.dispose();
  source?.close();
  rmSync(folder, { recursive: true });
});

/** Matrices of several forms: whole panels and not, of one unit and of many, with zero points, too small for kernels. */
const FORMS = [
  { N: 4864, K: 896, bits: 4, blockSize: 32, half: false, asymmetric: false },
  { N: 1000, K: 896, bits: 4, blockSize: 32, half: true, asymmetric: false },
  { N: 333, K: 1024, bits: 8, blockSize: 64, half: true, asymmetric: true },
  { N: 512, K: 1000, bits: 4, blockSize: 128, half: false, asymmetric: true },
  { N: 7, K: 64, bits: 4, blockSize: 32, half: false, asymmetric: false },
  { N: 16, K: 16384, bits: 4, blockSize: 16, half: false, asymmetric: false },
  { N: 48, K: 4864, bits: 2, blockSize: 32, half: false, asymmetric: false },
  { N: 900, K: 2048, bits: 4, blockSize: 32, half: false, asymmetric: false },
] as const;

const CONTENT = Uint32Array.from({ length: 2 ** 20 }, (_, at) => at * 2654435761);

/** A file with them, and how they are read. */
function writeForms(change?: (form: number, scales: Float32Array) => void): readonly ReturnType<typeof nBitsMatrix>[] {
  const pieces: Uint8Array[] = [new Uint8Array(100)]; // the alignment of nothing
  let at = 100;
  const path = join(folder, 'weights');
  const ranges: { offset: number; length: number; storage?: unknown }[] = [];
  const put = (elemType: number, dims: number[], bytes: Uint8Array) => {
    const range = { offset: at, length: bytes.length };
    ranges.push(range);
    pieces.push(bytes);
    at += bytes.length;
    return { name: `${ranges.length}`, elemType, dims, range };
  };
  const made = FORMS.map(({ N, K, bits, blockSize, half, asymmetric }, form) => {
    const blocks = Math.ceil(K / blockSize);
    const [from, bytes] = [4 * form, (blockSize * bits) / 8];
    const data = put(2, [N, blocks, bytes], new Uint8Array(CONTENT.buffer, from, N * blocks * bytes));
    const steps = Float32Array.from({ length: N * blocks }, (_, i) => 0.001 + (i % 17) / 5e3);
    change?.(form, steps);
    const scales = half
      ? put(10, [N, blocks], new Uint8Array(Uint16Array.from(steps, (step) => (step > 1 ? 0x7c00 : 0x2000)).buffer))
      : put(1, [N, blocks], new Uint8Array(steps.buffer));
    const zeros = Math.ceil((blocks * bits) / 8);
    const zeroPoints = asymmetric ? put(2, [N, zeros], new Uint8Array(CONTENT.buffer, 8 + from, N * zeros)) : undefined;
    return { format: `int${bits}` as const, bits, N, K, blockSize, data, scales, zeroPoints };
  });
  writeFileSync(path, Buffer.concat(pieces));
  source = openFile(path);
  const proto = { source, offset: 0, length: 0 };
  const ref = ({ range, ...rest }: ReturnType<typeof put>): TensorRef => ({
    ...rest,
    storage: { kind: 'raw', range: { source: source!, ...range } },
    proto: { ...proto, offset: range.offset },
  });
  return made.map(({ data, scales, zeroPoints, ...rest }) =>
    nBitsMatrix({ ...rest, data: ref(data), scales: ref(scales), zeroPoints: zeroPoints && ref(zeroPoints) }),
  );
}

type Matrices = ReturnType<typeof writeForms>;

async function places(matrices: Matrices, shared: boolean, debug = true): Promise<readonly Place[]> {
  backend?.dispose();
  backend = await createBackend('wasm', { initialBytes: 2 ** 24, threads: 1, shared, debug });
  return matrices.map((matrix) => ({ matrix, ...reserveRows(backend!, matrix) }));
}

const bytesOf = ({ handle }: Place): Uint8Array => backend!.arena.bytes(handle).slice();
const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** What the main thread makes of them. */
async function expected(matrices: Matrices): Promise<readonly Uint8Array[]> {
  const [all, kernels] = [await places(matrices, false), packKernels];
  for (const { matrix, fill } of all) fill(matrix.open(), kernels);
  return all.map(bytesOf);
}

/** Where a backend has threads of its own: they are there already, and stay. */
interface Lending {
  lend(task: ThreadTask): number;
  stop(): Promise<unknown>;
}

const alone: Lending = { lend: () => 0, stop: async () => {} };

/** @param code they run this first */
function lending(count: number, code = ''): Lending {
  const { Worker } = process.getBuiltinModule('node:worker_threads');
  const serve = `
    const { parentPort } = require('node:worker_threads');
    parentPort.on('message', ({ code, given }) => {
      try { require('node:vm').runInThisContext(code)(given); } catch {}
      parentPort.postMessage(0);
    });`;
  const workers = Array.from({ length: count }, () => new Worker(`${code};${serve}`, { eval: true, execArgv: [] }));
  for (const worker of workers) worker.on('error', () => {});
  return {
    lend: ({ code, most, given, ended }) => {
      const lent = workers.slice(0, most);
      for (const [i, worker] of lent.entries()) {
        for (const event of ['message', 'error', 'exit'] as const) worker.on(event, () => ended(i));
        worker.postMessage({ code, given: given(i) });
      }
      return lent.length;
    },
    stop: () => Promise.all(workers.map((worker) => worker.terminate())),
  };
}

interface Way {
  /** Of the backend; default: none. */
  readonly lent?: Lending;
  /** How long the main thread does something else. */
  readonly waitMs?: number;
  /** Once threads have begun. */
  readonly meanwhile?: () => void;
}

/** Packs them as a session does. @returns their bytes, and which the threads or the main thread packed by units */
async function packed(matrices: Matrices, { waitMs = 0, meanwhile, lent }: Way, debug = true) {
  const all = await places(matrices, true, debug);
  const [kernels, recipes] = [packKernels, packRecipes];
  const started = PackThreads.start(lent ? 2 : 1)!;
  const { lend } = lent ?? alone;
  const fills = all.map((place) => vi.spyOn(place, 'fill'));
  started.begin({ places: all, kernels, recipes, rangeOf: tensorRange, lend });
  const byUnits: boolean[] = [];
  try {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    meanwhile?.();
    for (const place of all) {
      const isPacked = await started.pack(place, () => undefined);
      byUnits.push(isPacked);
      if (!isPacked) place.fill(place.matrix.open(), kernels);
    }
  } finally {
    await started.end();
  }
  backend!.arena.check();
  return { bytes: all.map(bytesOf), byUnits, fills: fills.map(({ mock }) => mock.calls.length) };
}

const expectSame = (got: readonly Uint8Array[], wanted: readonly Uint8Array[]): void => {
  for (const [i, bytes] of wanted.entries()) expect(isSame(got[i]!, bytes), `matrix ${i}`).toBe(true);
};

/** Their workers run this first. */
function workersWith(code: string, failed = (): void => {}): void {
  const { getBuiltinModule } = process;
  class Worker extends threads.Worker {
    constructor(own: string, options: threads.WorkerOptions) {
      super(`${code};${own}`, options);
      this.on('error', failed);
    }
  }
  vi.spyOn(process, 'getBuiltinModule').mockImplementation(((name: string) =>
    name === 'node:worker_threads' ? { Worker } : getBuiltinModule(name)) as typeof getBuiltinModule);
}

it('is left out where there are no threads, or one core', () => {
  const { getBuiltinModule } = process;
  const without = (missing: string, instead: unknown) =>
    vi
      .spyOn(process, 'getBuiltinModule')
      .mockImplementation(((name: string) =>
        name === missing ? instead : getBuiltinModule(name)) as typeof getBuiltinModule);
  const Refused = class {
    constructor() {
      throw new Error('no thread');
    }
  };
  for (const [name, instead] of [
    ['node:worker_threads', undefined],
    ['node:worker_threads', { Worker: Refused }],
    ['node:os', { availableParallelism: () => 1 }],
  ] as const) {
    without(name, instead);
    expect(PackThreads.start(1)).toBeUndefined();
  }
});

describe.runIf(isPossible)('packs the same bytes', () => {
  /** Those that threads can pack: all but those with few weights, with blocks of 16, and of 2 bits. */
  const BY_UNITS = [true, true, true, true, false, false, false, true];

  it('if threads do it, or the main thread, which is first, or both', async () => {
    const matrices = writeForms();
    const wanted = await expected(matrices);
    const alone = await packed(matrices, { waitMs: 2000 });
    expectSame(alone.bytes, wanted);
    expect(alone.byUnits).toEqual(BY_UNITS);
    // The main thread has the last rows of three, and all of the others.
    expect(alone.fills).toEqual([0, 1, 1, 0, 1, 1, 1, 1]);
    const first = await packed(matrices, {});
    expectSame(first.bytes, wanted);
    expect(first.byUnits).toEqual(BY_UNITS);
    for (const waitMs of [30, 40, 50, 60, 70]) expectSame((await packed(matrices, { waitMs })).bytes, wanted);
  });

  it.each([1, 3, 5])('if %i threads of the backend do it, more than once', async (count) => {
    const matrices = writeForms();
    const wanted = await expected(matrices);
    const lent = lending(count);
    for (const waitMs of [1000, 0, 20, 40]) {
      const { bytes, byUnits, fills } = await packed(matrices, { waitMs, lent });
      expectSame(bytes, wanted);
      expect(byUnits).toEqual(BY_UNITS);
      if (waitMs === 1000) expect(fills).toEqual([0, 1, 1, 0, 1, 1, 1, 1]);
    }
    await lent.stop();
  });

  it('if memory grows or is replaced meanwhile', async () => {
    const matrices = writeForms();
    const wanted = await expected(matrices);
    for (const waitMs of [0, 40, 200]) {
      const grow = () => void backend!.alloc(2 ** 24);
      expectSame((await packed(matrices, { waitMs, meanwhile: grow })).bytes, wanted);
      const move = () => backend!.arena.move();
      const moved = await packed(matrices, { waitMs, meanwhile: move });
      expectSame(moved.bytes, wanted);
      expect(moved.byUnits).toEqual(BY_UNITS.map(() => false));
    }
  });

  it.each([
    ['end before they begin', 'process.exit(1)'],
    ['fail to begin', 'throw new Error("no")'],
    [
      'end while they read',
      'const fs = require("node:fs"), { readSync } = fs; let n = 0; fs.readSync = (...args) => { if (n++ > 3) process.exit(1); return readSync(...args); }',
    ],
    ['cannot read', 'require("node:fs").readSync = () => { throw new Error("EIO"); }'],
    ['read nothing', 'require("node:fs").readSync = () => 0'],
    [
      'read a little at a time',
      'const fs = require("node:fs"), { readSync } = fs; fs.readSync = (fd, bytes, to, length, from) => readSync(fd, bytes, to, Math.min(length, 5000), from)',
    ],
    [
      'have files of their own',
      'require("node:fs").fstatSync = () => ({ dev: 0, ino: 0 }); require("node:fs").readSync = (fd, bytes, to, length) => (bytes.fill(7, to, to + length), length)',
    ],
    [
      'have no memory for kernels',
      'WebAssembly.Instance = class { constructor() { throw new RangeError("memory"); } }',
    ],
  ])('if threads %s', async (_, code) => {
    const matrices = writeForms();
    const wanted = await expected(matrices);
    workersWith(code);
    for (const waitMs of [0, 300])
      for (const lent of [undefined, lending(1)]) {
        const { bytes, byUnits } = await packed(matrices, { waitMs, ...(lent && { lent }) });
        expectSame(bytes, wanted);
        expect(byUnits).toEqual(BY_UNITS);
        await lent?.stop();
      }
  });

  it('and engines report nothing where threads cannot have files of others, as in Deno', async () => {
    const matrices = writeForms();
    const wanted = await expected(matrices);
    const failed = vi.fn();
    const noFile = 'require("node:fs").fstatSync = () => { throw new Error("EBADF"); };';
    workersWith(`${noFile} require("node:worker_threads").parentPort.close = undefined`, failed);
    expectSame((await packed(matrices, { waitMs: 2000 })).bytes, wanted);
    expect(failed).not.toHaveBeenCalled();
  });

  it('of nothing whose k are in another order than in the file', async () => {
    const [first] = writeForms();
    const { K, blockSize } = first!;
    const groups = groupsOf(
      Int32Array.from({ length: K }, (_, k) => k % (K / blockSize!)),
      K,
      blockSize!,
    ) as Groups;
    const matrices = [grouped(first!, 4, 'order', groups)];
    const wanted = await expected(matrices);
    const { bytes, byUnits } = await packed(matrices, { waitMs: 300 });
    expectSame(bytes, wanted);
    expect(byUnits).toEqual([false]);
  });

  it('of nothing, if memory is not shared, and after the end', async () => {
    const matrices = writeForms();
    const [kernels, recipes] = [packKernels, packRecipes];
    const all = await places(matrices, false);
    const { lend } = alone;
    const started = PackThreads.start(1)!;
    started.begin({ places: all, kernels, recipes, rangeOf: tensorRange, lend });
    expect(await started.pack(all[0]!, () => undefined)).toBe(false);
    await started.end();
    const others = await places(matrices, true);
    const ended = PackThreads.start(1)!;
    ended.begin({ places: others, kernels, recipes, rangeOf: tensorRange, lend });
    expect(ended.hasEnded).toBe(false);
    await ended.end();
    const before = others.map(bytesOf);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expectSame(others.map(bytesOf), before);
    expect(await ended.pack(others[0]!, () => undefined)).toBe(false);
    const again = await places(matrices, true);
    const { usedBytes } = backend!.arena;
    expect(ended.hasEnded).toBe(true);
    ended.begin({ places: again, kernels, recipes, rangeOf: tensorRange, lend });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await ended.pack(again[0]!, () => undefined)).toBe(false);
    expect(backend!.arena.usedBytes).toBe(usedBytes);
  });
});

describe.runIf(isPossible)('touches pages of a backend that nobody has yet', () => {
  const touched = async (initialBytes: number) => {
    const early = await createBackend('wasm', { initialBytes, threads: 2 });
    const started = PackThreads.start(2)!;
    const tasks = vi.spyOn(early, 'lend');
    started.touch(early);
    const dispose = vi.spyOn(early, 'dispose');
    return { early, started, dispose, tasks };
  };

  it('and changes nothing of what is there, nor goes on once it has to stop', async () => {
    const { started, tasks } = await touched(2 ** 20);
    expect(tasks.mock.results[0]!.value).toBe(1);
    const touch = runInThisContext(tasks.mock.calls[0]![0].code) as (given: object) => void;
    await started.end();
    const memory = new WebAssembly.Memory({ initial: 100, maximum: 100, shared: true });
    const words = new Int32Array(memory.buffer);
    words.set(words.map((_, at) => Math.imul(at, 2654435761)));
    const before = words.slice();
    const add = vi.spyOn(Atomics, 'add');
    touch({ memory, state: Int32Array.of(1, 0) });
    expect(add).toHaveBeenCalledOnce();
    touch({ memory, state: new Int32Array(2) });
    const pages = add.mock.calls.filter(([array]) => array.buffer === memory.buffer).map(([, at]) => at >> 10);
    expect(pages).toEqual(Array.from({ length: memory.buffer.byteLength / 4096 }, (_, page) => page));
    expect(words).toEqual(before);
  });

  it('all of them, once', async () => {
    const { started, tasks } = await touched(2 ** 26);
    const { memory, state } = tasks.mock.calls[0]![0].given(0) as { memory: WebAssembly.Memory; state: Int32Array };
    await expect.poll(() => 4 * state[1]!, { timeout: 20_000 }).toBeGreaterThanOrEqual(memory.buffer.byteLength);
    await started.end();
  });

  it('and gives the backend away, or disposes of it', async () => {
    const taken = await touched(2 ** 20);
    expect(taken.started.take(2 ** 21)).toBe(taken.early);
    expect(taken.started.take(0)).toBeUndefined();
    await taken.started.end();
    expect(taken.dispose).not.toHaveBeenCalled();
    taken.early.dispose();
    // It would have to grow by much, or most of it would be for nothing.
    const small = await touched(2 ** 20);
    expect(small.started.take(2 ** 24)).toBeUndefined();
    expect(small.dispose).toHaveBeenCalledOnce();
    const large = await touched(2 ** 26);
    expect(large.started.take(2 ** 24)).toBeUndefined();
    expect(large.dispose).toHaveBeenCalledOnce();
    const left = await touched(2 ** 20);
    await left.started.end();
    expect(left.dispose).toHaveBeenCalledOnce();
    for (const { started } of [small, large, left]) await started.end();
  });
});

describe.runIf(isPossible)('tells of what is wrong as the main thread does', () => {
  it.each([0, 1000])('of a scale, after %i ms', async (waitMs) => {
    for (const [form, bad] of [
      [0, Number.NaN],
      [0, 2 ** 90],
      [1, Number.POSITIVE_INFINITY],
      [2, Number.POSITIVE_INFINITY],
      [7, -(2 ** 100)],
      [7, Number.NEGATIVE_INFINITY],
    ] as const) {
      const matrices = writeForms((at, scales) => {
        if (at === form) scales[scales.length >> 1] = bad;
      });
      const message = /prepareRows: weights.scales\[\d+\] expected a finite value below 2\^90/;
      await expect(packed(matrices, { waitMs }, false)).rejects.toThrow(message);
      source!.close();
    }
  });

  it.each([0, 1000])('of a file that was cut, after %i ms', async (waitMs) => {
    const matrices = writeForms();
    truncateSync(join(folder, 'weights'), 1e6);
    await expect(packed(matrices, { waitMs }, false)).rejects.toThrow(/Was it cut while in use\?/);
  });

  it('of what a turn throws', async () => {
    const all = await places(writeForms(), true);
    const [kernels, recipes] = [packKernels, packRecipes];
    const started = PackThreads.start(1)!;
    started.begin({ places: all, kernels, recipes, rangeOf: tensorRange, ...alone });
    const turn = () => Promise.reject(new Error('stopped'));
    await expect(started.pack(all[0]!, turn)).rejects.toThrow('stopped');
    await started.end();
  });
});

/** A product with weights made of others': for many bytes in little time. */
function product(name: string, [x, y]: readonly [string, string], [N, K]: readonly [number, number], isOdd: boolean) {
  const blocks = Math.ceil(K / 32);
  const at = 4 * ((N * 7 + name.length * 13) % 1000);
  const data = new Uint8Array(CONTENT.buffer, at, N * blocks * 16);
  const scales = Float32Array.from({ length: N * blocks }, (_, i) => 0.001 + (i % 17) / 5e3);
  const tensors: TensorSpec[] = [
    { name: `${name}_Q`, dtype: 'uint8', dims: [N, blocks, 16], data },
    { name: `${name}_scales`, dtype: 'float32', dims: [N, blocks], data: scales },
  ];
  if (isOdd) {
    const zeroPoints = new Uint8Array(CONTENT.buffer, 8 * at, N * Math.ceil(blocks / 2));
    tensors.push({ name: `${name}_zp`, dtype: 'uint8', dims: [N, Math.ceil(blocks / 2)], data: zeroPoints });
  }
  const node: NodeSpec = {
    opType: 'MatMulNBits',
    domain: 'com.microsoft',
    inputs: [x, ...tensors.map((each) => each.name)],
    outputs: [y],
    attributes: { K: { int: K }, N: { int: N }, bits: { int: 4 }, block_size: { int: 32 } },
  };
  return { node, tensors };
}

/** 48 MB of weights, in a file. @param bad a scale of this layer is out of the contract */
function writeLayers(bad?: number): readonly [path: string, bytes: Uint8Array] {
  const layers = Array.from({ length: 36 }, (_, i) => {
    const size = (at: number): number => (at % 2 === 0 ? 2048 : 1000);
    const layer = product(`w${i}`, [`x${i}`, `x${i + 1}`], [size(i + 1), size(i)], i % 3 === 0);
    if (i === bad) (layer.tensors[1]!.data as Float32Array)[1000] = 2 ** 95;
    return layer;
  });
  const bytes = writeModel({
    graph: {
      inputs: [{ name: 'x0', dtype: 'float32', dims: [1, 2048] }],
      outputs: [{ name: 'x36', dtype: 'float32', dims: [1, 2048] }],
      initializers: layers.flatMap(({ tensors }) => tensors),
      nodes: layers.map(({ node }) => node),
    },
  });
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  return [path, bytes];
}

it('makes a session of a file the same as one of its bytes, with any number of threads', async () => {
  const [path, bytes] = writeLayers();
  const x = Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i));
  const results: Uint8Array[] = [];
  const told: number[][] = [];
  for (const threads of [1, 2])
    for (const given of [path, bytes]) {
      const progress: number[] = [];
      const onProgress = (each: { readonly phase: string; readonly loaded: number }) => {
        if (each.phase === 'pack') progress.push(each.loaded);
      };
      const created = await session(given, { name: 'msd', threads, onProgress });
      told.push(progress);
      expect(reportOf(created)!.weights.packedBytes).toBeGreaterThan(2 ** 25);
      const { x36 } = await created.run({ x0: tensor(x, [1, 2048]) });
      results.push(new Uint8Array(floats(x36).slice().buffer));
      await created.release();
    }
  expect(new Set(results[0]).size).toBeGreaterThan(100);
  for (const each of results) expect(isSame(each, results[0]!)).toBe(true);
  for (const each of told) {
    expect(each).toEqual(each.toSorted((a, b) => a - b));
    expect(each.at(-1)).toBe(told[0]!.at(-1));
  }
});

/** Large memories that are made from then on: is each shared? */
function watchMemories(): boolean[] {
  const made: boolean[] = [];
  const construct = (Memory: typeof WebAssembly.Memory, [given]: [WebAssembly.MemoryDescriptor]) => {
    if (given.initial > 256) made.push(given.shared ?? false);
    return new Memory(given);
  };
  const watched = new Proxy(WebAssembly.Memory, { construct });
  vi.spyOn(WebAssembly, 'Memory', 'get').mockReturnValue(watched);
  return made;
}

it.each([0, 34, 35])('decides again where a scale of layer %i is out of the contract', async (bad) => {
  const x = Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i));
  const results: Uint8Array[] = [];
  for (const threads of [1, 2])
    for (const given of writeLayers(bad)) {
      const memories = watchMemories();
      const created = await session(given, { name: 'msd', threads });
      const isShared = threads > 1;
      // What no thread packs the second time needs no shared memory.
      expect(memories).toEqual([isShared || (isPossible && typeof given === 'string'), isShared]);
      vi.restoreAllMocks();
      const { x36 } = await created.run({ x0: tensor(x, [1, 2048]) });
      results.push(new Uint8Array(floats(x36).slice().buffer));
      await created.release();
    }
  for (const each of results) expect(isSame(each, results[0]!)).toBe(true);
});

it('ends those that began, if no more may begin', () => {
  const { getBuiltinModule } = process;
  const terminate = vi.fn();
  let started = 0;
  class Worker {
    readonly terminate = terminate;
    constructor() {
      if (++started > 1) throw new Error('no more threads');
    }
    on(): void {}
    unref(): void {}
  }
  const instead: Record<string, unknown> = {
    'node:worker_threads': { Worker },
    'node:os': { availableParallelism: () => 4 },
  };
  vi.spyOn(process, 'getBuiltinModule').mockImplementation(
    ((name: string) => instead[name] ?? getBuiltinModule(name)) as typeof getBuiltinModule,
  );
  expect(PackThreads.start(1)).toBeUndefined();
  expect([started, terminate.mock.calls.length]).toEqual([2, 1]);
});

describe.runIf(isPossible && existsSync('/proc/self/fd'))('gives everything back', () => {
  const openFiles = () => readdirSync('/proc/self/fd').length;

  it('if creation is stopped at any time', async () => {
    const [path] = writeLayers();
    await (await session(path)).release();
    const before = openFiles();
    for (const afterMs of [0, 10, 20, 40, 60, 80, 100]) {
      const stop = new AbortController();
      setTimeout(() => stop.abort(), afterMs);
      await session(path, 'msd', { signal: stop.signal } as object).then(
        (created) => created.release(),
        (error: Error) => expect(error.name).toBe('AbortError'),
      );
    }
    await vi.waitFor(() => expect(openFiles()).toBeLessThanOrEqual(before), { timeout: 10_000 });
  });

  it('and keeps no process alive, nor lets one end too soon', () => {
    const [path] = writeLayers();
    const code = `
      import * as ort from 'onnxruntime-web';
      import { register } from '@msd/onnx/register';
      register(ort);
      const session = await ort.InferenceSession.create(${JSON.stringify(path)}, { executionProviders: ['msd'] });
      console.log(session.outputNames.join());`;
    const args = ['--input-type=module', '--no-warnings', '--eval', code];
    const { stdout, stderr, status } = spawnSync(process.execPath, args, {
      encoding: 'utf8',
      cwd: import.meta.dirname,
      timeout: 60_000, // one that stays alive ends so, and is told from one that ends by itself
    });
    expect({ stdout, stderr, status }).toEqual({ stdout: 'x36\n', stderr: '', status: 0 });
  });
});
