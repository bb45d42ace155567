import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import vm from 'node:vm';
import { createWasmBackend, MAX_THREADS, UnsupportedError } from '@msd/core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ForeignRunError, OnnxFormatError, SessionStateError } from '../src/errors.ts';
import { resolveOptions } from '../src/execute/options.ts';
import { InferenceSession, type MsdSession, register as registerAgain, Tensor } from '../src/index.ts';
import { log } from '../src/log.ts';
import type { OrtBackend, OrtModule } from '../src/ort.ts';
import { configure, formatReport, register, reportOf } from '../src/register.ts';
import type { TensorSpec } from '../src/write/index.ts';
import { Message } from '../src/write/message.ts';
import { relativeL2 } from './close.ts';
import { gaussian, makeMatrix, matmulModel, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const H = 64;
const a = makeMatrix({ name: 'a', N: H, K: H, seed: 4 });
const b = makeMatrix({ name: 'b', N: 32, K: H, seed: 5 });
/** softsign -> a -> mish -> b, with the mish as a second output: MSD has neither of the two. */
const mixed = model({
  nodes: [
    { opType: 'Selu', inputs: ['x'], outputs: ['r'] },
    a.node('r', 'p'),
    { opType: 'Mish', inputs: ['p'], outputs: ['s'] },
    b.node('s', 'y'),
  ],
  initializers: [...a.initializers, ...b.initializers],
  inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', H] }],
  outputs: [
    { name: 's', dtype: 'float32', dims: ['rows', H] },
    { name: 'y', dtype: 'float32', dims: ['rows', 32] },
  ],
});
const single = matmulModel(a, ['rows']);
const x = tensor(gaussian(random(9), 2 * H), [2, H]);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-session-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('session', () => {
  it('shows names and metadata', async () => {
    const s = await session(mixed);
    expect(s.inputNames).toEqual(['x']);
    expect(s.outputNames).toEqual(['s', 'y']);
    expect(s.inputMetadata).toEqual([{ name: 'x', isTensor: true, type: 'float32', shape: ['rows', H] }]);
    expect(s.outputMetadata[1]).toEqual({ name: 'y', isTensor: true, type: 'float32', shape: ['rows', 32] });
    await s.release();
  });

  it('gives the same bits from a path, bytes, a part of a buffer, and shared memory', async () => {
    const path = join(folder, 'mixed.onnx');
    writeFileSync(path, mixed);
    const shared = new SharedArrayBuffer(mixed.byteLength + 3);
    new Uint8Array(shared, 3).set(mixed);
    const executionProviders = ['msd'];
    const sessions = [
      await session(path),
      await session(`file://${path}`),
      await session(mixed),
      await ort.InferenceSession.create(mixed, { executionProviders: ['msd', 'wasm'] }),
      await ort.InferenceSession.create(shared, 3, mixed.byteLength, { executionProviders }),
    ];
    const results = [];
    for (const s of sessions) {
      const { y } = await s.run({ x });
      results.push(floats(y));
      await s.release();
    }
    for (const result of results) expect(result).toEqual(results[0]);
  });

  it('leaves a matrix whose scales it does not take to ONNX Runtime, and takes the others', async () => {
    const initializers = [...a.initializers, ...b.initializers].map((tensor) =>
      tensor.name === 'b_scales' ? { ...tensor, data: (tensor.data as Float32Array).with(7, 2 ** 90) } : tensor,
    );
    const s = await session(
      model({
        nodes: [a.node('x', 'p'), b.node('p', 'y')],
        initializers,
        inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', H] }],
        outputs: [
          { name: 'p', dtype: 'float32' },
          { name: 'y', dtype: 'float32' },
        ],
      }),
    );
    const [first, second] = reportOf(s)!.nodes;
    expect(first!.where).toBe('msd');
    expect(second).toMatchObject({ where: 'ort', reason: expect.stringMatching(/scale/) as string });
    await s.run({ x });
    await s.release();
  });

  it('lets the bytes go after create', async () => {
    const bytes = mixed.slice();
    const s = await session(bytes);
    const before = floats((await s.run({ x })).y).slice();
    bytes.fill(0);
    expect(floats((await s.run({ x })).y)).toEqual(before);
    await s.release();
  });

  it('knows words of attributes when the file is gone and a run has other sizes', async () => {
    const W = 8;
    const floatsOf = (name: string, dims: number[]): TensorSpec => ({
      name,
      dtype: 'float32',
      dims,
      data: gaussian(
        random(dims.length),
        dims.reduce((product, dim) => product * dim, 1),
      ),
    });
    const bytes = model({
      nodes: [
        { opType: 'Pad', inputs: ['x', 'pads'], outputs: ['p'], attributes: { mode: { string: 'reflect' } } },
        { opType: 'Conv', inputs: ['p', 'w'], outputs: ['c'], attributes: { auto_pad: { string: 'SAME_LOWER' } } },
        { opType: 'DequantizeLinear', inputs: ['codes', 'scale'], outputs: ['W'] },
        {
          opType: 'GRU',
          inputs: ['c', 'W', 'W'],
          outputs: ['y'],
          attributes: {
            hidden_size: { int: W },
            direction: { string: 'reverse' },
            activations: { strings: ['Sigmoid', 'Tanh'] },
          },
        },
      ],
      initializers: [
        floatsOf('w', [3, 3, 2]),
        floatsOf('scale', []),
        {
          name: 'codes',
          dtype: 'int8',
          dims: [1, 3 * W, W],
          data: new Int8Array(3 * W * W).map((_, i) => (i % 7) - 3),
        },
        { name: 'pads', dtype: 'int64', dims: [6], data: BigInt64Array.of(0n, 0n, 2n, 0n, 0n, 0n) },
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['n', 3, W - 2] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: [null, null, null, W] }],
    });
    const [plain, s] = [await session(bytes.slice(), 'wasm'), await session(bytes, { name: 'msd', claim: 'all' })];
    bytes.fill(0);
    for (const n of [1, 4, 2]) {
      const given = { x: tensor(gaussian(random(n), n * 3 * (W - 2)), [n, 3, W - 2]) };
      const [got, expected] = [floats((await s.run(given)).y), floats((await plain.run(given)).y)];
      expect(relativeL2(got, expected)).toBeLessThan(1e-3);
    }
    expect(reportOf(s)!.nodes.filter(({ where }) => where !== 'msd')).toEqual([]);
    for (const each of [s, plain]) await each.release();
  });

  it('reads external data beside a path, through the option, and for models that go whole', async () => {
    const external = (name: string, elemType: number, dims: number[], offset: number, length: number): Message => {
      const message = new Message().ints(1, dims).int(2, elemType).string(8, name).int(14, 1);
      for (const [key, value] of [
        ['location', 'w.data'],
        ['offset', `${offset}`],
        ['length', `${length}`],
      ]) {
        message.message(13, new Message().string(1, key!).string(2, value!));
      }
      return message;
    };
    const [data, scales] = a.initializers.map((each) => each.data as Uint8Array | Float32Array);
    const file = new Uint8Array(data!.byteLength + scales!.byteLength);
    file.set(data as Uint8Array);
    file.set(new Uint8Array(scales!.buffer), data!.byteLength);
    const initializers = [
      { encoded: external('a_Q', 2, [H, 2, 16], 0, data!.byteLength) },
      { encoded: external('a_scales', 1, [H, 2], data!.byteLength, scales!.byteLength) },
    ];
    const io = {
      inputs: [{ name: 'x', dtype: 'float32' as const, dims: ['rows', H] }],
      outputs: [{ name: 'y', dtype: 'float32' as const, dims: ['rows', null] }],
    };
    const claimed = model({ nodes: [a.node('x', 'y')], initializers, ...io });
    const node = { opType: 'Mul', inputs: ['x', 'row'], outputs: ['y'] };
    const row = { encoded: external('row', 1, [1, H], data!.byteLength, 4 * H) };
    const whole = model({ nodes: [node], initializers: [row], ...io });
    writeFileSync(join(folder, 'w.data'), file);
    writeFileSync(join(folder, 'claimed.onnx'), claimed);
    writeFileSync(join(folder, 'whole.onnx'), whole);
    const reference = await session(single);
    const expected = floats((await reference.run({ x })).y);
    const externalData = [{ path: 'w.data', data: file }];
    for (const s of [await session(join(folder, 'claimed.onnx')), await session(claimed, 'msd', { externalData })]) {
      expect(floats((await s.run({ x })).y)).toEqual(expected);
      await s.release();
    }
    for (const s of [await session(join(folder, 'whole.onnx')), await session(whole, 'msd', { externalData })]) {
      const { y } = await s.run({ x });
      expect(floats(y)[1]).toBeCloseTo(floats(x)[1]! * (scales as Float32Array)[1]!, 6);
      await s.release();
    }
    await reference.release();
  });

  it.each<[string, Record<string, ort.Tensor>, string]>([
    ['a wrong type', { x: new ort.Tensor('int32', new Int32Array(H), [1, H]) }, 'TypeError'],
    ['a wrong last dimension', { x: tensor(new Float32Array(63), [1, 63]) }, 'RangeError'],
    ['a wrong rank', { x: tensor(new Float32Array(H), [1, 1, H]) }, 'RangeError'],
    ['an extra feed', { x, z: x }, 'RangeError'],
    ['no feed', {}, 'Error'], // ONNX Runtime's own, before MSD is asked
  ])('refuses %s and works afterwards', async (_, feeds, errorName) => {
    for (const bytes of [mixed, single]) {
      const s = await session(bytes);
      const before = floats((await s.run({ x })).y);
      await expect(s.run(feeds)).rejects.toMatchObject({ name: errorName });
      expect(floats((await s.run({ x })).y)).toEqual(before);
      await s.release();
    }
  });

  it('checks a shape that only a run can know', async () => {
    const bytes = model({
      nodes: [{ opType: 'Reshape', inputs: ['x', 'shape'], outputs: ['r'] }, a.node('r', 'y')],
      initializers: a.initializers,
      inputs: [
        { name: 'x', dtype: 'float32', dims: ['n'] },
        { name: 'shape', dtype: 'int64', dims: [2] },
      ],
      outputs: [{ name: 'y', dtype: 'float32' }],
    });
    const s = await session(bytes);
    const shape = (...dims: bigint[]) => new ort.Tensor('int64', BigInt64Array.from(dims), [2]);
    const data = tensor(floats(x), [2 * H]);
    await expect(s.run({ x: data, shape: shape(4n, 32n) })).rejects.toThrow(
      "run: node 'a/MatMul_Q4' (MatMulNBits): A, expected [..., 64], got [4, 32].",
    );
    await expect(s.run({ x: data, shape: shape(3n, 64n) })).rejects.toThrow('expected 128 elements');
    expect((await s.run({ x: data, shape: shape(2n, 64n) })).y!.dims).toEqual([2, H]);
    await s.release();
  });

  it('computes only what is fetched', async () => {
    const s = await session(mixed);
    const { y } = await s.run({ x });
    const only = await s.run({ x }, ['s']);
    expect(Object.keys(only)).toEqual(['s']);
    expect(reportOf(s)!.bytesCopiedPerCall.outOfMsd).toBe(0); // a stayed in the arena, b did not run
    expect(floats((await s.run({ x }, ['y'])).y)).toEqual(floats(y));
    await expect(s.run({ x }, ['nothing'])).rejects.toThrow(RangeError);
    await s.release();
  });

  it('fills pre-allocated outputs', async () => {
    const s = await session(mixed);
    const expected = await s.run({ x });
    const targets = { y: tensor(new Float32Array(64), [2, 32]), s: tensor(new Float32Array(128), [2, H]) };
    const got = await s.run({ x }, targets);
    for (const name of ['y', 's'] as const) {
      expect(got[name]).toBe(targets[name]);
      expect(floats(targets[name])).toEqual(floats(expected[name]));
    }
    await expect(s.run({ x }, { y: tensor(new Float32Array(64), [4, 16]) })).rejects.toThrow(RangeError);
    await expect(s.run({ x }, { s: tensor(new Float32Array(64), [1, H]) })).rejects.toThrow(RangeError);
    expect(floats((await s.run({ x })).y)).toEqual(floats(expected.y));
    await s.release();
  });

  it('gives every run its own output memory', async () => {
    const s = await session(single);
    const { y: first } = await s.run({ x });
    const kept = floats(first).slice();
    await s.run({ x: tensor(new Float32Array(H).fill(1), [1, H]) });
    expect(floats(first)).toEqual(kept);
    await s.release();
  });

  it('serves concurrent runs one after the other', async () => {
    const s = await session(mixed);
    const inputs = Array.from({ length: 8 }, (_, i) => tensor(gaussian(random(i), H * (i + 1)), [i + 1, H]));
    const alone = [];
    for (const each of inputs) alone.push(floats((await s.run({ x: each })).y));
    const together = await Promise.all(inputs.map((each) => s.run({ x: each })));
    expect(together.map(({ y }) => floats(y))).toEqual(alone);
    await s.release();
  });

  it('release waits for runs, is idempotent, and ends the session', async () => {
    for (const bytes of [
      mixed,
      single,
      model({
        nodes: [{ opType: 'Relu', inputs: ['x'], outputs: ['y'] }],
        inputs: [{ name: 'x', dtype: 'float32' }],
        outputs: [{ name: 'y', dtype: 'float32' }],
      }),
    ]) {
      const s = await session(bytes);
      const running = s.run({ x });
      await Promise.all([s.release(), s.release()]);
      expect((await running).y).toBeDefined();
      await s.release();
      await expect(s.run({ x })).rejects.toBeInstanceOf(SessionStateError);
      expect(reportOf(s)!.memory.wasmBytes).toBe(0);
    }
  });

  it('holds nothing back from run to run', async () => {
    const s = await session(mixed);
    const sizes = [];
    for (let i = 0; i < 30; i++) {
      await s.run({ x });
      sizes.push(reportOf(s)!.memory.wasmBytes);
    }
    expect(new Set(sizes).size).toBe(1);
    await s.release();
  });
});

