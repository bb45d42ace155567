/** `create` of a module, taken over: who gets which session, and with what arguments. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-web';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { AbortError } from '../src/errors.ts';
import type { OrtModule } from '../src/ort.ts';
import { configure, register, reportOf } from '../src/register.ts';
import { takeOver } from '../src/takeover.ts';
import { gaussian, makeMatrix, matmulModel, model, random } from './models.ts';

const H = 64;
const a = makeMatrix({ name: 'a', N: H, K: H, seed: 4 });
const b = makeMatrix({ name: 'b', N: H, K: H, seed: 5 });
/** MSD, ONNX Runtime, MSD: a session of ONNX Runtime is made inside. */
const mixed = model({
  nodes: [a.node('x', 'p'), { opType: 'Mish', inputs: ['p'], outputs: ['s'] }, b.node('s', 'y')],
  initializers: [...a.initializers, ...b.initializers],
  inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', H] }],
  outputs: [{ name: 'y', dtype: 'float32', dims: ['rows', H] }],
});
/** Nothing for MSD in it. */
const foreign = model({
  nodes: [{ opType: 'Add', inputs: ['x', 'w'], outputs: ['y'] }],
  initializers: [{ name: 'w', dtype: 'float32', dims: [100, H], data: gaussian(random(3), 100 * H) }],
  inputs: [{ name: 'x', dtype: 'float32', dims: [100, H] }],
  outputs: [{ name: 'y', dtype: 'float32', dims: [100, H] }],
});
/** As small as the graphs of one operator that Transformers.js makes. */
const tiny = model({
  nodes: [{ opType: 'MatMul', inputs: ['x', 'x'], outputs: ['y'] }],
  inputs: [{ name: 'x', dtype: 'float32', dims: [2, 2] }],
  outputs: [{ name: 'y', dtype: 'float32', dims: [2, 2] }],
});
const x = new ort.Tensor('float32', gaussian(random(9), 2 * H), [2, H]);

/** What reached onnxruntime-web's own `create`. */
const calls: unknown[][] = [];
/** The real module, whose `create` is watched. */
const watched = {
  ...ort,
  InferenceSession: class extends (ort.InferenceSession as never as new () => object) {
    static create(...args: unknown[]): Promise<ort.InferenceSession> {
      calls.push(args);
      return (ort.InferenceSession as never as { create(...args: unknown[]): Promise<ort.InferenceSession> }).create(
        ...args,
      );
    }
  },
};
const create = (...args: unknown[]): Promise<ort.InferenceSession> => watched.InferenceSession.create(...args);

let folder: string;
beforeAll(() => {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'warning';
  folder = mkdtempSync(join(tmpdir(), 'msd-takeover-'));
  // Whoever registers first: what runs inside must never come back to the create that MSD put there.
  register(watched as never as OrtModule);
  takeOver(watched as never as OrtModule);
  takeOver(watched as never as OrtModule);
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  calls.length = 0;
  vi.restoreAllMocks();
});

const quiet = { logSeverityLevel: 3 };

describe('sessions for the CPU', () => {
  it.each([
    ['no options', []],
    ['no provider', [quiet]],
    ['an empty list', [{ ...quiet, executionProviders: [] }]],
    ['wasm', [{ ...quiet, executionProviders: ['wasm'] }]],
    ['cpu', [{ ...quiet, executionProviders: ['cpu'] }]],
    ['an entry with options', [{ ...quiet, executionProviders: [{ name: 'wasm' }] }]],
  ])('are MSD’s: %s', async (_, rest) => {
    const session = await create(mixed, ...rest);
    expect(session).toBeInstanceOf(ort.InferenceSession);
    expect(reportOf(session)!.nodes.map(({ where }) => where)).toEqual(['msd', 'ort', 'msd']);
    expect((await session.run({ x })).y!.dims).toEqual([2, H]);
    await session.release();
    expect(reportOf(session)!.memory).toMatchObject({ packedBytes: 0, wasmBytes: 0 });
  });

  it('are made from whatever create takes', async () => {
    const path = join(folder, 'mixed.onnx');
    writeFileSync(path, mixed);
    const padded = new ArrayBuffer(mixed.byteLength + 5);
    new Uint8Array(padded, 3).set(mixed);
    const shared = new SharedArrayBuffer(mixed.byteLength);
    new Uint8Array(shared).set(mixed);
    const ways = [[path, quiet], [mixed.slice().buffer], [shared, quiet], [padded, 3, mixed.byteLength, quiet]];
    for (const args of ways) {
      const session = await create(...args);
      expect(reportOf(session)!.foreignRunsPerCall).toBe(1);
      await session.release();
    }
  });

  it('have the options of configure, under those of register and of the session', async () => {
    configure({ components: 1, kvCache: 'int8' });
    const bits = async (...rest: unknown[]): Promise<ort.TypedTensor<'float32'>['data']> => {
      const session = await create(mixed, ...rest);
      const { y } = await session.run({ x });
      await session.release();
      return y!.data as Float32Array;
    };
    const provider = (components: 1 | 2) => ({ ...quiet, executionProviders: [{ name: 'msd', components }] });
    const [one, two] = [await bits(provider(1)), await bits(provider(2))];
    expect(one).not.toEqual(two);
    expect(await bits()).toEqual(one);
    register(watched as never as OrtModule, { components: 2 });
    expect(await bits()).toEqual(two);
    register(watched as never as OrtModule, {});
    configure({ components: undefined, kvCache: undefined });
    expect(await bits()).toEqual(two);
  });
});

