/** DecoderMaskedMultiHeadAttention beside that of ONNX Runtime: a past in a buffer of its full size. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../../src/register.ts';
import { writeModel } from '../../src/write/index.ts';
import { relativeL2 } from '../close.ts';
import { gaussian, random } from '../models.ts';
import { floats, ort, session, tensor } from '../ort.ts';

const [batch, heads, size, room] = [2, 4, 16, 9];
const width = heads * size;

function model({ bias, mask, added }: { bias?: boolean; mask?: boolean; added?: boolean }): Uint8Array {
  const input = (name: string, dims: readonly (string | number)[], dtype: 'float32' | 'int32' = 'float32') => ({
    name,
    dtype,
    dims,
  });
  const names = ['q', 'k', 'v', mask ? 'mask' : '', added ? 'added' : '', 'past_key', 'past_value', 'length'];
  const data = gaussian(random(3), 3 * width);
  return writeModel({
    opsets: { '': 21, 'com.microsoft': 1 },
    graph: {
      nodes: [
        {
          name: 'dmmha',
          opType: 'DecoderMaskedMultiHeadAttention',
          domain: 'com.microsoft',
          inputs: bias ? [...names, '', '', 'bias'] : names,
          outputs: ['y', 'present_key', 'present_value'],
          attributes: { num_heads: { int: heads }, past_present_share_buffer: { int: 1 } },
        },
      ],
      initializers: bias ? [{ name: 'bias', dtype: 'float32', dims: [3 * width], data }] : [],
      inputs: [
        ...['q', 'k', 'v'].map((name) => input(name, ['batch', 1, width])),
        ...['past_key', 'past_value'].map((name) => input(name, ['batch', heads, 'room', size])),
        input('length', [], 'int32'),
        ...(mask ? [input('mask', ['batch', 'total'], 'int32')] : []),
        ...(added ? [input('added', [1, heads, 1, 'total'])] : []),
      ],
      outputs: ['y', 'present_key', 'present_value'].map((name) => ({ name, dtype: 'float32' })),
    },
  });
}

function feedsOf(length: number, names: readonly string[], past: Record<string, ort.Tensor>) {
  const next = random(length);
  const of = (...dims: number[]) =>
    tensor(
      gaussian(
        next,
        dims.reduce((a, b) => a * b, 1),
      ),
      dims,
    );
  const all: Record<string, () => ort.Tensor> = {
    q: () => of(batch, 1, width),
    k: () => of(batch, 1, width),
    v: () => of(batch, 1, width),
    past_key: () => past.past_key ?? of(batch, heads, room, size),
    past_value: () => past.past_value ?? of(batch, heads, room, size),
    length: () => new ort.Tensor('int32', Int32Array.of(length), []),
    mask: () => {
      const total = length + 1;
      const seen = Int32Array.from({ length: batch * total }, (_, i) => (i % total === 1 ? 0 : 1));
      return new ort.Tensor('int32', seen, [batch, total]);
    },
    added: () => of(1, heads, 1, length + 1),
  };
  return Object.fromEntries(names.map((name) => [name, all[name]!()]));
}

describe('DecoderMaskedMultiHeadAttention', () => {
  it.each([
    ['plain', {}],
    ['with a bias of its operands', { bias: true }],
    ['with padding', { mask: true }],
    ['with a bias of scores', { added: true }],
    ['with all of them', { bias: true, mask: true, added: true }],
  ])('%s', async (_, form) => {
    const bytes = model(form);
    const msd = await session(bytes, { name: 'msd', claim: 'all' });
    const plain = await session(bytes, 'wasm');
    expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
    let [past, pastOfPlain]: Record<string, ort.Tensor>[] = [{}, {}];
    for (const length of [4, 5, 6, 7]) {
      const got = await msd.run(feedsOf(length, msd.inputNames, past!));
      const want = await plain.run(feedsOf(length, plain.inputNames, pastOfPlain!));
      expect(got.present_key!.dims).toEqual(want.present_key!.dims);
      expect(relativeL2(floats(got.y), floats(want.y))).toBeLessThan(2e-4);
      past = { past_key: got.present_key!, past_value: got.present_value! };
      pastOfPlain = { past_key: want.present_key!, past_value: want.present_value! };
    }
    await msd.release();
    await plain.release();
  });
});
