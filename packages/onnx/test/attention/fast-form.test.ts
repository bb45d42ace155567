/** GroupQueryAttention that stays ONNX Runtime's, in the form that it computes faster, beside the form of the file. */
import { describe, expect, it } from 'vitest';
import { createSession } from '../../src/execute/create.ts';
import { FAST_FORM } from '../../src/execute/describe.ts';
import type { OrtModule, OrtTensor } from '../../src/ort.ts';
import { formatReport, reportOf } from '../../src/register.ts';
import { relativeL2 } from '../close.ts';
import { gaussian, random } from '../models.ts';
import { floats, ort, session, tensor } from '../ort.ts';
import { type Form, feedsOf, groupQueryModel, type Round } from './group-query.ts';

const round = (rows: number, end: number): Round => ({ rows, ends: [end], total: end, seed: rows + end });
/** A prompt, a token, a chunk. */
const rounds = [round(70, 70), round(1, 71), round(40, 111), round(1, 112)];

/** ONNX Runtime, but for what it does with models that hold the fast form. */
function without(part: 'create' | 'run'): { ort: OrtModule; tried: () => number } {
  let count = 0;
  const { create } = ort.InferenceSession;
  const refuse = (message: string): never => {
    count++;
    throw new Error(message);
  };
  const InferenceSession = {
    async create(model: Uint8Array, options: object) {
      const isFast = Buffer.from(model).includes('qk_output');
      if (isFast && part === 'create') refuse('Unrecognized attribute: qk_output');
      const made = await create(model, options);
      if (isFast) made.run = async () => refuse('failed to call OrtRun(). ERROR_MESSAGE: std::bad_alloc');
      return made;
    },
  };
  return { ort: { ...ort, InferenceSession } as unknown as OrtModule, tried: () => count };
}

describe('GroupQueryAttention in ONNX Runtime', () => {
  it.each<readonly [string, Form, boolean]>([
    ['rotary', { twice: true }, true],
    ['seven heads for each KV head', { twice: true, heads: 14, size: 64 }, true],
    ['packed, no rotary', { twice: true, packed: true, rotary: false }, true],
    ['a window', { twice: true, window: 3 }, true],
    ['a bias', { twice: true, bias: [1, 1], scale: 0.3 }, true],
    ['keys and values of 4 bits', { codes: 'PER_TENSOR', bits: 4, negated: true }, true],
    ['softcap, fast as it stands', { twice: true, softcap: 2 }, false],
    ['smooth softmax, fast as it stands', { twice: true, smooth: true }, false],
    ['sinks, fast as they stand', { twice: true, sinks: true }, false],
  ])('%s', async (_, form, isFaster) => {
    const model = groupQueryModel(form);
    const msd = await session(model, { name: 'msd', claim: 'all' });
    const plain = await session(model, 'wasm');
    const report = reportOf(msd)!;
    const node = report.nodes.find(({ name }) => name === 'gqa')!;
    expect(node.where).toBe('ort');
    expect(node.reason).toBeDefined();
    expect(node.form).toBe(isFaster ? FAST_FORM : undefined);
    expect(formatReport(report).includes(FAST_FORM)).toBe(isFaster);
    let past: Record<string, ort.Tensor> = {};
    for (const each of rounds) {
      const feeds = feedsOf(form, each, past);
      const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
      expect(Object.keys(got)).toEqual(Object.keys(want));
      expect(got.y!.dims).toEqual(want.y!.dims);
      expect(relativeL2(floats(got.y), floats(want.y))).toBeLessThan(2e-6);
      for (const name of ['present_key', 'present_value']) expect(got[name]!.data).toEqual(want[name]!.data);
      past = { past_key: want.present_key!, past_value: want.present_value! };
    }
    await msd.release();
    await plain.release();
  });

  it('keeps the form of the file where caches are rings, beside which it gives no scores', async () => {
    const model = groupQueryModel({ twice: true, window: 8, ring: true });
    const msd = await session(model, { name: 'msd', claim: 'all' });
    const plain = await session(model, 'wasm');
    const node = reportOf(msd)!.nodes.find(({ name }) => name === 'gqa')!;
    expect(node).toMatchObject({ where: 'ort', reason: expect.stringContaining('sliding_window_cache') });
    expect(node.form).toBeUndefined();
    const past = () => tensor(gaussian(random(3), 2 * 8 * 32), [1, 2, 8, 32]);
    const feeds = { ...feedsOf({}, round(1, 9)), past_key: past(), past_value: past() };
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(got.y!.data).toEqual(want.y!.data);
    await msd.release();
    await plain.release();
  });

  it('rows that count, of sequences of different length', async () => {
    const form = { twice: true, batch: 2 };
    const model = groupQueryModel(form);
    const msd = await session(model, { name: 'msd', claim: 'all' });
    const plain = await session(model, 'wasm');
    const feeds = feedsOf(form, { rows: 70, ends: [70, 33], total: 70, seed: 1 });
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(relativeL2(floats(got.y), floats(want.y))).toBeLessThan(2e-6);
    await msd.release();
    await plain.release();
  });

  it.each(['run', 'create'] as const)('goes back to the form of the file where %s fails', async (part) => {
    const form = { twice: true };
    const model = groupQueryModel(form);
    const { ort: limited, tried } = without(part);
    const options = { executionProviders: [{ name: 'msd', claim: 'all' }] };
    const msd = await createSession(limited, model, options, {});
    expect(msd.report.whole).toBeUndefined();
    expect(msd.report.nodes.find(({ name }) => name === 'gqa')!.form).toBe(part === 'run' ? FAST_FORM : undefined);
    const plain = await session(model, 'wasm');
    for (const each of [round(7, 7), round(3, 3)]) {
      const feeds = feedsOf(form, each);
      const got = await msd.run(feeds as unknown as Record<string, OrtTensor>, { y: null }, {});
      expect(got.y!.data).toEqual((await plain.run(feeds)).y!.data);
    }
    expect(tried()).toBe(part === 'run' ? 2 : 1);
    await msd.dispose();
    await plain.release();
  });
});
