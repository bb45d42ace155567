/** Spelt-out attention whose present is a Concat of past and new keys: rounds of a decoder beside ONNX Runtime. */

import { describe, expect, it } from 'vitest';
import { loadOperators } from '../../src/execute/families.ts';
import { toldBy } from '../../src/ops/attention/chain-past.ts';
import { reportOf } from '../../src/register.ts';
import { writeModel } from '../../src/write/index.ts';
import { relativeL2 } from '../close.ts';
import { gaussian, random } from '../models.ts';
import { floats, ort, session, tensor } from '../ort.ts';
import { type PastChain, pastModel } from './chain-past.ts';

await loadOperators();

/** A prompt, tokens, a chunk, a token. `padding`: keys at the left that each sequence has none of. */
async function rounds(chain: PastChain, batch: number, padding: readonly number[], reads: boolean, claim = 'all') {
  const { kvHeads = 2, heads = 4, size = 16, layers = 2 } = chain;
  const bytes = pastModel(chain);
  const plain = await session(bytes.slice(), 'wasm', { graphOptimizationLevel: 'disabled' });
  const msd = await session(bytes.slice(), { name: 'msd', claim });
  const next = random(5);
  const names = Array.from({ length: layers }, (_, i) => [`${i}.key`, `${i}.value`]).flat();
  const pasts = [plain, msd].map(() =>
    Object.fromEntries(
      names.map((name) => [
        `past.${name}`,
        tensor(new Float32Array(0), chain.rowsFirst ? [batch, 0, kvHeads, size] : [batch, kvHeads, 0, size]),
      ]),
    ),
  );
  let length = 0;
  const found: number[] = [];
  for (const rows of [5, 1, 1, 3, 1]) {
    length += rows;
    const x = tensor(gaussian(next, batch * rows * heads * size), [batch, rows, heads * size]);
    const seen = BigInt64Array.from({ length: batch * length }, (_, i) =>
      i % length < padding[Math.floor(i / length)]! ? 0n : 1n,
    );
    const mask = new ort.Tensor('int64', seen, [batch, length]);
    const feeds = pasts.map((past) => ({ ...past, x, ...(chain.padding !== false && { mask }) }));
    const [expected, got] = [await plain.run(feeds[0]!), await msd.run(feeds[1]!)];
    // Rows of padding see nothing of their own.
    const from = rows > 1 ? Math.max(...padding) : 0;
    const rest = (t: ort.Tensor): Float32Array =>
      floats(t).filter((_, i) => Math.floor(i / (heads * size)) % rows >= from);
    found.push(relativeL2(rest(got.y!), rest(expected.y!)));
    for (const name of names) {
      pasts[0]![`past.${name}`] = expected[`present.${name}`]!;
      pasts[1]![`past.${name}`] = got[`present.${name}`]!;
      expect(got[`present.${name}`]!.dims).toEqual(expected[`present.${name}`]!.dims);
      if (reads) found.push(relativeL2(floats(got[`present.${name}`]), floats(expected[`present.${name}`])));
    }
  }
  const report = reportOf(msd)!;
  await plain.release();
  await msd.release();
  return { found, report };
}

const forms: readonly (readonly [string, PastChain, number, readonly number[]])[] = [
  ['ranges that are compared, and a mask', {}, 1, [0]],
  ['ranges alone', { padding: false }, 1, [0]],
  ['a triangle of the file', { causal: 'triangle', padding: false }, 1, [0]],
  ['a triangle and a mask', { causal: 'triangle' }, 1, [0]],
  ['as many KV heads as heads', { kvHeads: 4 }, 1, [0]],
  ['one KV head', { kvHeads: 1 }, 2, [0, 0]],
  ['two sequences, one padded at the left', {}, 2, [0, 2]],
  ['heads of 24', { size: 24 }, 1, [0]],
  ['a bias of batch and heads in one', { kvHeads: 4, alibi: true }, 2, [0, 2]],
  ['a bias of batch and heads in one, of one head', { heads: 1, kvHeads: 1, size: 64, alibi: true }, 2, [0, 2]],
  ['present by an Identity', { handsOn: true }, 1, [0]],
  ['present by an Identity, as many KV heads as heads', { handsOn: true, kvHeads: 4 }, 2, [0, 1]],
];

