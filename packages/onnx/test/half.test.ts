/** float16: MSD has it as f32, and rounds at the border. */
import { floatsOfFp16, type HalfArray } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { halvesOf } from '../src/half.ts';
import { reportOf } from '../src/register.ts';
import { type Form, feedsOf, groupQueryModel } from './attention/group-query.ts';
import { relativeL2 } from './close.ts';
import { type ort, session } from './ort.ts';

const floatsOf = (tensor: ort.Tensor | undefined): Float32Array => floatsOfFp16(tensor!.data as unknown as HalfArray);

it('is written as tensors have it: in the array of this engine, or as bits', () => {
  const floats = Float32Array.of(0, -0, 1, -1.5, 65504, 1e30, 2 ** -24, Number.NaN);
  expect(floatsOfFp16(halvesOf(floats))).toEqual(floats.with(5, Number.POSITIVE_INFINITY));
});

describe('GroupQueryAttention of float16', () => {
  it.each<readonly [string, Form]>([
    ['rotary', {}],
    ['packed, a window', { packed: true, window: 5 }],
    ['a bias and softcap', { bias: [1, 4], softcap: 2 }],
  ])('%s, beside ONNX Runtime', async (_, given) => {
    const form = { ...given, half: true };
    const model = groupQueryModel(form);
    const msd = await session(model, { name: 'msd', claim: 'all' });
    const plain = await session(model, 'wasm');
    expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
    let past: Record<string, ort.Tensor> = {};
    let pastOfPlain: Record<string, ort.Tensor> = {};
    for (const [rows, end] of [
      [70, 70],
      [1, 71],
      [3, 74],
    ] as const) {
      const round = { rows, ends: [end], total: end, seed: end };
      const want = await plain.run(feedsOf(form, round, pastOfPlain));
      for (const each of [past, pastOfPlain]) {
        const got = await msd.run(feedsOf(form, round, each));
        expect(got.y!.type).toBe('float16');
        expect(got.y!.dims).toEqual(want.y!.dims);
        expect(relativeL2(floatsOf(got.y), floatsOf(want.y))).toBeLessThan(1e-3);
        if (each !== past) continue;
        past = { past_key: got.present_key!, past_value: got.present_value! };
      }
      pastOfPlain = { past_key: want.present_key!, past_value: want.present_value! };
    }
    for (const [name, tensor] of Object.entries(past)) {
      expect(tensor.type).toBe('float16');
      expect(tensor.dims).toEqual(pastOfPlain[name]!.dims);
      expect(relativeL2(floatsOf(tensor), floatsOf(pastOfPlain[name]))).toBeLessThan(1e-3);
    }
    await msd.release();
    await plain.release();
  });
});
