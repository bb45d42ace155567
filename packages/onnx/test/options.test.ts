/** Options mean what they mean in ONNX Runtime, also for models that it never sees; runs and creations can be stopped. */
import { describe, expect, it, vi } from 'vitest';
import { AbortError } from '../src/errors.ts';
import { createAtSomeLevel } from '../src/execute/level.ts';
import type { OrtBackend, OrtModule, OrtSession } from '../src/ort.ts';
import { type LoadProgress, register, reportOf } from '../src/register.ts';
import { feedsOf, groupQueryModel } from './attention/group-query.ts';
import { gaussian, makeMatrix, matmulModel, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const H = 64;
const a = makeMatrix({ name: 'a', N: H, K: H, seed: 4 });
const b = makeMatrix({ name: 'b', N: H, K: H, seed: 5 });
const io = {
  inputs: [{ name: 'x', dtype: 'float32' as const, dims: ['rows', H] }],
  outputs: [{ name: 'y', dtype: 'float32' as const, dims: ['rows', H] }],
};
const claimed = matmulModel(a, ['rows']);
const cut = model({
  nodes: [{ opType: 'Selu', inputs: ['x'], outputs: ['s'] }, a.node('s', 'p'), b.node('p', 'y')],
  initializers: [...a.initializers, ...b.initializers],
  ...io,
});
const whole = model({ nodes: [{ opType: 'Selu', inputs: ['x'], outputs: ['y'] }], ...io });
const kinds: [string, Uint8Array][] = [
  ['claimed', claimed],
  ['cut', cut],
  ['whole', whole],
];
const rows = (count: number): { x: ort.Tensor } => ({ x: tensor(gaussian(random(9), count * H), [count, H]) });
const run = (s: ort.InferenceSession, options: object, feeds: object = rows(1)) =>
  s.run(feeds as never, options as never);
const create = (bytes: Uint8Array, options: object = {}): Promise<ort.InferenceSession> =>
  session(bytes, bytes === whole ? 'msd' : { name: 'msd', claim: 'all' }, options);

describe.each(kinds)('a model that is %s', (_, bytes) => {
  it.each<[string, object, string]>([
    ['a level', { graphOptimizationLevel: 'turbo' }, 'unsupported graph optimization level'],
    ['a mode', { executionMode: 'fast' }, 'unsupported execution mode'],
    ['a severity', { logSeverityLevel: 9 }, 'log severity level is not valid'],
    ['a severity in words', { logSeverityLevel: 'warning' }, 'log severity level is not valid'],
    ['a verbosity', { logVerbosityLevel: -1 }, 'log verbosity level is not valid'],
    ['graph capture', { enableGraphCapture: 1 }, 'enableGraphCapture must be a boolean value'],
    ['an override', { freeDimensionOverrides: { rows: -1 } }, 'must be a non-negative integer'],
    ['half an override', { freeDimensionOverrides: { rows: 1.5 } }, 'must be a non-negative integer'],
    ['extra', { extra: { a: () => 1 } }, "option 'extra'"],
    ['extra with nothing', { extra: { a: null } }, "option 'extra'"],
    ['external data', { externalData: 5 }, "option 'externalData'"],
    ['external data of nothing', { externalData: [null] }, 'expected { path, data } as entry 0'],
    ['external data without a name', { externalData: [{ path: 5, data: 'w' }] }, 'expected { path, data } as entry 0'],
  ])('refuses what ONNX Runtime refuses: %s', async (_, options, message) => {
    await expect(create(bytes, options)).rejects.toThrow(message);
    await expect(session(bytes, 'wasm', options)).rejects.toThrow();
  });

  it('refuses options of MSD beside the provider, where they would do nothing', async () => {
    await expect(create(bytes, { components: 1 })).rejects.toThrow(
      "create: option 'components', expected in executionProviders: [{ name: 'msd', components: … }], got it beside them.",
    );
    await expect(session(bytes, { name: 'msd', components: '1' } as never)).rejects.toThrow(
      "msd: option 'components', expected 1 or 2, got '1'.",
    );
  });

  it('takes what ONNX Runtime takes', async () => {
    const expected = floats((await run(await create(bytes), {})).y);
    for (const options of [
      ...['disabled', 'basic', 'extended', 'layout', 'all', null].map((level) => ({ graphOptimizationLevel: level })),
      { executionMode: 'parallel' },
      { preferredOutputLocation: 'cpu' },
      { preferredOutputLocation: { y: 'cpu', other: 'gpu-buffer' } },
      { enableCpuMemArena: false, enableMemPattern: false, interOpNumThreads: 1, intraOpNumThreads: 1 },
      { extra: { session: { set_denormal_as_zero: '1', a: { b: 1, c: true } } }, logId: 'me', logVerbosityLevel: 1 },
      { freeDimensionOverrides: { unknown: 3 } },
    ]) {
      const s = await create(bytes, options);
      const y = floats((await run(s, { tag: 'a', logSeverityLevel: 3, logVerbosityLevel: 0, extra: { a: 1 } })).y);
      expect(Math.max(...y.map((value, i) => Math.abs(value - expected[i]!)))).toBeLessThan(1e-5);
      await s.release();
    }
  });

  it('leaves the caller’s options as they are, frozen ones too', async () => {
    const s = await create(bytes, Object.freeze({ logSeverityLevel: 3 }));
    await run(s, Object.freeze({ tag: 'a' }));
    await s.release();
  });

  it('knows sizes that dimensions are given', async () => {
    const options = { freeDimensionOverrides: { rows: 2 } };
    const [own, plain] = [await create(bytes, options), await session(bytes, 'wasm', options)];
    expect(own.inputMetadata).toEqual(plain.inputMetadata);
    expect(own.outputMetadata).toEqual(plain.outputMetadata);
    for (const s of [own, plain]) {
      expect((await run(s, {}, rows(2))).y!.dims).toEqual([2, H]);
      await expect(run(s, {}, rows(3))).rejects.toThrow();
      await s.release();
    }
  });

  it.each<[string, object, RegExp, string]>([
    ['a severity', { logSeverityLevel: 9 }, /log severity level is not valid/, 'RangeError'],
    ['a verbosity in words', { logVerbosityLevel: 'a' }, /log verbosity level is not valid/, 'RangeError'],
    ['extra', { extra: { a: null } }, /option 'extra'/, 'TypeError'],
    ['a signal that is none', { signal: 5 }, /expected an AbortSignal, got number/, 'TypeError'],
    ['what is terminated', { terminate: true }, /`terminate`/, 'AbortError'],
    ['what is stopped', { signal: AbortSignal.abort('why') }, /stopped by its AbortSignal/, 'AbortError'],
  ])('refuses to run with %s, and goes on', async (_, options, message, name) => {
    const s = await create(bytes);
    const refused = run(s, options);
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toMatchObject({ name });
    expect((await run(s, {})).y!.dims).toEqual([1, H]);
    await s.release();
  });

  it('stops runs that wait, and those after them are served', async () => {
    const s = await create(bytes);
    const expected = floats((await run(s, {})).y);
    const stop = new AbortController();
    const results = [run(s, {}), run(s, { signal: stop.signal }), run(s, { signal: stop.signal }), run(s, {})];
    stop.abort(new Error('enough'));
    const settled = await Promise.allSettled(results);
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
    const { reason } = settled[1] as PromiseRejectedResult;
    expect(reason).toBeInstanceOf(AbortError);
    expect((reason as Error).cause).toMatchObject({ message: 'enough' });
    expect(floats((settled[3] as PromiseFulfilledResult<{ y: ort.Tensor }>).value.y)).toEqual(expected);
    await s.release();
  });

  it('is not created once its signal is aborted', async () => {
    const before = create(bytes, { signal: AbortSignal.abort() });
    await expect(before).rejects.toBeInstanceOf(AbortError);
    const stop = new AbortController();
    const during = create(bytes, { signal: stop.signal });
    stop.abort();
    await expect(during).rejects.toBeInstanceOf(AbortError);
    await (await create(bytes, { signal: new AbortController().signal })).release();
  });

  it('tells how far its creation is', async () => {
    const told: LoadProgress[] = [];
    const s = await session(bytes, { name: 'msd', onProgress: (progress: LoadProgress) => told.push(progress) });
    const phases = told.map(({ phase }) => phase);
    expect(phases.at(-1)).toBe('ready');
    expect(phases.includes('start')).toBe(bytes !== claimed);
    const pack = told.filter(({ phase }) => phase === 'pack');
    if (bytes === claimed) {
      expect(pack[0]).toMatchObject({ loadedBytes: 0, totalBytes: reportOf(s)!.weights.fileBytes });
      expect(pack[0]!.memory!.packedBytes).toBeGreaterThanOrEqual(reportOf(s)!.weights.packedBytes);
      expect(pack.at(-1)!.loadedBytes).toBe(pack[0]!.totalBytes);
    }
    await s.release();
    const thrown = session(bytes, {
      name: 'msd',
      onProgress: () => {
        throw new Error('from the caller');
      },
    });
    await expect(thrown).rejects.toThrow('from the caller');
  });
});

const TYPES: Record<string, 'bool' | 'int64'> = { larger: 'bool', sizes: 'int64' };

it('says of outputs what ONNX Runtime says, declared or not', async () => {
  const nodes = [
    { opType: 'Selu', inputs: ['x'], outputs: ['s'] },
    a.node('s', 'p'),
    { opType: 'Shape', inputs: ['p'], outputs: ['sizes'] },
    { opType: 'Greater', inputs: ['p', 's'], outputs: ['larger'] },
  ];
  for (const dims of [undefined, ['a', 'b'], [null, H]]) {
    const outputs = ['p', 's', 'larger', 'sizes'].map((name) => {
      const dtype = TYPES[name] ?? 'float32';
      return name === 'sizes' || !dims ? { name, dtype } : { name, dtype, dims };
    });
    const bytes = model({ nodes, initializers: a.initializers, inputs: io.inputs, outputs });
    for (const options of [{}, { freeDimensionOverrides: { rows: 3 } }]) {
      const [own, plain] = [await create(bytes, options), await session(bytes, 'wasm', options)];
      expect(reportOf(own)!.whole).toBeUndefined();
      expect(own.outputMetadata).toEqual(plain.outputMetadata);
      await own.release();
      await plain.release();
    }
  }
});

it('stops a run between its steps: by a signal, and by `terminate`', async () => {
  const layers = 40;
  const wide = makeMatrix({ name: 'w', N: 512, K: 512, seed: 4 });
  const nodes = Array.from({ length: layers }, (_, i) =>
    wide.node(i ? `h${i}` : 'x', i + 1 < layers ? `h${i + 1}` : 'y'),
  );
  const s = await session(
    model({
      nodes,
      initializers: wide.initializers,
      inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', 512] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['rows', 512] }],
    }),
    { name: 'msd', threads: 1 },
  );
  expect(reportOf(s)!.foreignRunsPerCall).toBe(0);
  const feeds = { x: tensor(gaussian(random(3), 512 * 512), [512, 512]) };
  const first = await run(s, { signal: new AbortController().signal }, feeds);
  expect(floats(first.y)).toEqual(floats((await run(s, {}, feeds)).y));
  const stop = new AbortController();
  const stopped = run(s, { signal: stop.signal }, feeds);
  setTimeout(() => stop.abort(), 1);
  await expect(stopped).rejects.toBeInstanceOf(AbortError);
  const options = { terminate: false };
  const terminated = run(s, options, feeds);
  setTimeout(() => Object.assign(options, { terminate: true }), 1);
  await expect(terminated).rejects.toMatchObject({ name: 'AbortError' });
  expect(floats((await run(s, {}, feeds)).y)).toEqual(floats(first.y));
  await s.release();
});

it('says what a token adds to its caches', async () => {
  const told: LoadProgress[] = [];
  for (const kvCache of ['int16', 'int8', 'model'])
    await (
      await session(groupQueryModel({}), {
        name: 'msd',
        claim: 'all',
        kvCache,
        onProgress: (progress: LoadProgress) => told.push(progress),
      })
    ).release();
  const bytes = told.filter(({ phase, loadedBytes }) => phase === 'ready' && loadedBytes === 0);
  const [int16, int8, floats32] = bytes.map(({ memory }) => memory!.kvBytesPerToken);
  const { past_key } = feedsOf({}, { rows: 1, ends: [1], total: 1, seed: 1 }, {}) as Record<string, ort.Tensor>;
  const perToken = 2 * (past_key?.dims[1] ?? 2) * (past_key?.dims[3] ?? 32);
  expect([int16, int8, floats32]).toEqual([2 * perToken, perToken, 4 * perToken]);
});

describe('the report of a model that runs whole', () => {
  it('says of each node why', async () => {
    const nodes = [
      { opType: 'Relu', name: 'takable', inputs: ['x'], outputs: ['r'] },
      { opType: 'Selu', name: 'unknown', inputs: ['r'], outputs: ['y'] },
    ];
    const s = await session(model({ nodes, ...io }), 'msd');
    const report = reportOf(s)!;
    await s.release();
    expect(report.nodes.map(({ name, where, reason }) => [name, where, reason])).toEqual([
      ['takable', 'ort', `the model runs whole: ${report.whole}`],
      ['unknown', 'ort', 'op is not claimed by this version'],
    ]);
  });
});

describe('profiles', () => {
  it('have MSD’s steps and the runs of ONNX Runtime, in the form of Chrome’s traces', async () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => {});
    const s = await create(cut, { enableProfiling: true });
    await run(s, {});
    await run(s, {});
    s.endProfiling();
    await run(s, {});
    const report = reportOf(s)!;
    const texts = log.mock.calls.map(([text]) => String(text));
    log.mockRestore();
    const printed = JSON.parse(texts.find((text) => text.includes('"provider":"MSD"'))!) as object[];
    expect(printed).toEqual(report.profile);
    const names = report.profile!.map(({ name }) => name);
    expect(names[0]).toBe('session_initialization');
    for (const name of ['model_run', 'ort_region_0', 'msd_region_1', 'a/MatMul_Q4_kernel_time'])
      expect(names.filter((each) => each === name).length).toBeGreaterThanOrEqual(2);
    expect(names.filter((name) => name === 'model_run').length).toBe(2);
    for (const { ph, pid, ts, dur } of report.profile!) {
      expect([ph, pid, Number.isInteger(ts), Number.isInteger(dur)]).toEqual(['X', 42, true, true]);
      expect(Math.min(ts, dur)).toBeGreaterThanOrEqual(0);
    }
    await s.release();
  });

  it('begin when they are asked to, and end with the session', async () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => {});
    const s = await create(claimed);
    await run(s, {});
    s.startProfiling();
    await run(s, {});
    await s.release();
    expect(reportOf(s)!.profile!.filter(({ name }) => name === 'model_run').length).toBe(1);
    expect(log).toHaveBeenCalledTimes(1);
    log.mockRestore();
  });
});

