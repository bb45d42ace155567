/**
 * Models behind a URL, and external data beside them: the latter is read while it arrives and packed as soon as it is there; of both
 * goes what is packed.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { AbortError, ReadError } from '../src/errors.ts';
import { Gone, NotYet, whileArriving } from '../src/read/arriving.ts';
import { ArrivingSource } from '../src/read/arriving-source.ts';
import { PIECE, Pieces } from '../src/read/pieces.ts';
import { reportOf } from '../src/register.ts';
import type { NodeSpec, TensorSpec } from '../src/write/index.ts';
import { Message } from '../src/write/message.ts';
import { gaussian, makeMatrix, model, random } from './models.ts';
import { floats, session, tensor } from './ort.ts';

const H = 512;
const LAYERS = 6;

/** A model, the file beside it, and the same model in one file. */
function external(
  nodes: NodeSpec[],
  tensors: readonly TensorSpec[],
): { own: Uint8Array; beside: Uint8Array; data: Uint8Array } {
  const io = {
    inputs: [{ name: 'x', dtype: 'float32' as const, dims: ['rows', H] }],
    outputs: [{ name: 'y', dtype: 'float32' as const, dims: ['rows', H] }],
  };
  const parts: Uint8Array[] = [];
  let offset = 0;
  const initializers = tensors.map(({ name, dtype, dims, data }) => {
    const { buffer, byteOffset, byteLength } = data as Uint8Array;
    parts.push(new Uint8Array(buffer, byteOffset, byteLength));
    const message = new Message()
      .ints(1, dims)
      .int(2, dtype === 'uint8' ? 2 : 1)
      .string(8, name)
      .int(14, 1);
    for (const [key, value] of Object.entries({ location: 'model.data', offset, length: byteLength }))
      message.message(13, new Message().string(1, key).string(2, `${value}`));
    offset += byteLength;
    return { encoded: message };
  });
  const data = new Uint8Array(offset);
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.byteLength;
  }
  return { own: model({ nodes, initializers: tensors, ...io }), beside: model({ nodes, initializers, ...io }), data };
}

