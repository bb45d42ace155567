/** `@msd/onnx/worker` on node:worker_threads, against a session on this side. */
import { Worker } from 'node:worker_threads';
import { BackendUnavailableError, UnsupportedError } from '@msd/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AbortError, OnnxFormatError, ReadError, SessionStateError } from '../src/errors.ts';
import { explain, formatReport, reportOf } from '../src/register.ts';
import {
  createSession,
  type WorkerSession,
  type WorkerSessionOptions,
  type WorkerTensor,
} from '../src/worker/index.ts';
import { receivedError, sentData, sentError } from '../src/worker/messages.ts';
import { feedsOf, groupQueryModel } from './attention/group-query.ts';
import { serveFiles } from './file-server.ts';
import { gaussian, makeMatrix, matmulModel, random } from './models.ts';
import { floats, type ort, session, tensor } from './ort.ts';

const K = 64;
const bytes = matmulModel(makeMatrix({ N: 32, K, seed: 4 }), ['rows']);
const x = tensor(gaussian(random(3), 5 * K), [5, K]);

// The default is the script beside it, which is there once it is compiled: scripts/outside-app.mjs runs that.
const worker = () => new Worker(new URL('../src/worker/thread.ts', import.meta.url));
const create = (model: Parameters<typeof createSession>[0], options: WorkerSessionOptions = {}) =>
  createSession(model, { worker, ...options });

let far: WorkerSession;
let near: ort.InferenceSession;
beforeAll(async () => {
  [far, near] = await Promise.all([create(bytes), session(bytes)]);
});
afterAll(() => Promise.all([far.release(), near.release()]));