/** Of an int4 product of one row: the CPU decides, or MSD_CARRIER (test/carrier.ts). */
function kernelId(): RegExp {
  const forced = process.env.MSD_CARRIER;
  if (forced === 'i16') return /^gemm_i16_int4_f32_/;
  const canI8 = createWasmBackend().carriers.relaxedDot !== null;
  return forced === 'i8' && canI8 ? /^gemm_i8u?x2_int4_f32_/ : /^gemm_i(16|8u?x2)_int4_f32_/;
}

describe('report', () => {
  it('says what ran where, with which kernel, and why not', async () => {
    const s = await session(mixed);
    await s.run({ x });
    const report = (s as MsdSession).report!;
    expect(report).toEqual(reportOf(s));
    expect(report.nodes.map(({ opType, where, region }) => [opType, where, region])).toEqual([
      ['Selu', 'ort', 0],
      ['MatMulNBits', 'msd', 1],
      ['Mish', 'ort', 2],
      ['MatMulNBits', 'msd', 3],
    ]);
    expect(report.nodes[0]!.reason).toBe('op is not claimed by this version');
    expect(report.nodes[1]!.kernel).toMatch(kernelId());
    expect(report).toMatchObject({ foreignRunsPerCall: 2, foreignSessions: 2, ortVersion: '1.30.0' });
    const row = 2 * H * 4;
    expect(report.bytesCopiedPerCall).toEqual({
      intoOrt: 2 * row,
      outOfOrt: 2 * row,
      intoMsd: 2 * row,
      outOfMsd: row / 2,
    });
    expect(report.weights.packedBytes).toBeGreaterThanOrEqual(report.weights.fileBytes);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    const text = formatReport(report);
    expect(text).toContain('2  msd    com.microsoft.MatMulNBits  gemm_i');
    expect(text).toContain('foreign runs per call 2, sessions 2, ONNX Runtime 1.30.0');
    await s.release();
  });

  it('keeps memory to what is packed, listed scratch and a megabyte', async () => {
    const big = makeMatrix({ N: 1024, K: 1024 });
    const path = join(folder, 'big.onnx');
    writeFileSync(path, matmulModel(big, ['rows']));
    const s = await session(path);
    await s.run({ x: tensor(gaussian(random(1), 1024), [1, 1024]) });
    const { memory, weights } = reportOf(s)!;
    expect(weights.packedBytes / weights.fileBytes).toBeLessThanOrEqual(1.07);
    expect(memory.wasmBytes).toBeLessThanOrEqual(1.02 * memory.packedBytes + memory.scratchBytes + 1e6);
    await s.release();
  });
});