describe('spelt-out attention with a past by Concat', () => {
  it.each(forms)('%s: present fed back as it is', async (_, chain, batch, padding) => {
    const { found, report } = await rounds(chain, batch, padding, false);
    for (const each of found) expect(each).toBeLessThan(1e-4);
    expect(report.foreignRunsPerCall).toBe(0);
    expect(report.nodes.filter(({ where }) => where !== 'msd')).toEqual([]);
    // One for each number of rows, whatever the past: 1, 3 and 5. Of one sequence, that of one row was made by create.
    expect(report.plans).toBe(batch === 1 ? 3 : 4);
  });

  it('through a window: a text that is longer, then one that is shorter', async () => {
    const bytes = pastModel({ window: 4 });
    const plain = await session(bytes.slice(), 'wasm', { graphOptimizationLevel: 'disabled' });
    const msd = await session(bytes.slice(), { name: 'msd', claim: 'all' });
    const next = random(7);
    const names = ['0.key', '0.value', '1.key', '1.value'];
    for (const prompt of [6, 1, 9, 2]) {
      let pasts = [plain, msd].map(() => names.map(() => tensor(new Float32Array(0), [1, 2, 0, 16])));
      for (let length = prompt; length < prompt + 4; length++) {
        const rows = length === prompt ? prompt : 1;
        const x = tensor(gaussian(next, rows * 64), [1, rows, 64]);
        const mask = new ort.Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]);
        const [expected, got] = (await Promise.all(
          [plain, msd].map((each, i) =>
            each.run({ x, mask, ...Object.fromEntries(names.map((name, j) => [`past.${name}`, pasts[i]![j]!])) }),
          ),
        )) as [ort.InferenceSession.OnnxValueMapType, ort.InferenceSession.OnnxValueMapType];
        expect(relativeL2(floats(got.y), floats(expected.y)), `${length} keys`).toBeLessThan(1e-4);
        pasts = [expected, got].map((results) =>
          names.map((name) => results[`present.${name}`] as ort.TypedTensor<'float32'>),
        );
      }
    }
    for (const each of [plain, msd]) await each.release();
  });

  it('gives present as floats to whoever reads them', async () => {
    const { found } = await rounds({}, 1, [0], true);
    for (const each of found) expect(each).toBeLessThan(1e-4);
  });

  it('refuses more keys than its triangle has columns for, as ONNX Runtime does, and goes on', async () => {
    const bytes = pastModel({ causal: 'triangle', padding: false });
    const plain = await session(bytes.slice(), 'wasm', { graphOptimizationLevel: 'disabled' });
    const msd = await session(bytes.slice(), { name: 'msd', claim: 'all' });
    const [next, none] = [random(6), tensor(new Float32Array(0), [1, 2, 0, 16])];
    const fed = (rows: number, past: (name: string) => ort.Tensor) => ({
      x: tensor(gaussian(next, rows * 64), [1, rows, 64]),
      ...Object.fromEntries(['0.key', '0.value', '1.key', '1.value'].map((name) => [`past.${name}`, past(name)])),
    });
    const first = fed(64, () => none);
    const [expected, got] = [await plain.run(first), await msd.run(first)];
    expect(relativeL2(floats(got.y), floats(expected.y))).toBeLessThan(1e-4);
    const more = (results: ort.InferenceSession.OnnxValueMapType) =>
      fed(2, (name) => results[`present.${name}`] as ort.Tensor);
    await expect(plain.run(more(expected))).rejects.toThrow('64 by 66');
    await expect(msd.run(more(got))).rejects.toThrow(
      new RangeError("run: attention: keys, expected at most 64, as the model's mask has columns, got 66."),
    );
    expect(floats((await msd.run(first)).y)).toEqual(floats(got.y));
    for (const each of [plain, msd]) await each.release();
  });

  it('goes through a batch of no sequence, whose present is empty', async () => {
    const { found, report } = await rounds({}, 0, [0], true);
    // Nothing is as far from nothing as 0 / 0.
    expect(found.filter((each) => each > 0)).toEqual([]);
    expect(report.foreignRunsPerCall).toBe(0);
  });

  it('lets ONNX Runtime compute with present', async () => {
    const { found, report } = await rounds({ isUsed: true }, 1, [0], false);
    for (const each of found) expect(each).toBeLessThan(1e-4);
    expect(
      report.nodes.filter(({ where }) => where !== 'msd').map(({ opType, reason }) => `${opType}: ${reason}`),
    ).toEqual([expect.stringContaining('lies in a cache')]);
  });
});

