/** External data behind a URL: read while it arrives, packed as soon as it is there, let go of when it is packed. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AbortError, ReadError } from '../src/errors.ts';
import { ArrivingSource, Gone, NotYet, whileArriving } from '../src/read/arriving.ts';
import { type LoadProgress, reportOf } from '../src/register.ts';
import type { NodeSpec, TensorSpec } from '../src/write/index.ts';
import { Message } from '../src/write/message.ts';
import { gaussian, makeMatrix, model, random } from './models.ts';
import { floats, session, tensor } from './ort.ts';

const H = 512;
const LAYERS = 6;
const PIECE = 2 ** 22;

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
const router = makeMatrix({ name: 'r', N: 4, K: H, seed: 7 });
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
    codes('fc1', 4, 4096, H / 2),
    scales('fc1_scales', 4, 4096, H / 64),
    codes('fc2', 4, H, 2048),
    scales('fc2_scales', 4, H, 64),
  ],
);
const files = { claimed, reversed, cut, shared, whole, experts };

let server: Server;
let base: string;
let requests: string[] = [];
/** Bytes after which the answer stops for a while, for ever, or breaks. */
let pause = { at: Number.POSITIVE_INFINITY, next: 'goes on' as 'goes on' | 'breaks' | 'stalls' };

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(request.url!);
    const [, name, file] = request.url!.split('/') as [string, keyof typeof files, string];
    const bytes = file === 'model.onnx' ? files[name].beside : files[name].data;
    response.setHeader('Content-Length', bytes.byteLength);
    if (file === 'model.onnx' || pause.at >= bytes.byteLength) {
      response.end(bytes);
      return;
    }
    response.write(bytes.subarray(0, pause.at), () => {
      if (pause.next === 'breaks') response.destroy();
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

  it('is packed before all of it is there', async () => {
    pause = { at: Math.floor(claimed.data.byteLength / 2), next: 'goes on' };
    const told: LoadProgress[] = [];
    const onProgress = (progress: LoadProgress) => told.push(progress);
    await (await session(`${base}/claimed/model.onnx`, { name: 'msd', onProgress })).release();
    const last = told.findLastIndex(({ phase }) => phase === 'download');
    expect(told[last]).toMatchObject({ loadedBytes: told[last]!.totalBytes });
    expect(told.slice(0, last).some(({ phase, loadedBytes }) => phase === 'pack' && loadedBytes > 0)).toBe(true);
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
    expect(source.bytes).toBeUndefined();
    const waits = [source.until(PIECE + 11), source.until(bytes.byteLength)];
    source.write(bytes.subarray(PIECE + 10, PIECE + 11));
    await waits[0];
    source.write(bytes.subarray(PIECE + 11));
    await waits[1];
    expect(source.bytes).toEqual(bytes);
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
    expect(source.bytes).toBeUndefined();
  });

  it('fails whoever waits, and who asks later', async () => {
    const source = made();
    source.write(bytes.subarray(0, 10));
    const wait = source.until(11);
    source.fail(new ReadError('broken'));
    await expect(wait).rejects.toThrow('broken');
    await expect(source.until(11)).rejects.toThrow('broken');
    await source.until(10);
    await expect(
      whileArriving(
        async () => source.read(0, 11),
        async () => {},
      ),
    ).rejects.toThrow('broken');
  });
});
