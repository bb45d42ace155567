/** What is f32 on the device under another name in the model: it crosses the border as what the model says. */
import { describe, expect, it } from 'vitest';
import { carriedOf, isCarried, leavingAs } from '../src/carried.ts';
import { FLOAT16, FLOAT32, INT8, INT32, UINT8 } from '../src/data-types.ts';
import { reportOf } from '../src/register.ts';
import { writeModel } from '../src/write/index.ts';
import { ARRAYS } from './conformance.ts';
import { ort, session } from './ort.ts';

describe('carried types', () => {
  it('are float16, int8 and uint8', () => {
    expect([FLOAT16, INT8, UINT8].map(isCarried)).toEqual([true, true, true]);
    expect([FLOAT32, INT32].map(isCarried)).toEqual([false, false]);
  });

  it('come and leave exactly', () => {
    const signed = Int8Array.from({ length: 256 }, (_, i) => i - 128);
    const unsigned = Uint8Array.from({ length: 256 }, (_, i) => i);
    expect(leavingAs(INT8, carriedOf(INT8, signed))).toEqual(signed);
    expect(leavingAs(UINT8, carriedOf(UINT8, unsigned))).toEqual(unsigned);
  });

  const halves = Uint16Array.from([0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x3c00, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x3555]);
  const data = {
    float16: halves,
    int8: Int8Array.of(-128, -1, 0, 1, 127, 5, 6, 7, 8, 9, 10, 11),
    uint8: Uint8Array.of(255, 128, 0, 1, 127, 5, 6, 7, 8, 9, 10, 11),
  };
  const tensorOf = (type: keyof typeof data): ort.Tensor =>
    new ort.Tensor(type, new ARRAYS[type]!(data[type].slice().buffer) as never, [3, 4]) as ort.Tensor;

  describe.each(['float16', 'int8', 'uint8'] as const)('%s', (type) => {
    // A movement of MSD, then a node that is left to ONNX Runtime, then one of MSD again; constants come from the file.
    const model = writeModel({
      graph: {
        nodes: [
          { opType: 'Transpose', inputs: ['x'], outputs: ['t'] },
          { opType: 'Concat', inputs: ['t', 'c'], outputs: ['both'], attributes: { axis: { int: 0 } } },
          { opType: 'GatherElements', inputs: ['both', 'at'], outputs: ['f'] },
          { opType: 'Transpose', inputs: ['f'], outputs: ['y'] },
        ],
        initializers: [
          { name: 'c', dtype: type, dims: [4, 3], data: data[type] },
          {
            name: 'at',
            dtype: 'int64',
            dims: [8, 3],
            data: BigInt64Array.from({ length: 24 }, (_, i) => BigInt(i % 8)),
          },
        ],
        inputs: [{ name: 'x', dtype: type, dims: ['n', 4] }],
        outputs: ['t', 'both', 'y'].map((name) => ({ name, dtype: type })),
      },
    });

    it('crosses the border as ONNX Runtime has it', async () => {
      const msd = await session(model, { name: 'msd', claim: 'all' });
      const plain = await session(model, 'wasm');
      expect(reportOf(msd)!.foreignRunsPerCall).toBe(1);
      const [got, want] = [await msd.run({ x: tensorOf(type) }), await plain.run({ x: tensorOf(type) })];
      for (const [name, tensor] of Object.entries(want)) {
        expect(got[name]!.type).toBe(type);
        expect(got[name]!.dims).toEqual(tensor.dims);
        expect(got[name]!.data).toEqual(tensor.data);
      }
      const target = new ort.Tensor(type, new ARRAYS[type]!(data[type].slice().buffer) as never, [4, 3]) as ort.Tensor;
      const filled = await msd.run({ x: tensorOf(type) }, { t: target });
      expect(filled.t!.data).toEqual(want.t!.data);
      await msd.release();
      await plain.release();
    });
  });
});