describe('a session in a Worker', () => {
  it('says what it is, as one on this side', () => {
    expect(far.inputNames).toEqual(near.inputNames);
    expect(far.outputNames).toEqual(near.outputNames);
    expect(far.inputMetadata).toEqual(near.inputMetadata);
    expect(far.outputMetadata).toEqual(near.outputMetadata);
    expect(formatReport(far.report!)).toMatch(/msd +com.microsoft.MatMulNBits/);
    expect(reportOf(far)).toBe(far.report);
  });

  it('computes the same bits, whatever it is fed', async () => {
    const want = floats((await near.run({ x })).y);
    const plain = { type: 'float32', dims: [5, K], data: floats(x) };
    const part = new Float32Array(6 * K);
    part.set(floats(x), K);
    const shared = new Float32Array(new SharedArrayBuffer(4 * 5 * K));
    shared.set(floats(x));
    for (const fed of [x, plain, { ...plain, data: part.subarray(K) }, { ...plain, data: shared }]) {
      const { y } = await far.run({ x: fed });
      expect(y!.location).toBe('cpu');
      expect([y!.type, y!.dims, y!.size]).toEqual(['float32', [5, 32], 160]);
      expect(y!.data).toEqual(want);
      expect(await y!.getData()).toBe(y!.data);
      expect(fed.data.length).toBe(5 * K);
    }
    const both = await Promise.all([far.run({ x }), far.run({ x: plain }, ['y'])]);
    for (const { y } of both) expect(y!.data).toEqual(want);
  });

  it('says what runs were expected to take, as one on this side', async () => {
    await far.run({ x });
    const report = (await explain(far))!;
    expect(far.report).toBe(report);
    expect(report.expected!.milliseconds).toBeGreaterThan(0);
    expect(report.expected!.measuredMilliseconds).toBe(report.lastRunMilliseconds);
    expect(formatReport(report)).toMatch(/^last run: expected /m);
  });

  it('is fed with what it gave', async () => {
    const { y } = await far.run({ x });
    const again = { type: 'float32', dims: [5, K], data: gaussian(random(8), 5 * K) };
    await expect(far.run({ x: y! })).rejects.toThrow(RangeError);
    expect((await far.run({ x: again })).y!.dims).toEqual([5, 32]);
    y!.dispose();
    expect(y!.location).toBe('none');
    expect(() => y!.data).toThrow(/it was disposed/);
  });

  it('takes arrays away where it may, and copies otherwise', async () => {
    const data = floats(x).slice();
    const part = new Float32Array(6 * K);
    const y = tensor(new Float32Array(160), [5, 32]);
    const want = floats((await near.run({ x })).y);
    expect(
      (await far.run({ x: { ...x, type: 'float32', dims: [5, K], data } }, { y }, { transfer: true })).y!.data,
    ).toBe(y.data);
    expect(floats(y)).toEqual(want);
    expect(data.byteLength).toBe(0);
    await far.run({ x: { type: 'float32', dims: [5, K], data: part.subarray(K) } }, { transfer: true });
    expect(part.length).toBe(6 * K);
    const model = bytes.slice();
    const moved = await create(model, { transfer: true });
    expect(model.byteLength).toBe(0);
    expect((await moved.run({ x })).y!.data).toEqual(want);
    await moved.release();
  });

  it('leaves this side free', async () => {
    const slow = await create(matmulModel(makeMatrix({ N: 512, K: 512, seed: 2 }), ['rows']));
    const big = tensor(gaussian(random(6), 400 * 512), [400, 512]);
    let done = false;
    const run = slow.run({ x: big }).then(() => {
      done = true;
    });
    let turns = 0;
    while (!done) {
      await new Promise((next) => setImmediate(next));
      turns++;
    }
    await run;
    expect(turns).toBeGreaterThan(1);
    await slow.release();
  });

  it('tells how creation goes, and what its options say', async () => {
    const phases: string[] = [];
    const onProgress = ({ phase }: { phase: string }) => phases.push(phase);
    const one = await create(bytes, { executionProviders: [{ name: 'msd', components: 1, onProgress }] });
    expect(phases.at(-1)).toBe('ready');
    expect((await one.run({ x })).y!.data).not.toEqual((await far.run({ x })).y!.data);
    await one.release();
    const thrown = new Error('stop it');
    const stop = () => {
      throw thrown;
    };
    await expect(create(bytes, { executionProviders: [{ name: 'msd', onProgress: stop }] })).rejects.toBe(thrown);
    const stock = await create(bytes, { executionProviders: ['wasm'] });
    expect(stock.report).toBeUndefined();
    expect(reportOf(stock)).toBeUndefined();
    await stock.release();
  });

  it('reports as of the first run, when it is asked, and after the end', async () => {
    const own = await create(bytes);
    await own.run({ x });
    expect(own.report!.bytesCopiedPerCall.intoMsd).toBeGreaterThan(0);
    own.startProfiling();
    await own.run({ x });
    await own.endProfiling();
    expect(own.report!.profile!.length).toBeGreaterThan(0);
    expect((await own.refreshReport())!.memory.wasmBytes).toBeGreaterThan(0);
    await Promise.all([own.release(), own.release()]);
    expect(own.report!.memory.wasmBytes).toBe(0);
    await expect(own.run({ x })).rejects.toThrow(SessionStateError);
    await expect(own.refreshReport()).rejects.toThrow(SessionStateError);
  });

  it('reads a URL', async () => {
    const { base, close } = await serveFiles({ '/model.onnx': bytes });
    const own = await create(`${base}/model.onnx`);
    expect((await own.run({ x })).y!.dims).toEqual([5, 32]);
    await own.release();
    await expect(create(`${base}/none.onnx`)).rejects.toThrow(ReadError);
    await close();
  });
});