describe('what stays stock', () => {
  it('is a graph of one operator, with the arguments as they came', async () => {
    const session = await create(tiny, quiet);
    expect(calls).toEqual([[tiny, quiet]]);
    expect(calls[0]![1]).toBe(quiet);
    expect(reportOf(session)).toBeUndefined();
    await session.release();
  });

  it('is a model in which MSD would have no part, with the arguments as they came, and without a word', async () => {
    const [warn, info] = [vi.spyOn(console, 'warn'), vi.spyOn(console, 'info')];
    const session = await create(foreign, quiet);
    expect(calls.at(-1)).toEqual([foreign, quiet]);
    expect(reportOf(session)).toBeUndefined();
    await session.release();
    expect([warn, info].map((each) => each.mock.calls)).toEqual([[], []]);
  });

  it('says why where infos are wanted', async () => {
    ort.env.logLevel = 'info';
    const info = vi.spyOn(console, 'info').mockImplementation(() => {});
    const session = await create(foreign, quiet);
    ort.env.logLevel = 'warning';
    await session.release();
    expect(info.mock.calls).toEqual([
      ['msd: a model is left to ONNX Runtime, which runs all of it: no product with weights of the file'],
    ]);
  });

  it.each([
    ['webgpu', ['webgpu']],
    ['a mixed list', ['webgpu', 'wasm']],
    ['an entry', [{ name: 'webnn', deviceType: 'cpu' }]],
    ['no list', 'wasm'],
  ])('is what names another provider: %s', async (_, executionProviders) => {
    const options = { ...quiet, executionProviders };
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const session = await create(mixed, options).catch((error: unknown) => error as Error);
    expect(calls).toEqual([[mixed, options]]);
    expect(calls[0]![1]).toBe(options);
    if (session instanceof Error) return;
    expect(reportOf(session)).toBeUndefined();
    await session.release();
  });

  it.each([
    ['no model', []],
    ['another kind of model', [7, quiet]],
    ['options of another kind', [mixed, 'fast']],
    ['numbers beside bytes', [mixed, 3]],
    ['a part beyond the buffer', [mixed.slice().buffer, 3, mixed.byteLength]],
    ['too many arguments', [mixed, quiet, quiet]],
  ])('is what ONNX Runtime refuses, in its own words: %s', async (_, args) => {
    const own = ort.InferenceSession as never as { create(...args: unknown[]): Promise<object> };
    const want = await own.create(...args).then(String, String);
    expect(await create(...args).then(String, String)).toBe(want);
    expect(calls).toEqual([args]);
  });

  it('is a model that MSD cannot load: one warning, however often', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const options = { ...quiet, enableGraphCapture: true };
    for (let i = 0; i < 2; i++) {
      const session = await create(mixed, options);
      expect(calls.at(-1)).toEqual([mixed, options]);
      expect(reportOf(session)).toBeUndefined();
      await session.release();
    }
    expect(warn.mock.calls).toEqual([
      [
        "msd: a model is left to ONNX Runtime, MSD could not load it: msd: option 'enableGraphCapture' is not supported.",
      ],
    ]);
  });

  it('is bytes that are no model: ONNX Runtime’s error, no warning', async () => {
    const warn = vi.spyOn(console, 'warn');
    const bytes = new Uint8Array(5000).fill(0xff);
    await expect(create(bytes, quiet)).rejects.toThrow(/protobuf|model/i);
    expect(warn).not.toHaveBeenCalled();
  });

  it('is nothing that was stopped', async () => {
    const signal = AbortSignal.abort();
    await expect(create(mixed, { ...quiet, signal })).rejects.toBeInstanceOf(AbortError);
    expect(calls).toHaveLength(1);
  });
});

describe('sessions that name MSD', () => {
  it('are made as before', async () => {
    const session = await create(matmulModel(a, ['rows']), { ...quiet, executionProviders: ['msd'] });
    expect(reportOf(session)!.foreignSessions).toBe(0);
    await session.release();
  });

  it('say by console.warn that MSD has no part in them, why, and what to do', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const options = { ...quiet, executionProviders: ['msd'] };
    for (const logLevel of ['error', 'warning'] as const) {
      ort.env.logLevel = logLevel;
      const session = await create(foreign, options);
      await session.run({ x: new ort.Tensor('float32', new Float32Array(100 * H), [100, H]) });
      expect(reportOf(session)!.whole).toBe('no product with weights of the file');
      await session.release();
    }
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0]![0]).toMatch(
      /^msd: nothing of this model runs in MSD, .* no product with weights of the file\. .*q4, q8 or int8/,
    );
  });
});