const layers = Array.from({ length: LAYERS }, (_, i) =>
  makeMatrix({ name: `w${i}`, N: H, K: H, bits: 8, seed: i + 1 }),
);
const chain = layers.map((layer, i) => layer.node(i ? `h${i}` : 'x', i + 1 < LAYERS ? `h${i + 1}` : 'y'));
const claimed = external(
  chain,
  layers.flatMap(({ initializers }) => initializers),
);
/** With norms and biases, which the file ends with. */
const vector = (name: string, seed: number): TensorSpec => ({
  name,
  dtype: 'float32',
  dims: [H],
  data: gaussian(random(seed), H),
});
const normed = external(
  layers.flatMap((layer, i): NodeSpec[] => [
    {
      opType: 'SimplifiedLayerNormalization',
      inputs: [i ? `h${i}` : 'x', `norm${i}`],
      outputs: [`n${i}`],
      attributes: { axis: { int: -1 }, epsilon: { float: 1e-6 } },
    },
    layer.node(`n${i}`, `p${i}`),
    { opType: 'Add', inputs: [`p${i}`, `bias${i}`], outputs: [i + 1 < LAYERS ? `h${i + 1}` : 'y'] },
  ]),
  [
    ...layers.flatMap(({ initializers }) => initializers),
    ...layers.flatMap((_, i) => [vector(`norm${i}`, 40 + i), vector(`bias${i}`, 60 + i)]),
  ],
);
/** The last layer's file part comes first. */
const reversed = external(
  chain,
  layers.toReversed().flatMap(({ initializers }) => initializers),
);
/** A region of ONNX Runtime with a constant of the file. */
const bias: TensorSpec = { name: 'b', dtype: 'float32', dims: [H], data: gaussian(random(3), H) };
const cut = external(
  [
    { opType: 'Selu', inputs: ['x'], outputs: ['s'] },
    { opType: 'Max', inputs: ['s', 'b'], outputs: ['m'] },
    layers[0]!.node('m', 'y'),
  ],
  [...layers[0]!.initializers, bias],
);
/** Two matrices with the same scales. */
const other = makeMatrix({ name: 'v', N: H, K: H, bits: 8, seed: 20 });
const shared = external(
  [layers[0]!.node('x', 'h'), { ...other.node('h', 'y'), inputs: ['h', 'v_Q', 'w0_scales'] }],
  [...layers[0]!.initializers, other.initializers[0]!],
);
const whole = external([{ opType: 'Mul', inputs: ['x', 'b'], outputs: ['y'] }], [bias]);
/** Each expert is a matrix, all of them are made of the same tensors. */
const router = makeMatrix({ name: 'r', N: 128, K: H, seed: 7 });
const codes = (name: string, ...dims: number[]): TensorSpec => {
  const next = random(name.length);
  const data = Uint8Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => next() * 256);
  return { name, dtype: 'uint8', dims, data };
};
const scales = (name: string, ...dims: number[]): TensorSpec => ({
  name,
  dtype: 'float32',
  dims,
  data: new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(0.01),
});
const experts = external(
  [
    router.node('x', 'scores'),
    {
      opType: 'QMoE',
      domain: 'com.microsoft',
      inputs: ['x', 'scores', 'fc1', 'fc1_scales', '', 'fc2', 'fc2_scales'],
      outputs: ['y'],
      attributes: { k: { int: 2 }, block_size: { int: 64 }, activation_type: { string: 'relu' } },
    },
  ],
  [
    ...router.initializers,
    codes('fc1', 128, 128, H / 2),
    scales('fc1_scales', 128, 128, H / 64),
    codes('fc2', 128, H, 64),
    scales('fc2_scales', 128, H, 2),
  ],
);
const files = { claimed, normed, reversed, cut, shared, whole, experts };
/** In one file each, which takes more than one piece. */
const large: TensorSpec = { name: 'b', dtype: 'float32', dims: [1024, H], data: gaussian(random(3), 1024 * H) };
const io = {
  inputs: [{ name: 'x', dtype: 'float32' as const, dims: ['rows', H] }],
  outputs: [{ name: 'y', dtype: 'float32' as const, dims: ['rows', 'columns'] }],
};
const einsum = (from: string): NodeSpec => ({
  opType: 'Einsum',
  inputs: [from, 'b'],
  outputs: ['y'],
  attributes: { equation: { string: 'mk,nk->mn' } },
});
const tensors = layers.flatMap(({ initializers }) => initializers);
/** Scales in the tensor's own list of floats, not in raw bytes. */
const listed = tensors.map((each) =>
  each.dtype === 'float32'
    ? {
        encoded: new Message()
          .ints(1, each.dims)
          .int(2, 1)
          .string(8, each.name)
          .floats(4, [...(each.data as Float32Array)]),
      }
    : each,
);
/** A scale that MSD does not take, found when the layers before it are packed. */
const tooLarge = tensors.map((each) =>
  each.name === `w${LAYERS - 1}_scales`
    ? { ...each, data: Float32Array.from(each.data as Float32Array, (scale, i) => (i === 0 ? 2 ** 90 : scale)) }
    : each,
);
const inOne = {
  claimed: claimed.own,
  reversed: reversed.own,
  experts: experts.own,
  listed: model({ nodes: chain, initializers: listed, ...io }),
  cut: model({
    nodes: [layers[0]!.node('x', 'm'), einsum('m')],
    initializers: [...layers[0]!.initializers, large],
    ...io,
  }),
  whole: model({ nodes: [einsum('x')], initializers: [large], ...io }),
  'fetched again': model({ nodes: chain, initializers: tooLarge, ...io }),
};

let inMemory: Uint8Array = new Uint8Array(0);
let server: Server;
let base: string;
let requests: string[] = [];
/** Bytes after which the answer stops for a while, for ever, or breaks. */
let pause = { at: Number.POSITIVE_INFINITY, next: 'goes on' as 'goes on' | 'waits' | 'breaks' | 'stalls' };
/** Of an answer that waits: it goes on. */
let goOn = (): void => {};

