/** float16: MSD has it as f32, and rounds at the border. */
import { fromFp16, type HalfArray, toFp16 } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { bitsOf, floatsOfHalves, halvesOf } from '../src/half.ts';
import { reportOf } from '../src/register.ts';
import { type Form, feedsOf, groupQueryModel } from './attention/group-query.ts';
import { relativeL2 } from './close.ts';
import { type ort, session } from './ort.ts';

const floatsOf = (tensor: ort.Tensor | undefined): Float32Array => floatsOfHalves(tensor!.data as unknown as HalfArray);

describe('float16', () => {
  const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits).filter((bits) => (bits & 0x7fff) <= 0x7c00);
  const floats = floatsOfHalves(all);

  it('is read exactly', () => {
    for (const [i, bits] of all.entries()) expect(floats[i]).toBe(fromFp16(bits));
    expect(floatsOfHalves(Uint16Array.of(0x7e00, 0xfc01))).toEqual(Float32Array.of(Number.NaN, Number.NaN));
  });

  it('is written as it was read, and half to even between two values', () => {
    expect(bitsOf(floats)).toEqual(all);
    const below = all.filter((bits) => bits < 0x7bff);
    const steps = Array.from(below, (bits) => [fromFp16(bits), fromFp16(bits + 1)] as const);
    const even = below.map((bits) => bits + (bits & 1));
    expect(bitsOf(steps.map(([a, b]) => (a + b) / 2))).toEqual(even);
    expect(bitsOf(steps.map(([a, b]) => Math.fround(a + (b - a) * 0.499)))).toEqual(below);
    expect(bitsOf([65519, 65520, 1e30, -65520, Number.NaN, 2 ** -26, -0])).toEqual(
      Uint16Array.of(0x7bff, 0x7c00, 0x7c00, 0xfc00, 0x7e00, 0, 0x8000),
    );
  });

  it('is written as the specification says, whatever the pattern of f32', () => {
    const words = Uint32Array.from({ length: 2 ** 16 }, (_, i) => Math.imul(i, 0x9e3779b1));
    // Every exponent with the last bits that decide, and either sign.
    const near = Array.from({ length: 512 }, (_, i) =>
      [0, 1, 0xfff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x7fffff].map((low) => ((i << 23) | low) >>> 0),
    ).flat();
    const values = new Float32Array(Uint32Array.from([...words, ...near]).buffer);
    expect(bitsOf(values)).toEqual(Uint16Array.from(values, toFp16));
  });

  it('is what the array of this engine holds', () => {
    expect(floatsOfHalves(halvesOf(floats))).toEqual(floats);
  });
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
