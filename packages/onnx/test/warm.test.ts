/** The decoder of zeros that warms MSD's code: ONNX Runtime reads it, MSD takes all of it, and it costs a page next to nothing. */
import { describe, expect, it } from 'vitest';
import { warmModel } from '../src/execute/warm-model.ts';
import type { MsdSession } from '../src/index.ts';
import { floats, ort, session, tensor } from './ort.ts';

const ints = (...values: bigint[]): ort.Tensor =>
  new ort.Tensor('int64', BigInt64Array.from(values), [1, values.length]);

it('is an option: a boolean', async () => {
  await expect(session(warmModel(), { name: 'msd', warm: 1 })).rejects.toThrow(
    "msd: option 'warm', expected a boolean, got number.",
  );
});

describe('the decoder of zeros', () => {
  it('is one that MSD takes as a whole, and says what ONNX Runtime says', async () => {
    const msd = (await session(warmModel())) as MsdSession;
    const plain = await session(warmModel(), 'wasm');
    expect(msd.report!.foreignSessions).toBe(0);
    expect(msd.report!.nodes.every(({ where }) => where === 'msd')).toBe(true);
    expect(msd.report!.kvCache?.type).toBe('int16');
    const none = () => tensor(new Float32Array(0), [1, 1, 0, 64]);
    const past = Object.fromEntries(
      msd.inputNames.filter((name) => name.startsWith('p')).map((name) => [name, none()]),
    );
    const feeds = { ids: ints(0n, 0n, 0n), mask: ints(1n, 1n, 1n), ...past };
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(Object.keys(got)).toEqual(Object.keys(want));
    for (const [name, value] of Object.entries(want)) {
      expect(got[name]!.dims).toEqual(value.dims);
      expect([...floats(got[name])]).toEqual([...floats(value)]);
    }
    await msd.release();
    await plain.release();
  });
});