describe('register', () => {
  it('is idempotent, and lets defaults be replaced', async () => {
    register(ort);
    registerAgain(ort, { components: 1 });
    const coarse = await session(single);
    const fine = await session(single, { name: 'msd', components: 2 });
    registerAgain(ort, {});
    const restored = await session(single);
    const y = [];
    for (const s of [coarse, fine, restored]) {
      y.push(floats((await s.run({ x })).y));
      await s.release();
    }
    expect(y[0]).not.toEqual(y[1]);
    expect(y[2]).toEqual(y[1]);
  });

  it('refuses to mix with a copy that keeps other state', () => {
    const holder = globalThis as unknown as Record<symbol, { version: number }>;
    const key = Symbol.for('msd.backend');
    const kept = holder[key]!;
    holder[key] = { ...kept, version: 3 };
    expect(() => register(ort)).toThrow(UnsupportedError);
    holder[key] = kept;
    register(ort);
  });

  it('warns once about a version that was not tested', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    for (let i = 0; i < 2; i++) register({ ...ort, registerBackend: () => {}, env: { versions: { web: '9.9.9' } } });
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0]![0]).toContain('got 9.9.9');
    warn.mockRestore();
  });

  it.each<[string, object, new () => Error]>([
    ['an unknown option', { colour: 'red' }, TypeError],
    ['three components', { components: 3 }, RangeError],
    ['an activation block of 64', { activationBlock: 64 }, RangeError],
    ['a carrier of its own', { carrier: 'i4' }, RangeError],
    ['no threads', { threads: 0 }, RangeError],
    ['more threads than the pool can have', { threads: MAX_THREADS + 1 }, RangeError],
    ['threads in words', { threads: 'all' }, RangeError],
    ['a device of another version', { device: 'webgpu' }, UnsupportedError],
    ['a claim of its own', { claim: 'some' }, RangeError],
    ['another fallback', { fallback: ['webgpu'] }, UnsupportedError],
    ['a fallback that is no list', { fallback: 'wasm' }, TypeError],
    ['a debug that is no boolean', { debug: 1 }, TypeError],
  ])('refuses %s', async (_, options, type) => {
    await expect(session(single, { name: 'msd', ...options })).rejects.toBeInstanceOf(type);
    expect(() => register(ort, options)).toThrow(type);
  });

  it.each<[string, unknown]>([
    ['null', null],
    ['a number', 5],
    ['text', 'wasm'],
    ['an array', [{ components: 1 }]],
  ])('refuses %s as options', (_, options) => {
    expect(() => register(ort, options as never)).toThrow(/^register: options, expected an object/);
  });

  it('warns as loudly as env.logLevel allows', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const module = (logLevel: string) => ({
      ...ort,
      registerBackend: () => {},
      env: { versions: { web: '8.8.8' }, logLevel },
    });
    register(module('error'));
    expect(warn).not.toHaveBeenCalled();
    register(module('info'));
    expect(warn).toHaveBeenCalledTimes(1);
    warn.mockRestore();
    const info = vi.spyOn(console, 'info').mockImplementation(() => {});
    log({ ...ort, env: { logLevel: 'info' } } as never, 'info', 'hello');
    log({ ...ort, env: {} } as never, 'info', 'hello');
    expect(info.mock.calls).toEqual([['msd: hello']]);
    info.mockRestore();
  });

  it('refuses what a cut model cannot honour, and objects that are no module', async () => {
    await expect(session(single, 'msd', { preferredOutputLocation: 'gpu-buffer' })).rejects.toBeInstanceOf(
      UnsupportedError,
    );
    await expect(session(single, 'msd', { enableGraphCapture: true })).rejects.toBeInstanceOf(UnsupportedError);
    expect(() => register({} as OrtModule)).toThrow(TypeError);
  });

  it('throws typed errors for bytes that are no model', async () => {
    await expect(session(new Uint8Array(20).fill(7))).rejects.toBeInstanceOf(OnnxFormatError);
    await expect(session(join(folder, 'absent.onnx'))).rejects.toMatchObject({
      name: 'ReadError',
      code: 'ENOENT',
      message: expect.stringContaining('absent.onnx: expected a file that can be read, got none') as string,
    });
    await expect(session(folder)).rejects.toThrow(TypeError);
    const bad = model({
      nodes: [{ opType: 'NoSuchOp', inputs: ['x'], outputs: ['y'] }],
      inputs: [{ name: 'x', dtype: 'float32' }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    });
    await expect(session(bad)).rejects.toBeInstanceOf(ForeignRunError);
  });
});

