/**
 * Texts of different length in one batch, beside plain onnxruntime-web: beams that their caller reorders, pasts that are read or made
 * anew, runs that are taken back; over the borders of pages. Which token follows is random, so no branch is like another.
 */
import { describe, expect, it } from 'vitest';
import { relativeL2 } from '../close.ts';
import { random } from '../models.ts';
import { floats, ort, session } from '../ort.ts';
import { CONFIG, storyModel } from '../story.ts';

const { layers, kvHeads, headDim, vocabSize } = CONFIG;
const NAMES = Array.from({ length: layers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();
/** 60 dB, as of all logits of whole decoders: two components keep 88 in one product, and there are seven in a layer. */
const CLOSE = 1e-3;

type Past = Readonly<Record<string, ort.Tensor>>;
const ints = (values: readonly number[], dims: readonly number[]): ort.Tensor =>
  new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims);
const floatTensor = (data: Float32Array, dims: readonly number[]): ort.Tensor => new ort.Tensor('float32', data, dims);

/** A batch as it is now: keys of each text, all of them in `total` columns. */
interface Batch {
  readonly lengths: readonly number[];
  readonly total: number;
}

function feedsOf({ lengths, total }: Batch, ids: readonly number[], past: Past): Record<string, ort.Tensor> {
  const mask = lengths.flatMap((length) => Array.from({ length: total }, (_, i) => (i < length ? 1 : 0)));
  return {
    input_ids: ints(ids, [lengths.length, ids.length / lengths.length]),
    attention_mask: ints(mask, [lengths.length, total]),
    ...Object.fromEntries(NAMES.map((name) => [`past_key_values.${name}`, past[name]!])),
  };
}

const pastOf = (results: ort.InferenceSession.OnnxValueMapType): Past =>
  Object.fromEntries(NAMES.map((name) => [name, results[`present.${name}`]!]));
const change = (past: Past, by: (tensor: ort.Tensor) => ort.Tensor): Past =>
  Object.fromEntries(NAMES.map((name) => [name, by(past[name]!)]));

/** What a caller does for beams: sequence i goes on from sequence order[i]. */
const gathered =
  (order: readonly number[]) =>
  (tensor: ort.Tensor): ort.Tensor => {
    const data = floats(tensor);
    const size = data.length / order.length;
    const rows = order.map((from) => data.subarray(from * size, (from + 1) * size));
    const out = new Float32Array(data.length);
    rows.forEach((row, i) => {
      out.set(row, i * size);
    });
    return floatTensor(out, tensor.dims);
  };

describe.each(['q4', 'fp32'] as const)('batches of texts, %s', (form) => {
  it.each([
    [1, 1, 'int16', 55],
    [2, 2, 'int16', 63],
    [3, 3, 'model', 64],
    [4, 4, 'int16', 65],
    [5, 2, 'model', 128],
    [6, 3, 'int16', 1],
  ] as const)('walk %i: %i at once, cache of %s, from %i tokens on', async (seed, batch, kvCache, start) => {
    const next = random(77 * seed);
    const below = (count: number) => Math.floor(next() * count);
    const tokens = (rows: number) => Array.from({ length: batch * rows }, () => below(vocabSize));
    const msd = await session(storyModel(form), { name: 'msd', claim: 'all', kvCache });
    const plain = await session(storyModel(form), 'wasm');
    const none = Object.fromEntries(
      NAMES.map((name) => [name, floatTensor(new Float32Array(0), [batch, kvHeads, 0, headDim])]),
    );
    let [own, theirs]: Past[] = [none, none];
    let now: Batch = {
      lengths: Array.from({ length: batch }, (_, i) => (i === 0 ? start : 1 + below(start))),
      total: start,
    };
    let rows: number = start;
    for (let step = 0; step < 10; step++) {
      const ids = tokens(rows);
      const results = await msd.run(feedsOf(now, ids, own!));
      const expected = await plain.run(feedsOf(now, ids, theirs!));
      const [got, want] = [floats(results.logits), floats(expected.logits)];
      now.lengths.forEach((length, i) => {
        const seen = step === 0 ? length : rows; // padding behind the prompt gives nothing that means anything
        const [begin, end] = [i * rows * vocabSize, (i * rows + seen) * vocabSize];
        expect(relativeL2(got!.subarray(begin, end), want!.subarray(begin, end))).toBeLessThan(CLOSE);
      });
      const isTakenBack = step > 0 && next() < 0.2;
      if (isTakenBack) now = { lengths: now.lengths.map((length) => length - rows), total: now.total - rows };
      else {
        [own, theirs] = [pastOf(results), pastOf(expected)];
        const order = [now.lengths.indexOf(now.total), ...Array.from({ length: batch - 1 }, () => below(batch))];
        const use = below(4);
        if (use === 0) {
          [own, theirs] = [change(own, gathered(order)), change(theirs, gathered(order))];
          now = { ...now, lengths: order.map((from) => now.lengths[from]!) };
        }
        if (use === 1) for (const tensor of Object.values(own)) void tensor.data;
        if (use === 2)
          own = change(own, (tensor) => (next() < 0.5 ? tensor : floatTensor(floats(tensor).slice(), tensor.dims)));
      }
      rows = batch > 1 ? 1 : [1, 2, 7, 64][below(4)]!; // ONNX Runtime takes no more of several texts with a past
      if (now.total + rows > 240) break;
      now = { lengths: now.lengths.map((length) => length + rows), total: now.total + rows };
    }
    for (const each of [msd, plain]) await each.release();
  });
});
