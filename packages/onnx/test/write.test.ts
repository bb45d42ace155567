import { describe, expect, it } from 'vitest';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { tensorBytes } from '../src/read/tensor.ts';
import { writeModel } from '../src/write/index.ts';
import { floats, session, tensor } from './ort.ts';

describe('writer', () => {
  it('writes the example of its documentation', async () => {
    const bytes = writeModel({
      graph: {
        nodes: [{ opType: 'Add', inputs: ['a', 'b'], outputs: ['c'] }],
        initializers: [{ name: 'b', dtype: 'float32', dims: [1], data: new Float32Array([1]) }],
        inputs: [{ name: 'a', dtype: 'float32', dims: ['n'] }],
        outputs: [{ name: 'c', dtype: 'float32', dims: ['n'] }],
      },
    });
    const s = await session(bytes, 'wasm');
    const { c } = await s.run({ a: tensor(Float32Array.of(1, 2), [2]) });
    expect(floats(c)).toEqual(Float32Array.of(2, 3));
    await s.release();
  });

  it('round-trips attributes, names and data of any size', () => {
    const large = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
    const view = new Uint8Array([9, ...large]).subarray(1); // not at the start of its buffer
    const bytes = writeModel({
      irVersion: 8,
      opsets: { '': 17, ünïcode: 3 },
      graph: {
        nodes: [
          {
            opType: 'Op',
            domain: 'ünïcode',
            name: 'nöde',
            inputs: ['', 't'],
            outputs: ['y'],
            attributes: {
              f: { float: 0.5 },
              i: { int: -(2 ** 40) },
              big: { int: 2n ** 62n },
              s: { string: 'tëxt' },
              fs: { floats: [1, -2.5] },
              is: { ints: [1, -1, 2 ** 33] },
              none: { ints: [] },
              t: { tensor: { name: '', dtype: 'int8', dims: [2], data: Int8Array.of(-1, 1) } },
            },
          },
        ],
        initializers: [{ name: 't', dtype: 'uint8', dims: [100, 1000], data: view }],
        inputs: [],
        outputs: [{ name: 'y', dtype: 'float32', dims: [1, 'n', null] }],
      },
    });
    const { graph, irVersion, opsets } = readModel(bytesSource(bytes));
    expect(irVersion).toBe(8);
    expect([...opsets]).toEqual([
      ['', 17],
      ['ünïcode', 3],
    ]);
    const { attributes, ...node } = graph.nodes[0]!;
    expect(node).toMatchObject({ name: 'nöde', domain: 'ünïcode', inputs: ['', 't'], outputs: ['y'] });
    const values = Object.fromEntries(
      [...attributes].map(([name, attribute]) => [name, (attribute as { value: unknown }).value]),
    );
    expect(values).toMatchObject({
      f: 0.5,
      i: -(2 ** 40),
      big: 2 ** 62,
      fs: [1, -2.5],
      is: [1, -1, 2 ** 33],
      none: [],
    });
    expect(graph.outputs[0]!.type.dims).toEqual([1, 'n', null]);
    expect(Buffer.compare(tensorBytes(graph.initializers[0]!), large)).toBe(0);
  });

  it('refuses data that does not fit its dims', () => {
    const write = (): Uint8Array =>
      writeModel({
        graph: {
          nodes: [],
          initializers: [{ name: 't', dtype: 'int4', dims: [3], data: new Uint8Array(3) }],
          inputs: [],
          outputs: [],
        },
      });
    expect(write).toThrow(RangeError);
    expect(write).toThrow("write: tensor 't': data, expected 2 bytes for int4 [3], got 3.");
  });
});