describe('a graph input that is keys and values', () => {
  it.each(['x', 'other'])('and whose queries are %s', async (queries) => {
    const fed = ['x', 'other'].map((name) => ({ name, dtype: 'float32' as const, dims: [1, 2, 'rows', 8] }));
    const model = writeModel({
      graph: {
        nodes: [
          { opType: 'Transpose', inputs: ['x'], outputs: ['t'], attributes: { perm: { ints: [0, 1, 3, 2] } } },
          { opType: 'MatMul', inputs: [queries, 't'], outputs: ['s'] },
          { opType: 'Softmax', inputs: ['s'], outputs: ['w'], attributes: { axis: { int: -1 } } },
          { opType: 'MatMul', inputs: ['w', 'x'], outputs: ['y'] },
        ],
        inputs: fed,
        outputs: [{ name: 'y', dtype: 'float32' }],
      },
    });
    const next = random(8);
    const feeds = Object.fromEntries(fed.map(({ name }) => [name, tensor(gaussian(next, 80), [1, 2, 5, 8])]));
    const [msd, plain] = [await session(model, { name: 'msd', claim: 'all' }), await session(model, 'wasm')];
    expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(relativeL2(floats(got.y), floats(want.y))).toBeLessThan(5e-4);
    await msd.release();
    await plain.release();
  });
});

describe('a triangle, without a past', () => {
  it('refuses more keys than it has columns for', async () => {
    const ints = (name: string, value: number) => {
      return { name, dtype: 'int64' as const, dims: [1], data: BigInt64Array.of(BigInt(value)) };
    };
    const lower = Uint8Array.from({ length: 16 }, (_, i) => +(i % 4 <= Math.floor(i / 4)));
    const slice = (x: string, start: string, axis: string, y: string) => {
      return { opType: 'Slice', inputs: [x, start, 'end', axis, 'one'], outputs: [y] };
    };
    const model = writeModel({
      graph: {
        nodes: [
          { opType: 'Transpose', inputs: ['x'], outputs: ['t'], attributes: { perm: { ints: [0, 1, 3, 2] } } },
          { opType: 'MatMul', inputs: ['q', 't'], outputs: ['s'] },
          { opType: 'Shape', inputs: ['s'], outputs: ['sizes'] },
          { opType: 'Gather', inputs: ['sizes', 'three'], outputs: ['end'] },
          { opType: 'Gather', inputs: ['sizes', 'two'], outputs: ['rows'] },
          { opType: 'Sub', inputs: ['end', 'rows'], outputs: ['start'] },
          slice('triangle', 'start', 'two', 'some'),
          slice('some', 'zero', 'three', 'own'),
          { opType: 'Where', inputs: ['own', 's', 'low'], outputs: ['z'] },
          { opType: 'Softmax', inputs: ['z'], outputs: ['w'], attributes: { axis: { int: -1 } } },
          { opType: 'MatMul', inputs: ['w', 'v'], outputs: ['y'] },
        ],
        initializers: [
          ints('zero', 0),
          ints('one', 1),
          ints('two', 2),
          ints('three', 3),
          { name: 'low', dtype: 'float32', dims: [], data: Float32Array.of(-10000) },
          { name: 'triangle', dtype: 'bool', dims: [1, 1, 4, 4], data: lower },
        ],
        inputs: ['q', 'x', 'v'].map((name) => ({ name, dtype: 'float32' as const, dims: [1, 2, 'rows', 8] })),
        outputs: [{ name: 'y', dtype: 'float32' }],
      },
    });
    const next = random(9);
    const fed = (rows: number) =>
      Object.fromEntries(['q', 'x', 'v'].map((name) => [name, tensor(gaussian(next, 16 * rows), [1, 2, rows, 8])]));
    const [msd, plain] = [await session(model, { name: 'msd', claim: 'all' }), await session(model, 'wasm')];
    expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
    const fits = fed(4);
    const [got, want] = [await msd.run(fits), await plain.run(fits)];
    expect(relativeL2(floats(got.y), floats(want.y))).toBeLessThan(5e-4);
    const longer = fed(5);
    await expect(plain.run(longer)).rejects.toThrow('4 by 5');
    await expect(msd.run(longer)).rejects.toThrow(
      new RangeError("run: attention: keys, expected at most 4, as the model's mask has columns, got 5."),
    );
    for (const each of [plain, msd]) await each.release();
  });
});