describe('threads', () => {
  it('may be as many as the pool can have', () => {
    expect(resolveOptions({ threads: MAX_THREADS }).threads).toBe(MAX_THREADS);
  });

  const wide = matmulModel(makeMatrix({ name: 'wide', N: 512, K: 512, seed: 6 }), ['rows']);
  const rows = tensor(gaussian(random(3), 32 * 512), [32, 512]); // enough work to be shared

  it('give the bits of one, and stand in the report while the session lives', async () => {
    const results: Float32Array[] = [];
    for (const threads of [1, 2, 3]) {
      const s = await session(wide, { name: 'msd', threads });
      const report = reportOf(s)!;
      expect(report.threads).toEqual({ count: threads, requested: threads, warnings: [] });
      expect(formatReport(report)).toContain(`threads ${threads} of ${threads}`);
      for (let run = 0; run < 10; run++) results.push(floats((await s.run({ x: rows })).y).slice());
      await s.release();
      expect(reportOf(s)?.threads).toBeUndefined();
    }
    for (const result of results) expect(result).toEqual(results[0]);
  });

  it('are the same number in every session that leaves the choice to MSD', async () => {
    const sessions = [await session(wide), await session(wide, { name: 'msd', threads: 'auto' })];
    const reports = sessions.map((s) => reportOf(s)!.threads!);
    expect(reports[0]!.count).toBe(Math.min(4, availableParallelism()));
    expect(reports[1]).toEqual(reports[0]);
    for (const s of sessions) await s.release();
  });

  it('are what ONNX Runtime’s own option asks for, where MSD’s is left out', async () => {
    const countOf = async (entry: 'msd' | object, intraOpNumThreads: number): Promise<number> => {
      const options = { executionProviders: [entry], intraOpNumThreads } as ort.InferenceSession.SessionOptions;
      const s = await ort.InferenceSession.create(wide, options);
      const { count } = reportOf(s)!.threads!;
      await s.release();
      return count;
    };
    expect(await countOf('msd', 1)).toBe(1);
    expect(await countOf('msd', 3)).toBe(3);
    expect(await countOf('msd', 0)).toBe(Math.min(4, availableParallelism()));
    expect(await countOf({ name: 'msd', threads: 2 }, 1)).toBe(2);
    configure({ threads: 3 });
    expect(await countOf('msd', 1)).toBe(3);
    configure({ threads: undefined });
  });
});