beforeAll(async () => {
  // Without a limit for idle connections: one that ends while a client sends on it fails its request.
  server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    requests.push(request.url!);
    const [, name, file] = decodeURIComponent(request.url!).split('/') as [string, keyof typeof files, string];
    if (file.endsWith('sized')) {
      const whole = inOne[name as keyof typeof inOne] ?? inMemory;
      if (file === 'sized') response.setHeader('Content-Length', whole.byteLength);
      response.write(whole.subarray(0, 1000));
      response.end(whole.subarray(1000));
      return;
    }
    const bytes = file === 'model.onnx' ? files[name].beside : files[name].data;
    response.setHeader('Content-Length', bytes.byteLength);
    if (file === 'model.onnx' || pause.at >= bytes.byteLength) {
      response.end(bytes);
      return;
    }
    response.write(bytes.subarray(0, pause.at), () => {
      if (pause.next === 'breaks') response.destroy();
      else if (pause.next === 'waits') goOn = () => void response.end(bytes.subarray(pause.at));
      else if (pause.next === 'goes on') setTimeout(() => response.end(bytes.subarray(pause.at)), 100);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const x = tensor(gaussian(random(9), 2 * H), [2, H]);

describe('external data behind a URL', () => {
  it.each(Object.keys(files) as (keyof typeof files)[])('%s: gives what the model in one file gives', async (name) => {
    const provider = { name: 'msd' as const, claim: name === 'whole' ? 'auto' : 'all' };
    const reference = await session(files[name].own, provider);
    const expected = floats((await reference.run({ x })).y);
    for (const at of [Number.POSITIVE_INFINITY, 1000, Math.floor(files[name].data.byteLength / 2)]) {
      pause = { at, next: 'goes on' };
      requests = [];
      const s = await session(`${base}/${name}/model.onnx`, provider);
      expect(reportOf(s)!.whole !== undefined).toBe(name === 'whole');
      expect(reportOf(s)!.foreignRunsPerCall).toBe(reportOf(reference)!.foreignRunsPerCall);
      expect(floats((await s.run({ x })).y)).toEqual(expected);
      expect(requests.filter((url) => url.endsWith('data')).length).toBe(1);
      await s.release();
    }
    await reference.release();
  });

  it.each(['claimed', 'normed'] as const)('is packed before all of it is there: %s', async (name) => {
    pause = { at: Math.floor(files[name].data.byteLength / 2), next: 'waits' };
    const { release } = ArrivingSource.prototype;
    // The second half is sent when something of the first half is packed.
    const spy = vi.spyOn(ArrivingSource.prototype, 'release').mockImplementation(function (
      this: ArrivingSource,
      stretch,
    ) {
      release.call(this, stretch);
      goOn();
      goOn = () => {};
    });
    const s = await session(`${base}/${name}/model.onnx`, { name: 'msd', stallTimeoutMs: 20_000 });
    expect(spy).toHaveBeenCalledTimes(2 * LAYERS);
    await s.release();
    spy.mockRestore();
  });

  it('that breaks, stalls, or is stopped ends the creation', async () => {
    const create = (options: object, more = {}) =>
      session(`${base}/claimed/model.onnx`, { name: 'msd', ...options }, more);
    pause = { at: 100_000, next: 'breaks' };
    await expect(create({})).rejects.toBeInstanceOf(ReadError);
    await expect(create({})).rejects.toThrow(/model\.data: model, got 100 of .*kB|got 0.1 of .* MB/);
    pause = { at: 100_000, next: 'stalls' };
    await expect(create({ stallTimeoutMs: 1000 })).rejects.toThrow(/then nothing for 1 s/);
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 100);
    await expect(create({}, { signal: stop.signal })).rejects.toBeInstanceOf(AbortError);
  });
});

describe('a model in one file behind a URL', () => {
  const names = Object.keys(inOne) as (keyof typeof inOne)[];
  it.each(names.flatMap((name) => ['sized', 'unsized'].map((file) => [name, file] as const)))(
    '%s, %s: gives what its bytes give, and goes while it is packed',
    async (name, file) => {
      const provider = { name: 'msd' as const, claim: name === 'whole' ? 'auto' : 'all' };
      const reference = await session(inOne[name], provider);
      const expected = await reference.run({ x });
      requests = [];
      const dropped = vi.spyOn(Pieces.prototype, 'drop');
      const cleared = vi.spyOn(Pieces.prototype, 'clear').mockImplementation(() => {});
      const s = await session(`${base}/${name}/${file}`, provider);
      expect(dropped).toHaveBeenCalled();
      dropped.mockRestore();
      cleared.mockRestore();
      expect(requests.length).toBe(name === 'fetched again' ? 2 : 1);
      expect(reportOf(s)!.whole).toBe(reportOf(reference)!.whole);
      expect(reportOf(s)!.foreignRunsPerCall).toBe(reportOf(reference)!.foreignRunsPerCall);
      expect(floats((await s.run({ x })).y)).toEqual(floats(expected.y));
      await s.release();
      await reference.release();
    },
  );
});

describe('memory', () => {
  it('a model behind a URL takes little more than its file, or its packed weights', { timeout: 120_000 }, async () => {
    const [size, count] = [2048, 48];
    const one = makeMatrix({ name: 'w', N: size, K: size, bits: 8 });
    const chained = Array.from({ length: count }, (_, i): NodeSpec => {
      const node = one.node(i ? `h${i}` : 'x', i + 1 < count ? `h${i + 1}` : 'y') as NodeSpec;
      return { ...node, inputs: node.inputs.map((name) => (name.startsWith('w_') ? `${name}${i}` : name)) };
    });
    const named = (i: number) =>
      one.initializers.map((each) => ({ ...each, name: `${(each as TensorSpec).name}${i}` }));
    const bytes = model({
      nodes: chained,
      initializers: chained.flatMap((_, i) => named(i)),
      inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', size] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['rows', size] }],
    });
    const folder = mkdtempSync(join(tmpdir(), 'msd-arriving-'));
    const path = join(folder, 'model.onnx');
    writeFileSync(path, bytes);
    const script = fileURLToPath(new URL('./memory-child.ts', import.meta.url));
    const most = async (from: string): Promise<number> => {
      const { stdout } = await promisify(execFile)(process.execPath, [script, 'msd', from, 'path', `${size}`]);
      return (JSON.parse(stdout) as { most: number }).most;
    };
    const fromFile = await most(path);
    inMemory = bytes;
    // From a file the peak is that of the packed weights. Both held as a whole, it would be the file more.
    for (const name of ['sized', 'unsized'])
      expect(await most(`${base}/memory/${name}`)).toBeLessThan(fromFile + (0.6 * bytes.byteLength) / 2 ** 20);
    rmSync(folder, { recursive: true });
  });
});

describe('a source that arrives', () => {
  const bytes = Uint8Array.from({ length: 2 * PIECE + 1000 }, (_, i) => i * 7 + (i >> 8));
  const made = (): ArrivingSource => new ArrivingSource('file', bytes.byteLength, () => {});

  it('gives what is there, in one piece or several, and says what is not', async () => {
    const source = made();
    expect(() => source.read(0, 1)).toThrow(NotYet);
    source.write(bytes.subarray(0, PIECE + 10));
    for (const [offset, length] of [
      [0, 5],
      [PIECE - 3, 8],
      [PIECE + 9, 1],
      [PIECE + 10, 0],
    ] as const) {
      expect(source.read(offset, length)).toEqual(bytes.subarray(offset, offset + length));
      const into = new Uint8Array(100);
      expect(source.read(offset, length, into).buffer).toBe(into.buffer);
    }
    expect(() => source.read(PIECE + 9, 2)).toThrow(NotYet);
    expect(() => source.join()).toThrow(NotYet);
    const waits = [source.until(PIECE + 11), source.until(bytes.byteLength)];
    source.write(bytes.subarray(PIECE + 10, PIECE + 11));
    await waits[0];
    source.write(bytes.subarray(PIECE + 11));
    await waits[1];
    // Twice: whoever asked before keeps what he got.
    const whole = source.join();
    expect(source.join()).toEqual(bytes);
    expect(whole).toEqual(bytes);
    expect(source.read(PIECE - 3, 8)).toEqual(bytes.subarray(PIECE - 3, PIECE + 5));
    expect(() => source.read(bytes.byteLength, 1)).toThrow(RangeError);
    source.close();
  });

  it('lets pieces go that nobody needs any more', () => {
    const source = made();
    const [first, second] = [
      { offset: 0, length: PIECE + 5 },
      { offset: PIECE + 5, length: PIECE - 5 },
    ];
    source.expect([first, second]);
    source.write(bytes);
    source.release(first);
    expect(() => source.read(0, 1)).toThrow(Gone);
    expect(source.read(PIECE, 5)).toEqual(bytes.subarray(PIECE, PIECE + 5));
    source.release(second);
    expect(() => source.read(PIECE, 5)).toThrow(Gone);
    // Nobody said who needs this one: it stays.
    expect(source.read(2 * PIECE, 1000)).toEqual(bytes.subarray(2 * PIECE));
    expect(() => source.join()).toThrow(Gone);
  });

  it('fails whoever waits, and who asks later', async () => {
    const source = made();
    source.write(bytes.subarray(0, 10));
    const wait = source.until(11);
    source.fail(new ReadError('broken'));
    await expect(wait).rejects.toThrow('broken');
    await expect(source.until(11)).rejects.toThrow('broken');
    await source.until(10);
    await expect(whileArriving(async () => source.read(0, 11))).rejects.toThrow('broken');
  });
});
