import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OnnxFormatError } from '../src/errors.ts';
import { openFile } from '../src/read/file.ts';
import { type ModelRecord, readModel } from '../src/read/model.ts';
import { openExternal, openSource } from '../src/read/open.ts';
import { bytesSource } from '../src/read/source.ts';
import { tensorBytes, tensorFloats } from '../src/read/tensor.ts';
import { writeModel } from '../src/write/index.ts';
import { Message } from '../src/write/message.ts';
import { conformanceFolder } from './conformance.ts';
import { makeMatrix, matmulModel } from './models.ts';

/** A model's records without the sources they refer to. */
function plain(model: ModelRecord): string {
  return JSON.stringify(model, (key, value: unknown) => {
    if (key === 'source' || key === 'sources') return undefined;
    if (value instanceof Map || value instanceof Set) return [...value];
    return value;
  });
}

/** A model with one initializer, given as an encoded TensorProto. */
function withTensor(tensor: Message): Uint8Array {
  const graph = {
    nodes: [{ opType: 'Identity', inputs: ['t'], outputs: ['y'] }],
    initializers: [{ encoded: tensor }],
    inputs: [],
    outputs: [{ name: 'y' }],
  };
  return writeModel({ graph });
}

function readTensorOf(bytes: Uint8Array) {
  return readModel(bytesSource(bytes)).graph.initializers[0]!;
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-onnx-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('reader', () => {
  it('reads names, wiring, attributes, types and opsets', () => {
    const { graph, irVersion, opsets } = readModel(bytesSource(matmulModel(makeMatrix({ N: 3, K: 40 }))));
    expect(irVersion).toBe(10);
    expect([...opsets]).toEqual([
      ['', 21],
      ['com.microsoft', 1],
    ]);
    expect(graph.nodes[0]).toMatchObject({
      opType: 'MatMulNBits',
      domain: 'com.microsoft',
      inputs: ['x', 'w_Q', 'w_scales'],
      outputs: ['y'],
    });
    expect(graph.nodes[0]!.attributes.get('K')).toEqual({ kind: 'int', value: 40 });
    expect(graph.inputs[0]).toEqual({ name: 'x', type: { kind: 'tensor', elemType: 1, dims: ['batch', 'rows', 40] } });
    expect(graph.initializers.map((tensor) => tensor.dims)).toEqual([
      [3, 2, 16],
      [3, 2],
    ]);
  });

  it('takes initializers from bytes without copying', () => {
    const bytes = matmulModel(makeMatrix({ N: 64, K: 256 }));
    const data = tensorBytes(readTensorOf(bytes));
    expect(data.buffer).toBe(bytes.buffer);
    expect(data.byteLength).toBe((64 * 256) / 2);
  });

  it('reads a path like bytes, through windows', () => {
    const matrix = makeMatrix({ N: 700, K: 512 }); // 175 KiB: more than one window
    const bytes = matmulModel(matrix);
    const path = join(folder, 'windows.onnx');
    writeFileSync(path, bytes);
    const source = openFile(path);
    const fromPath = readModel(source);
    const fromBytes = readModel(bytesSource(bytes));
    expect(plain(fromPath)).toBe(plain(fromBytes));
    const into = new Uint8Array(2 ** 20);
    const data = tensorBytes(fromPath.graph.initializers[0]!, into);
    expect(data.buffer).toBe(into.buffer);
    expect(Buffer.compare(data, tensorBytes(fromBytes.graph.initializers[0]!))).toBe(0);
    source.close();
    expect(() => source.read(0, 1)).toThrow(TypeError);
  });

  it('streams a URL into one buffer, with and without Content-Length', async () => {
    const bytes = matmulModel(makeMatrix({ N: 1500, K: 2048 }));
    // Without a limit for idle connections: one that ends while a client sends on it fails its request.
    const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
      if (request.url === '/missing.onnx') response.statusCode = 404;
      if (request.url === '/sized.onnx') response.setHeader('Content-Length', bytes.byteLength);
      response.write(bytes.subarray(0, 1000));
      response.end(bytes.subarray(1000));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address() as { port: number };
    const base = `http://127.0.0.1:${address.port}`;
    const sized = await openSource(`${base}/sized.onnx`);
    expect(sized.bytes!.buffer.byteLength).toBe(bytes.byteLength);
    expect(Buffer.compare(sized.bytes!, bytes)).toBe(0);
    const chunked = await openSource(`${base}/chunked.onnx`);
    expect(Buffer.compare(chunked.bytes!, bytes)).toBe(0);
    await expect(openSource(`${base}/missing.onnx`)).rejects.toThrow('HTTP 200, got 404');
    server.closeAllConnections();
    server.close();
  });

  const typed: [string, number, (message: Message) => Message, ArrayBufferView][] = [
    ['float_data', 1, (m) => m.floats(4, [1.5, -2]), Float32Array.of(1.5, -2)],
    ['int32_data as uint8', 2, (m) => m.ints(5, [200, 7]), Uint8Array.of(200, 7)],
    ['int32_data as int8', 3, (m) => m.ints(5, [-3, 7]), Int8Array.of(-3, 7)],
    ['int32_data as uint16', 4, (m) => m.ints(5, [65535, 7]), Uint16Array.of(65535, 7)],
    ['int32_data as int32', 6, (m) => m.ints(5, [-70000, 7]), Int32Array.of(-70000, 7)],
    ['int64_data', 7, (m) => m.ints(7, [-(2n ** 40n), 7n]), BigInt64Array.of(-(2n ** 40n), 7n)],
    ['uint64_data as uint32', 12, (m) => m.ints(11, [4294967295, 7]), Uint32Array.of(4294967295, 7)],
    ['uint64_data', 13, (m) => m.ints(11, [2n ** 50n, 7n]), BigUint64Array.of(2n ** 50n, 7n)],
    ['int32_data, not packed', 6, (m) => m.int(5, -70000).int(5, 7), Int32Array.of(-70000, 7)],
    ['float_data, not packed', 1, (m) => m.float(4, 1.5).float(4, -2), Float32Array.of(1.5, -2)],
  ];
  it.each(typed)('reads %s', (_, elemType, add, expected) => {
    const message = add(new Message().ints(1, [2]).int(2, elemType).string(8, 't'));
    const bytes = tensorBytes(readTensorOf(withTensor(message)));
    expect(bytes).toEqual(new Uint8Array(expected.buffer));
  });

  it('reads 4-bit elements from int32_data, a byte per value', () => {
    const message = new Message().ints(1, [3]).int(2, 21).ints(5, [0x21, 0x03]).string(8, 't');
    expect(tensorBytes(readTensorOf(withTensor(message)))).toEqual(Uint8Array.of(0x21, 0x03));
  });

  it.each([
    ['raw_data of the wrong size', new Message().ints(1, [3]).int(2, 1).bytes(9, new Uint8Array(8))],
    ['negative dims', new Message().ints(1, [-1]).int(2, 1).bytes(9, new Uint8Array(4))],
    ['too few values', new Message().ints(1, [3]).int(2, 1).floats(4, [1, 2])],
    ['too many values', new Message().ints(1, [1]).int(2, 1).floats(4, [1, 2])],
    [
      'a shape that no file could hold',
      new Message()
        .ints(1, [2 ** 40])
        .int(2, 1)
        .floats(4, [1]),
    ],
    [
      'dims whose product overflows',
      new Message()
        .ints(1, [2 ** 40, 2 ** 40])
        .int(2, 1)
        .bytes(9, new Uint8Array(4)),
    ],
    ['an unknown element type', new Message().ints(1, [1]).int(2, 99).bytes(9, new Uint8Array(4))],
  ])('refuses %s when the tensor is used', (_, message) => {
    const tensor = readTensorOf(withTensor(message.string(8, 't')));
    expect(() => tensorBytes(tensor)).toThrow(OnnxFormatError);
  });

  it.each([
    ['no graph', new Message().int(1, 10).finish()],
    ['an empty file', new Uint8Array(0)],
    ['text', new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n')],
    ['a cut file', matmulModel(makeMatrix({ N: 3, K: 40 })).subarray(0, 200)],
    ['subgraphs nested too deep', nested(200)],
  ])('refuses %s at once', (_, bytes) => {
    expect(() => readModel(bytesSource(bytes))).toThrow(OnnxFormatError);
  });
});

function nested(depth: number): Uint8Array {
  let graph = new Message();
  for (let i = 0; i < depth; i++) {
    const attribute = new Message().string(1, 'body').message(6, graph);
    graph = new Message().message(1, new Message().string(4, 'If').message(5, attribute));
  }
  return new Message().message(7, graph).finish();
}

describe('external data', () => {
  const values = Float32Array.of(1, 2, 3, 4);
  function externalModel(location: string, extra: Record<string, string> = {}): Uint8Array {
    const tensor = new Message().ints(1, [2]).int(2, 1).string(8, 't').int(14, 1);
    for (const [key, value] of Object.entries({ location, ...extra })) {
      tensor.message(13, new Message().string(1, key).string(2, value));
    }
    return withTensor(tensor);
  }
  async function load(model: string | Uint8Array, externalData?: Parameters<typeof openExternal>[3]) {
    const record = readModel(await openSource(model));
    await openExternal(record.files, record.files.locations, model, externalData);
    return tensorFloats(record.graph.initializers[0]!);
  }

  it('reads ranges of a file beside a path', async () => {
    writeFileSync(join(folder, 'w.data'), new Uint8Array(values.buffer));
    const path = join(folder, 'external.onnx');
    writeFileSync(path, externalModel('w.data', { offset: '8', length: '8' }));
    expect(await load(path)).toEqual(Float32Array.of(3, 4));
  });

  it('takes the option externalData', async () => {
    const model = externalModel('./w.data', { offset: '4' });
    const data = new Uint8Array(values.buffer);
    expect(await load(model, [{ path: 'w.data', data }])).toEqual(Float32Array.of(2, 3));
    expect(await load(model, [{ path: './w.data', data: values.buffer }])).toEqual(Float32Array.of(2, 3));
    expect(await load(model, [{ path: 'w.data', data: new Blob([data]) }])).toEqual(Float32Array.of(2, 3));
  });

  it('needs a place for it', async () => {
    await expect(load(externalModel('w.data'))).rejects.toThrow("externalData: [{ path: 'w.data', data }]");
  });

  it.each(['../w.data', '/etc/passwd', 'a/../../b', 'C:\\w.data', '..', ''])(
    'opens no location %j, but takes its bytes',
    async (location) => {
      const path = join(folder, 'outside.onnx');
      writeFileSync(path, externalModel(location));
      await expect(load(path)).rejects.toThrow("a path inside the model's folder");
      await expect(load(path)).rejects.toThrow(OnnxFormatError);
      const data = new Uint8Array(values.buffer);
      expect(await load(path, [{ path: location, data }])).toEqual(Float32Array.of(1, 2));
    },
  );

  it.each<[string, Record<string, string>]>([
    ['past the end', { offset: '16' }],
    ['of the wrong length', { length: '4' }],
  ])('refuses a range %s', async (_, extra) => {
    const data = new Uint8Array(values.buffer);
    await expect(load(externalModel('w', extra), [{ path: 'w', data }])).rejects.toThrow(OnnxFormatError);
  });

  it.each<Record<string, string>>([{ offset: '-1' }, { offset: 'x' }, { length: '1e30' }])(
    'refuses %j',
    async (extra) => {
      const data = new Uint8Array(values.buffer);
      await expect(load(externalModel('w', extra), [{ path: 'w', data }])).rejects.toThrow(OnnxFormatError);
    },
  );
});

describe.skipIf(!conformanceFolder)('conformance models (skipped where ../shared/conformance is absent)', () => {
  it('all read, from bytes and from a path alike', () => {
    let count = 0;
    for (const group of ['onnx-node', 'models']) {
      for (const name of readdirSync(join(conformanceFolder!, group))) {
        const path = join(conformanceFolder!, group, name, 'model.onnx');
        if (!existsSync(path)) continue;
        const source = openFile(path);
        expect(plain(readModel(source)), path).toBe(plain(readModel(bytesSource(readFileSync(path)))));
        source.close();
        count++;
      }
    }
    expect(count).toBeGreaterThan(250);
  });
});