describe('a model that ONNX Runtime refuses at a level', () => {
  /** A module whose `create` takes no level above one. */
  function picky(level: string): OrtBackend {
    let backend: OrtBackend | undefined;
    const levels = ['disabled', 'basic', 'extended', 'layout', 'all'];
    const other = {
      ...ort,
      InferenceSession: {
        create: async (bytes: Uint8Array, options: { graphOptimizationLevel?: string }) => {
          const asked = options.graphOptimizationLevel ?? 'all';
          if (levels.indexOf(asked) > levels.indexOf(level))
            throw new Error("Can't create a session. ERROR_CODE: 9, ERROR_MESSAGE: no kernel for what was fused");
          return ort.InferenceSession.create(bytes, options as ort.InferenceSession.SessionOptions);
        },
      },
      registerBackend: (_: string, made: OrtBackend) => {
        backend = made;
      },
    };
    register(other as unknown as OrtModule);
    return backend!;
  }

  it.each([
    ['whole', whole, 'basic'],
    ['whole', whole, 'disabled'],
    ['cut', cut, 'basic'],
  ])('is created at a lower one, %s, and the report says so', async (_, bytes, level) => {
    const executionProviders = [{ name: 'msd', claim: bytes === cut ? 'all' : 'auto' }];
    const handler = await picky(level).createInferenceSessionHandler(bytes, {
      executionProviders,
      logSeverityLevel: 3,
    });
    expect(reportOf({ handler })!.graphOptimizationLevel).toBe(level);
    expect((await handler.run(rows(1) as never, { y: null }, {})).y!.dims).toEqual([1, H]);
    await handler.dispose();
  });

  it('is not tried again where no level helps', async () => {
    const tries: unknown[] = [];
    const refuse = (code: number) => (options: object) => {
      tries.push((options as { graphOptimizationLevel?: string }).graphOptimizationLevel);
      return Promise.reject<OrtSession>(new Error(`Can't create a session. ERROR_CODE: ${code}, ERROR_MESSAGE: …`));
    };
    await expect(createAtSomeLevel(ort, {}, refuse(7))).rejects.toThrow('ERROR_CODE: 7');
    await expect(createAtSomeLevel(ort, { graphOptimizationLevel: 'disabled' }, refuse(9))).rejects.toThrow();
    await expect(createAtSomeLevel(ort, { graphOptimizationLevel: 'extended' }, refuse(9))).rejects.toThrow();
    expect(tries).toEqual([undefined, 'disabled', 'extended', 'basic', 'disabled']);
  });
});