describe('keys and values', () => {
  const model = groupQueryModel({});
  const ROUNDS = [
    { rows: 7, total: 7 },
    { rows: 1, total: 8 },
    { rows: 3, total: 11 },
  ];
  const names = { present_key: 'past_key', present_value: 'past_value' } as const;

  it('stay with the Worker, and are fed again as they are', async () => {
    const options = { executionProviders: [{ name: 'msd', claim: 'all' }] } as const;
    const [own, here] = [await create(model, options), await session(model, { name: 'msd', claim: 'all' })];
    expect(own.outputNames).toEqual(expect.arrayContaining(Object.keys(names)));
    let [past, pastHere]: [Record<string, WorkerTensor>, Record<string, ort.Tensor>] = [{}, {}];
    for (const { rows, total } of ROUNDS) {
      const round = { rows, ends: [total], total, seed: total };
      const feeds = feedsOf({}, round, pastHere);
      const want = await here.run(feeds);
      const got = await own.run({ ...feeds, ...past });
      for (const [name, value] of Object.entries(want)) {
        const { location } = got[name]!;
        expect(location).toBe(name.startsWith('present') ? 'worker' : 'cpu');
        expect(await got[name]!.getData()).toEqual(value.data);
      }
      past = Object.fromEntries(Object.entries(names).map(([from, to]) => [to, got[from]!]));
      pastHere = Object.fromEntries(Object.entries(names).map(([from, to]) => [to, want[from]!]));
    }
    const { past_key: key } = past;
    expect(() => key!.data).toThrow(/got location 'worker': await tensor.getData\(\)/);
    await expect(far.run({ x: key! })).rejects.toThrow(/another session's Worker keeps/);
    const data = await key!.getData(true);
    expect([key!.location, key!.data]).toEqual(['cpu', data]);
    past.past_value!.dispose();
    past.past_value!.dispose();
    expect(past.past_value!.location).toBe('none');
    await Promise.all([own.release(), here.release()]);
  });

  it('come over where the caller wants them', async () => {
    const own = await create(model, { keep: [] });
    const { present_key: key } = await own.run(feedsOf({}, { rows: 2, ends: [2], total: 2, seed: 1 }, {}));
    expect(key!.location).toBe('cpu');
    await own.release();
  });
});

describe('errors', () => {
  it('keep their classes', async () => {
    await expect(create(new Uint8Array(100).fill(255))).rejects.toThrow(OnnxFormatError);
    await expect(create('/no/such/model.onnx')).rejects.toMatchObject({ name: 'ReadError', code: 'ENOENT' });
    const fallback = ['webgpu'] as never;
    await expect(create(bytes, { executionProviders: [{ name: 'msd', fallback }] })).rejects.toThrow(UnsupportedError);
    await expect(far.run({ x: null as never })).rejects.toThrow(/feed 'x', expected a tensor, got null/);
    await expect(far.run({ x: 3 as never })).rejects.toThrow(TypeError);
    await expect(far.run({})).rejects.toThrow(/x/);
    const small = { type: 'float32', dims: [1], data: new Float32Array(1) };
    await expect(far.run({ x }, { y: small })).rejects.toThrow(
      /expected a tensor of float32 \[5, 32\] to fill, got float32 \[1\]/,
    );
  });

  it('of what was stopped have its reason', async () => {
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    await expect(create(bytes, { signal })).rejects.toMatchObject({ name: 'AbortError', cause: reason });
    await expect(far.run({ x }, { signal })).rejects.toBeInstanceOf(AbortError);
    await expect(far.run({ x }, { signal: 3 as never })).rejects.toThrow(/expected an AbortSignal/);
    const later = new AbortController();
    const run = far.run({ x: tensor(new Float32Array(100_000 * K), [100_000, K]) }, { signal: later.signal });
    later.abort(reason);
    await expect(run).rejects.toMatchObject({ name: 'AbortError', cause: reason });
    expect((await far.run({ x })).y!.size).toBe(160);
  });

  it('say that a Worker is gone', async () => {
    const nowhere = () => new Worker(new URL('./no-such-file.ts', import.meta.url));
    await expect(createSession(bytes, { worker: nowhere })).rejects.toThrow(BackendUnavailableError);
    const [ended] = [worker()];
    const own = await createSession(bytes, { worker: () => ended });
    const run = own.run({ x: tensor(new Float32Array(4000 * K), [4000, K]) });
    await ended.terminate();
    await expect(run).rejects.toThrow(/expected it to run, got its end: it exited with code 1/);
    await expect(own.run({ x })).rejects.toThrow(BackendUnavailableError);
  });

  it('go over with their causes, as far as these lead anywhere', () => {
    const round: Error & { cause?: unknown } = new Error('round');
    round.cause = round;
    expect(receivedError(sentError(round)).cause).toMatchObject({ message: 'round' });
    const odd = receivedError(sentError(Object.assign(new Error('odd'), { name: 'OddError', code: 'ODD' })));
    expect(odd).toMatchObject({ name: 'OddError', message: 'odd', code: 'ODD' });
    expect(receivedError(sentError('text')).message).toBe('text');
    expect(receivedError(sentError(null)).message).toBe('null');
  });

  it('are no reason to lose strings', () => {
    const moved = new Set<ArrayBuffer>();
    expect(sentData(['a', 'b'], true, moved)).toEqual(['a', 'b']);
    expect(moved.size).toBe(0);
  });
});