describe('in a model that is cut', () => {
  it('runs without ONNX Runtime', async () => {
    const { found, report } = await rounds({ quantized: true }, 1, [0], false, 'auto');
    for (const each of found) expect(each).toBeLessThan(1e-3);
    expect(report.foreignRunsPerCall).toBe(0);
  });

  it('takes masks that ONNX Runtime makes, once for all layers', async () => {
    const { found, report } = await rounds({ quantized: true, isForeign: true, layers: 3 }, 1, [0], false, 'auto');
    for (const each of found) expect(each).toBeLessThan(1e-3);
    expect(report.foreignRunsPerCall).toBe(1);
    expect(report.nodes.filter(({ where }) => where !== 'msd').map(({ opType }) => opType)).toContain('Trilu');
    // Before and after that run, of each number of rows.
    expect(report.plans).toBe(6);
  });

  it('leaves a past with heads last to ONNX Runtime, with all that makes its masks', async () => {
    const chain: PastChain = { quantized: true, rowsFirst: true, kvHeads: 4, causal: 'triangle' };
    const { found, report } = await rounds(chain, 1, [0], true, 'auto');
    for (const each of found) expect(each).toBeLessThan(1e-3);
    expect(report.nodes.filter(({ opType }) => opType === 'Softmax')).toMatchObject([
      { where: 'ort' },
      { where: 'ort' },
    ]);
    expect(report.nodes.filter(({ opType }) => opType === 'MatMulNBits').every(({ where }) => where === 'msd')).toBe(
      true,
    );
  });
});

describe('what a mask of every run means', () => {
  const mask = (rows: number, keys: number, isSeen: (row: number, key: number) => boolean, unseen = -3.4e38) => ({
    dims: [1, 1, rows, keys] as const,
    data: Float32Array.from({ length: rows * keys }, (_, i) => (isSeen(Math.floor(i / keys), i % keys) ? 0 : unseen)),
  });

  it('is causal if every query sees all keys up to its own', () => {
    expect(
      toldBy(
        mask(3, 5, (row, key) => key <= row + 2),
        2,
      ),
    ).toEqual({ isCausal: true });
    expect(
      toldBy(
        mask(1, 4, () => true),
        3,
      ),
    ).toEqual({ isCausal: true });
  });

  it('has first keys, of several sequences', () => {
    const [a, b] = [mask(2, 4, (row, key) => key <= row + 2), mask(2, 4, (row, key) => key >= 1 && key <= row + 2)];
    const both = { dims: [2, 1, 2, 4] as const, data: Float32Array.of(...a.data, ...b.data) };
    expect(toldBy(both, 2)).toEqual({ isCausal: true, starts: [0, 1] });
  });

  it.each([
    ['a window', mask(3, 5, (row, key) => key <= row + 2 && key > row), 2],
    ['all keys', mask(3, 5, () => true), 2],
    ['numbers that weigh', mask(3, 5, (row, key) => key <= row + 2, -4), 2],
    ['more keys than positions', mask(3, 6, (row, key) => key <= row + 2), 2],
  ])('stays a bias: %s', (_, bias, past) => {
    expect(toldBy(bias, past)).toEqual({ bias });
  });
});
