/** A model on both engines. */
import { expect } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { SessionReport } from '../src/report.ts';
import { CLOSE, relativeMost } from './close.ts';
import { floats, type ort, session } from './ort.ts';

/** Runs all feeds on both, in turn and back again. @returns MSD's report */
export async function compare(
  bytes: Uint8Array,
  feeds: readonly Record<string, ort.Tensor>[],
  options: ort.InferenceSession.SessionOptions = {},
  reference = bytes,
): Promise<SessionReport> {
  const msd = await session(bytes, 'msd', options);
  const plain = await session(reference, 'wasm');
  expect(msd.outputNames).toEqual(plain.outputNames);
  for (const each of [...feeds, ...feeds.toReversed()]) {
    const [got, expected] = [await msd.run(each), await plain.run(each)];
    for (const name of plain.outputNames) {
      expect(got[name]!.dims, name).toEqual(expected[name]!.dims);
      expect(got[name]!.type, name).toBe(expected[name]!.type);
      if (expected[name]!.type === 'float32')
        expect(relativeMost(floats(got[name]), floats(expected[name])), name).toBeLessThan(CLOSE);
      else expect(got[name]!.data, name).toEqual(expected[name]!.data);
    }
  }
  const report = reportOf(msd)!;
  await msd.release();
  await plain.release();
  return report;
}
