/** GroupQueryAttention of MSD beside that of ONNX Runtime and beside the mathematics. */
import { describe, expect, it } from 'vitest';
import { inspectModel } from '../../src/inspect/index.ts';
import { reportOf } from '../../src/register.ts';
import { relativeL2 } from '../close.ts';
import { floats, type ort, session } from '../ort.ts';
import { exactly, type Form, feedsOf, groupQueryModel, type Round } from './group-query.ts';

const prompt = (rows: number, ...ends: number[]): Round => ({
  rows,
  ends: ends.length > 0 ? ends : [rows],
  total: rows,
  seed: rows,
});
const more = (rows: number, ...ends: number[]): Round => ({
  rows,
  ends,
  total: Math.max(...ends),
  seed: rows + ends[0]!,
});
const usual = [prompt(7), more(1, 8), more(1, 9)];
const withPositions = (round: Round, ...positions: number[]): Round => ({ ...round, positions });

const forms: readonly (readonly [string, Form, readonly Round[]])[] = [
  ['a prompt and two tokens', {}, usual],
  ['a long prompt, over pages', {}, [prompt(150), more(1, 151), more(70, 221), more(1, 222)]],
  ['packed queries, keys and values', { packed: true }, usual],
  ['no rotary', { rotary: false }, usual],
  ['rotary of pairs side by side', { interleaved: true }, usual],
  ['rotary of a part of each head', { rotarySize: 16 }, usual],
  ['packed, rotary of a part, pairs side by side', { packed: true, rotarySize: 16, interleaved: true }, usual],
  ['positions from outside', { rotary: 'ids' }, [withPositions(prompt(3), 4, 5, 6), withPositions(more(2, 5), 11, 2)]],
  ['rotary by tables that stay in the file', { tables: 'large' }, usual],
  ['rotary by tables that are chosen', { tables: 'chosen' }, usual],
  ['a window', { window: 3 }, usual],
  ['a window of one key', { window: 1 }, usual],
  ['softcap', { softcap: 2 }, usual],
  ['smooth softmax', { smooth: true }, usual],
  ['sinks', { sinks: true, heads: 8 }, usual],
  ['a bias', { bias: [1, 1] }, usual],
  ['a bias of every head, softcap and window', { bias: [1, 4], softcap: 2, window: 4 }, usual],
  ['a scale', { scale: 0.3 }, usual],
  ['int8 keys and values, one scale', { codes: 'PER_TENSOR' }, [prompt(70), more(1, 71), more(3, 74)]],
  ['int8 keys and values, a scale of each channel', { codes: 'PER_CHANNEL' }, [prompt(70), more(1, 71)]],
  ['int8 keys and values, packed', { codes: 'PER_TENSOR', packed: true }, usual],
  ['normalised queries and keys', { norms: 'inside' }, usual],
  ['normalised, without rotary, a long prompt', { norms: 'inside', rotary: false }, [prompt(150), more(1, 151)]],
  [
    'normalised, int8 keys and values',
    { norms: 'inside', codes: 'PER_CHANNEL', rotarySize: 16 },
    [prompt(70), more(1, 71)],
  ],
  ['normalised, two of different length', { norms: 'inside', batch: 2, heads: 6 }, [prompt(7, 7, 4), more(1, 8, 5)]],
  ['as many KV heads as heads', { heads: 3, kvHeads: 3, size: 16 }, usual],
  ['seven heads for each KV head, 64 wide', { heads: 14, kvHeads: 2, size: 64 }, usual],
  ['a prompt in chunks', {}, [prompt(7), more(5, 12), more(64, 76), more(1, 77)]],
  ['two sequences', { batch: 2 }, [prompt(6, 6, 6), more(1, 7, 7)]],
  ['two sequences of different length', { batch: 2 }, [prompt(7, 7, 4), more(1, 8, 5), more(1, 9, 6)]],
  [
    'two of different length, packed, softcap',
    { batch: 2, packed: true, softcap: 2 },
    [prompt(7, 7, 4), more(1, 8, 5)],
  ],
  ['two of different length, a window', { batch: 2, window: 4 }, [prompt(7, 4, 7), more(1, 5, 8)]],
  ['two of different length, a bias', { batch: 2, bias: [1, 1] }, [prompt(7, 3, 7), more(1, 4, 8)]],
  ['a shorter past than was given', {}, [prompt(7), more(1, 4), more(2, 5)]],
  ['a prompt after a past', {}, [prompt(7), prompt(3)]],
];

const pastOf = (results: ort.InferenceSession.OnnxValueMapType): Record<string, ort.Tensor> => ({
  past_key: results.present_key!,
  past_value: results.present_value!,
});

