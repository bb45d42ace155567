/** Places beyond 2 and 4 GB: sparse files, of which a few kilobytes exist. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readModel } from '../src/read/model.ts';
import { openSource } from '../src/read/open.ts';
import { tensorFloats } from '../src/read/tensor.ts';
import { type GraphSpec, writeModel } from '../src/write/index.ts';
import { Message } from '../src/write/message.ts';
import { around, distance, externalTensor, filled, matrix, op, outcomeOf, SIZE } from './odd.ts';

const all = { name: 'msd', claim: 'all' } as const;
const GIGABYTE = 2 ** 30;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-large-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A file that is empty but for these bytes. */
function sparseFile(name: string, byteLength: number, parts: readonly (readonly [number, ArrayBufferView])[]): string {
  const path = join(folder, name);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, byteLength);
  for (const [at, { buffer, byteOffset, byteLength: length }] of parts)
    writeSync(fd, new Uint8Array(buffer, byteOffset, length), 0, length, at);
  closeSync(fd);
  return path;
}

describe('places beyond 4 GB', () => {
  it.each([2, 4, 6])('weights, an addend and a table at %d GB of external data', async (gigabytes) => {
    // One of them across the border itself.
    const start = gigabytes * GIGABYTE - 100;
    const [codes, scales] = matrix.initializers.map(({ data }) => data as Uint8Array | Float32Array);
    const addend = new Float32Array(SIZE).fill(3);
    const places = [start, start + 4096, start + 8192] as const;
    const dims = { w_Q: [SIZE, 2, 16], w_scales: [SIZE, 2], b: [SIZE] } as const;
    const name = `w${gigabytes}.bin`;
    sparseFile(name, start + 10_000, [
      [places[0], codes!],
      [places[1], scales!],
      [places[2], addend],
    ]);
    const nodes = [matrix.node('x', 'h'), op('Selu', ['h'], ['s']), op('Add', ['s', 'b'], ['y'])];
    const external = (tensor: keyof typeof dims, offset: number, elemType = 1) => ({
      encoded: externalTensor(tensor, dims[tensor], { location: name, offset }, elemType),
    });
    const path = join(folder, `m${gigabytes}.onnx`);
    const initializers = [external('w_Q', places[0], 2), external('w_scales', places[1]), external('b', places[2])];
    writeFileSync(path, writeModel({ graph: around({ nodes, initializers }) }));
    const own = await outcomeOf(path, all);
    expect(own.message).toBe('');
    expect(own.report?.whole).toBeUndefined();
    const inside = writeModel({
      graph: around({ nodes, initializers: [...matrix.initializers, filled('b', [SIZE], 3)] }),
    });
    expect(distance(await outcomeOf(inside, all), own)).toBe(0);
  });

  it('a model file of 5 GB, its graph behind the weights', async () => {
    const values = Float32Array.of(1, 2, 3, 4);
    const length = 5 * GIGABYTE;
    const head = (field: number, size: number): Uint8Array => {
      const message = new Message().int(1, size).finish();
      return Uint8Array.of(field * 8 + 2, ...message.subarray(1));
    };
    // TensorProto: dims, data_type, name, raw_data of 5 GB; nobody reads more than 16 bytes of it.
    const count = length / 4;
    const rest = new Message().ints(1, [count]).int(2, 1).string(8, 'big').finish();
    const raw = head(9, length);
    const tensor = head(5, rest.length + raw.length + length);
    const tail = new Message()
      .message(5, new Message().ints(1, [4]).int(2, 1).string(8, 'small').bytes(9, new Uint8Array(values.buffer)))
      .finish();
    const graph = head(7, tensor.length + rest.length + raw.length + length + tail.length);
    const start = graph.length + tensor.length + rest.length + raw.length;
    const path = sparseFile('huge.onnx', start + length + tail.length, [
      [0, graph],
      [graph.length, tensor],
      [graph.length + tensor.length, rest],
      [graph.length + tensor.length + rest.length, raw],
      [start + length - 16, values],
      [start + length, tail],
    ]);
    const source = await openSource(path);
    try {
      const [big, small] = readModel(source).graph.initializers;
      expect(big!.dims).toEqual([count]);
      expect(tensorFloats(small!)).toEqual(values);
      const { storage } = big!;
      if (storage.kind !== 'raw') throw new TypeError('expected raw data');
      const last = storage.range.source.read(storage.range.offset + length - 16, 16);
      expect(new Float32Array(new Uint8Array(last).buffer)).toEqual(values);
    } finally {
      source.close();
    }
  });

  it.each<[string, Partial<GraphSpec>]>([
    [
      'an operand of ONNX Runtime',
      {
        nodes: [matrix.node('x', 'p'), op('Einsum', ['p', 'w'], ['y'], { equation: { string: 'mk,nk->mn' } })],
        initializers: [
          ...matrix.initializers,
          { encoded: externalTensor('w', [2 ** 25, SIZE], { location: 'operand.bin' }) },
        ],
      },
    ],
    [
      'a float matrix of a model without others',
      {
        nodes: [op('MatMul', ['x', 'w'], ['y'])],
        initializers: [{ encoded: externalTensor('w', [SIZE, 2 ** 25], { location: 'operand.bin' }) }],
      },
    ],
  ])('%s of 8 GB is too large, and says so before it is read', async (name, changes) => {
    sparseFile('operand.bin', 2 ** 33, []);
    const path = join(folder, `${name}.onnx`);
    writeFileSync(path, writeModel({ graph: around(changes) }));
    const own = await outcomeOf(path, 'msd');
    expect(own).toMatchObject({ stage: 'create', name: 'BackendUnavailableError' });
    expect(own.message).toMatch(/8\.6 GB: too large/);
  });

  it('a matrix of 8 GB is too large, and says so', async () => {
    const [N, K] = [2 ** 17, 2 ** 17];
    sparseFile('matrix.bin', (N * K) / 2 + 4 * N * (K / 32), []);
    const node = {
      ...matrix.node('x', 'y'),
      attributes: { K: { int: K }, N: { int: N }, bits: { int: 4 }, block_size: { int: 32 } },
    };
    const location = 'matrix.bin';
    const path = join(folder, 'matrix.onnx');
    writeFileSync(
      path,
      writeModel({
        graph: around({
          nodes: [node],
          initializers: [
            { encoded: externalTensor('w_Q', [N, K / 32, 16], { location }, 2) },
            { encoded: externalTensor('w_scales', [N, K / 32], { location, offset: (N * K) / 2 }) },
          ],
          inputs: [{ name: 'x', dtype: 'float32', dims: ['m', K] }],
        }),
      }),
    );
    const own = await outcomeOf(path, all);
    expect(own.stage).toBe('create');
    expect(own.name).toMatch(/BackendUnavailableError|RangeError/);
    expect(own.message).toMatch(/GB|GiB|bytes|memory/);
    expect(own.message).not.toMatch(/cut/);
  });
});