describe('main entry', () => {
  it("is onnxruntime-web's surface with MSD as the default provider", async () => {
    expect(Tensor).toBe(ort.Tensor);
    const s = await InferenceSession.create(single);
    expect(s).toBeInstanceOf(InferenceSession);
    expect(s.report!.nodes[0]!.where).toBe('msd');
    const plain = await InferenceSession.create(single, { executionProviders: ['wasm'] });
    expect(plain.report).toBeUndefined();
    const padded = new Uint8Array(single.byteLength + 8);
    padded.set(single, 8);
    const part = await InferenceSession.create(padded.buffer, 8);
    const realm = vm.createContext({ values: [...padded] });
    const elsewhere = vm.runInContext('Uint8Array.from(values)', realm) as Uint8Array;
    expect(elsewhere).not.toBeInstanceOf(Uint8Array);
    const others = [
      await InferenceSession.create(elsewhere.subarray(8)),
      await InferenceSession.create(elsewhere.buffer, 8),
      await InferenceSession.create(elsewhere.buffer, 8, single.byteLength),
    ];
    const results = [];
    for (const each of [s, part, ...others]) results.push(floats((await each.run({ x }, { terminate: false })).y));
    for (const result of results) expect(result).toEqual(results[0]);
    for (const each of [s, plain, part, ...others]) await each.release();
  });
});

describe('copies of the package', () => {
  // Last: what is imported from here on is the second copy's.
  it('survives a second copy of the package and serves a second module', async () => {
    vi.resetModules();
    const copy = await import('../src/register.ts');
    expect(copy.register).not.toBe(register);
    copy.register(ort);
    const registry = new Map<string, OrtBackend>();
    const other: OrtModule = {
      ...ort,
      InferenceSession: {
        create: () => {
          throw new Error('a fully claimed model starts no ONNX Runtime');
        },
      },
      registerBackend: (name: string, backend: OrtBackend, priority: number) => {
        expect(priority).toBeLessThan(0);
        registry.set(name, backend);
      },
    };
    copy.register(other);
    register(other);
    expect([...registry.keys()]).toEqual(['msd']);
    const handler = await registry.get('msd')!.createInferenceSessionHandler(single, { executionProviders: ['msd'] });
    const { y } = await handler.run({ x }, { y: null }, {});
    expect(y!.dims).toEqual([2, H]);
    await handler.dispose();
  });
});