describe('GroupQueryAttention', () => {
  describe.each(['int16', 'model', 'int8'] as const)('with a cache of %s', (kvCache) => {
    const limit = { int16: 2e-4, model: 2e-4, int8: 4e-2 }[kvCache];
    it.each(forms)('%s', async (_, form, rounds) => {
      const model = groupQueryModel(form);
      const msd = await session(model, { name: 'msd', claim: 'all', kvCache });
      // ONNX Runtime refuses norms inside of the node.
      const plain = await session(form.norms ? groupQueryModel({ ...form, norms: 'before' }) : model, 'wasm');
      expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
      let past: Record<string, ort.Tensor> = {};
      let pastOfPlain: Record<string, ort.Tensor> = {};
      for (const round of rounds) {
        const got = await msd.run(feedsOf(form, round, past));
        const feeds = feedsOf(form, round, pastOfPlain);
        const exact = exactly(form, feeds);
        const want = await plain.run(feeds);
        expect(got.y!.dims).toEqual(want.y!.dims);
        expect(got.present_key!.dims).toEqual(want.present_key!.dims);
        expect(relativeL2(floats(got.y), exact.y)).toBeLessThan(limit);
        expect(relativeL2(floats(want.y), exact.y)).toBeLessThan(form.codes ? 2e-3 : 1e-5);
        past = pastOf(got);
        pastOfPlain = pastOf(want);
      }
      for (const name of form.codes ? Object.keys(past) : []) {
        const [got, want] = [past[name]!, pastOfPlain[name]!];
        expect(got.type).toBe('int8');
        const codes = want.data as Int8Array;
        const others = codes.filter((code, i) => code !== got.data[i]);
        expect(others.length / codes.length, name).toBeLessThan(1e-3);
      }
      await msd.release();
      await plain.release();
    });
  });

  it('reads the tables of an If, which is nobody else’s then', async () => {
    const msd = await session(groupQueryModel({ tables: 'chosen' }), { name: 'msd', claim: 'all' });
    const { nodes } = reportOf(msd)!;
    const reason = 'its tables are read where heads are turned';
    expect(nodes.find(({ opType }) => opType === 'If')).toMatchObject({ where: 'msd', reason });
    expect(nodes.filter(({ where }) => where === 'ort')).toEqual([]);
    await msd.release();
  });

  it('keeps keys and values as they come, with a cache of the model', async () => {
    const form = { rotary: false, packed: false };
    const s = await session(groupQueryModel(form), { name: 'msd', claim: 'all', kvCache: 'model' });
    const feeds = feedsOf(form, prompt(100));
    const { present_key, present_value } = await s.run(feeds);
    const headsFirst = (x: Float32Array) =>
      Float32Array.from(x, (_, i) => x[(Math.floor(i / 32) % 100) * 64 + Math.floor(i / 3200) * 32 + (i % 32)]!);
    expect(floats(present_key)).toEqual(headsFirst(floats(feeds.k)));
    expect(floats(present_value)).toEqual(headsFirst(floats(feeds.v)));
    await s.release();
  });

  it('normalises heads of float16', async () => {
    const form: Form = { norms: 'inside', half: true };
    const msd = await session(groupQueryModel(form), { name: 'msd', claim: 'all' });
    const plain = await session(groupQueryModel({ ...form, norms: 'before' }), 'wasm');
    const feeds = feedsOf(form, prompt(9));
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(got.y!.type).toBe('float16');
    expect(relativeL2(floats(got.y), floats(want.y))).toBeLessThan(3e-3);
    await msd.release();
    await plain.release();
  });

  it.each([
    ['packed', { norms: 'inside', packed: true }],
    ['of queries alone', { norms: 'of queries' }],
  ] as const)('says why it does not take norms: %s', async (_, form) => {
    const { nodes } = await inspectModel(groupQueryModel(form), { msd: { claim: 'all' } });
    const reason = 'GroupQueryAttention: norms of packed queries and keys, or of one of them';
    expect(nodes[0]).toMatchObject({ where: 'ort', reason });
  });

  it('is left to ONNX Runtime with heads that are too wide', async () => {
    const s = await session(groupQueryModel({ size: 528, rotary: false }), { name: 'msd', claim: 'all' });
    expect(reportOf(s)!.nodes[0]).toMatchObject({ where: 'ort', reason: 'GroupQueryAttention: heads of 528' });
    await s.release();
  });

  it('is left to ONNX Runtime where the graph computes its past', async () => {
    const form = { twice: true };
    const model = groupQueryModel(form);
    const msd = await session(model, { name: 'msd', claim: 'all' });
    const plain = await session(model, 'wasm');
    const { nodes } = reportOf(msd)!;
    expect(nodes.find(({ name }) => name === 'gqa')).toMatchObject({
      where: 'ort',
      reason: "GroupQueryAttention: 'two_keys' is computed",
    });
    const past = pastOf(await plain.run(feedsOf(form, prompt(7))));
    const [got, want] = await Promise.all([msd, plain].map((each) => each.run(feedsOf(form, more(1, 8), past))));
    expect(relativeL2(floats(got!.y), floats(want!.y))).toBeLessThan(1e-5);
    await msd.release();
    await plain.release();
  });
});
