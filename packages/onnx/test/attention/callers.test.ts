/**
 * What callers do with `past` and `present`, in any order. A decoder gives the same bits however its text was cut into runs, so
 * whatever was done before, the next logits are those of a session that reads the whole text at once.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { random } from '../models.ts';
import { floats, ort, session } from '../ort.ts';
import { CONFIG, storyModel } from '../story.ts';

const { layers, kvHeads, headDim, vocabSize } = CONFIG;
const NAMES = Array.from({ length: layers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();
const model = storyModel('q4');

/** A text that was read, and what it left. */
interface Read {
  readonly ids: readonly number[];
  readonly past: Readonly<Record<string, ort.Tensor>>;
  /** Of the last token. */
  readonly logits: Float32Array;
}

const nothing = (): Read => ({
  ids: [],
  past: Object.fromEntries(NAMES.map((name) => [name, floatTensor(0)])),
  logits: new Float32Array(0),
});
const floatTensor = (
  keys: number,
  data: Float32Array = new Float32Array(kvHeads * keys * headDim),
  batch = 1,
): ort.Tensor => new ort.Tensor('float32', data, [batch, kvHeads, keys, headDim]);
const ints = (values: readonly number[], dims: readonly number[]): ort.Tensor =>
  new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims);

function feedsOf({ ids, past }: Pick<Read, 'ids' | 'past'>, more: readonly number[]): Record<string, ort.Tensor> {
  const total = ids.length + more.length;
  return {
    input_ids: ints(more, [1, more.length]),
    attention_mask: ints(new Array<number>(total).fill(1), [1, total]),
    ...Object.fromEntries(NAMES.map((name) => [`past_key_values.${name}`, past[name]!])),
  };
}

async function read(s: ort.InferenceSession, from: Read, more: readonly number[]): Promise<Read> {
  return readOf(from, more, await s.run(feedsOf(from, more)));
}

function readOf({ ids }: Read, more: readonly number[], results: ort.InferenceSession.OnnxValueMapType): Read {
  return {
    ids: [...ids, ...more],
    past: Object.fromEntries(NAMES.map((name) => [name, results[`present.${name}`]!])),
    logits: floats(results.logits).slice(-vocabSize),
  };
}

const dispose = ({ past }: Read): void => {
  for (const tensor of Object.values(past)) tensor.dispose();
};

/** Decibels between two rows of logits. */
function closeness(expected: Float32Array, got: Float32Array): number {
  const power = expected.reduce((sum, value) => sum + value * value, 0);
  const noise = expected.reduce((sum, value, i) => sum + (value - got[i]!) ** 2, 0);
  return 10 * Math.log10(power / noise);
}

let s: ort.InferenceSession;
let whole: ort.InferenceSession;
beforeEach(async () => {
  s = await session(model, { name: 'msd', claim: 'all' });
  whole = await session(model, { name: 'msd', claim: 'all' });
});
afterEach(async () => {
  for (const each of [s, whole]) await each.release();
});
/** Logits of a text that is read at once, by a session that does nothing else. */
const atOnce = async (ids: readonly number[]): Promise<Float32Array> => (await read(whole, nothing(), ids)).logits;

describe('pasts', () => {
  it.each([1, 2, 3, 4])('in any order, walk %i: read on from any of them, let go of any of them', async (seed) => {
    const next = random(seed);
    const below = (count: number) => Math.floor(next() * count);
    let known = [nothing()];
    for (let step = 0; step < 40; step++) {
      const from = known[below(known.length)]!;
      const count = from.ids.length === 0 ? 1 + below(90) : 1 + below(next() < 0.2 ? 30 : 3);
      const more = Array.from({ length: Math.min(count, 250 - from.ids.length) }, () => below(vocabSize));
      if (more.length === 0) continue;
      const after = await read(s, from, more);
      expect(after.logits).toEqual(await atOnce(after.ids));
      known.push(after);
      if (next() < 0.4 && known.length > 2) {
        const [gone] = known.splice(1 + below(known.length - 1), 1);
        if (next() < 0.7) dispose(gone!);
      }
      if (known.length > 8) known = known.slice(0, 1).concat(known.slice(-4));
    }
  });

  it('are read, copied or reshaped by their caller, and go on as floats', async () => {
    const prompt = Array.from({ length: 80 }, (_, i) => (i * 37 + 5) % vocabSize);
    const expected = await atOnce([...prompt, 9]);
    const by: Record<string, (tensor: ort.Tensor) => ort.Tensor | Promise<ort.Tensor>> = {
      data: (tensor) => {
        void tensor.data;
        return tensor;
      },
      getData: async (tensor) => {
        await tensor.getData();
        return tensor;
      },
      'a copy': (tensor) => floatTensor(80, (tensor.data as Float32Array).slice()),
      reshape: (tensor) => tensor.reshape([kvHeads, 80, headDim]).reshape(tensor.dims),
      structuredClone: (tensor) => {
        const { cpuData } = structuredClone(tensor) as unknown as { cpuData: Float32Array };
        return floatTensor(80, cpuData);
      },
    };
    for (const [name, use] of Object.entries(by)) {
      const { ids, past, logits } = await read(s, nothing(), prompt);
      const own: Record<string, ort.Tensor> = {};
      for (const [key, tensor] of Object.entries(past)) own[key] = await use(tensor);
      const after = await read(s, { ids, past: own, logits }, [9]);
      expect(closeness(expected, after.logits), name).toBeGreaterThan(70);
    }
  });

  it('are mixed: keys of MSD with values of the caller, layers of different runs of one text', async () => {
    const prompt = Array.from({ length: 70 }, (_, i) => (i * 11 + 3) % vocabSize);
    const [a, b] = [await read(s, nothing(), prompt), await read(s, nothing(), prompt)];
    const expected = await atOnce([...prompt, 5]);
    const own = { ...a.past, '0.value': floatTensor(70, (a.past['0.value']!.data as Float32Array).slice()) };
    expect(closeness(expected, (await read(s, { ...a, past: own }, [5])).logits)).toBeGreaterThan(70);
    const mixed = { ...a.past, '1.key': b.past['1.key']!, '1.value': b.past['1.value']! };
    expect(closeness(expected, (await read(s, { ...a, past: mixed }, [5])).logits)).toBeGreaterThan(70);
    const crossed = { ...b.past, '1.key': a.past['1.key']! };
    expect(closeness(expected, (await read(s, { ...b, past: crossed }, [5])).logits)).toBeGreaterThan(70);
  });

  it.each([70, 63, 200])(
    'are one layer’s for all layers: %i keys, told together or one attention at a time',
    async (keys) => {
      const prompt = Array.from({ length: keys }, (_, i) => (i * 31 + 3) % vocabSize);
      const { ids, past } = await read(s, nothing(), prompt);
      const shared = (layer: number): Read => ({
        ids,
        past: Object.fromEntries(NAMES.map((name) => [name, past[name.replace(/^\d+/, `${layer}`)]!])),
        logits: new Float32Array(0),
      });
      const { signal } = new AbortController(); // a run that may be stopped goes step by step
      const options = { signal } as ort.InferenceSession.RunOptions;
      for (const layer of [0, layers - 1]) {
        const together = await read(s, shared(layer), [7]);
        const stepwise = readOf(shared(layer), [7], await s.run(feedsOf(shared(layer), [7]), options));
        expect(together.logits).toEqual(stepwise.logits);
        const [next, other] = [await read(s, together, [9]), await read(s, stepwise, [9])];
        expect(next.logits).toEqual(other.logits);
        for (const name of NAMES) expect(next.past[name]!.data).toEqual(other.past[name]!.data);
      }
      // Nothing of that is in what they went on from.
      const after = await read(s, { ids, past, logits: new Float32Array(0) }, [5]);
      expect(after.logits).toEqual(await atOnce(after.ids));
    },
  );

  it('come from another session', async () => {
    const other = await session(model, { name: 'msd', claim: 'all' });
    const plain = await session(model, 'wasm');
    const prompt = [1, 4, 7, 100, 31];
    const expected = await atOnce([...prompt, 5]);
    for (const from of [other, plain]) {
      const before = await read(from, nothing(), prompt);
      expect(closeness(expected, (await read(s, before, [5])).logits)).toBeGreaterThan(60);
      // and back
      expect(closeness(expected, (await read(from, await read(s, nothing(), prompt), [5])).logits)).toBeGreaterThan(60);
      await from.release();
    }
  });

  it('of a session that was released: a typed error, and the next run is right', async () => {
    const other = await session(model, { name: 'msd', claim: 'all' });
    const before = await read(other, nothing(), [1, 2, 3]);
    await other.release();
    await expect(read(s, before, [4])).rejects.toMatchObject({ name: 'SessionStateError' });
    expect((await read(s, nothing(), [1, 2])).logits).toEqual(await atOnce([1, 2]));
  });

  it('are disposed twice, or fed after that: an error, and the next run is right', async () => {
    const before = await read(s, nothing(), [1, 2, 3]);
    dispose(before);
    dispose(before);
    await expect(read(s, before, [4])).rejects.toThrow('got one that was disposed of');
    expect((await read(s, nothing(), [1, 2])).logits).toEqual(await atOnce([1, 2]));
  });

  it('are outputs that were not asked for', async () => {
    const before = await read(s, nothing(), [1, 2, 3]);
    const { logits } = await s.run(feedsOf(before, [4]), ['logits']);
    expect(floats(logits)).toEqual(await atOnce([1, 2, 3, 4]));
    const part = await s.run(feedsOf(before, [4]), ['logits', 'present.0.key']);
    expect(part['present.0.key']!.dims).toEqual([1, kvHeads, 4, headDim]);
    expect((await read(s, before, [6])).logits).toEqual(await atOnce([1, 2, 3, 6]));
  });

  it('are written into tensors of the caller', async () => {
    const before = await read(s, nothing(), [1, 2, 3]);
    const target = floatTensor(4);
    await s.run(feedsOf(before, [4]), { logits: null, 'present.0.key': target } as never);
    const after = await read(s, before, [4]);
    expect(after.past['0.key']!.data).toEqual(target.data);
  });
});

describe('runs that overlap', () => {
  it('from one past, not waited for', async () => {
    const before = await read(s, nothing(), [1, 2, 3]);
    const more = [[4], [5, 6], [7], [4]];
    const after = await Promise.all(more.map((ids) => read(s, before, ids)));
    for (const { ids, logits } of after) expect(logits).toEqual(await atOnce(ids));
    const further = await Promise.all(after.map((each) => read(s, each, [8])));
    for (const { ids, logits } of further) expect(logits).toEqual(await atOnce(ids));
  });

  it('whose past is disposed meanwhile', async () => {
    const before = await read(s, nothing(), [1, 2, 3]);
    const running = s.run(feedsOf(before, [4]));
    dispose(before);
    const got = await running.then(
      (results) => floats(results.logits),
      (error: Error) => error,
    );
    if (got instanceof Float32Array) expect(got).toEqual(await atOnce([1, 2, 3, 4]));
    expect((await read(s, nothing(), [1, 2])).logits).toEqual(await atOnce([1, 2]));
  });

  it('of two sessions in turns', async () => {
    const other = await session(model, { name: 'msd', claim: 'all', kvCache: 'int8' });
    let [a, b] = [nothing(), nothing()];
    for (let i = 0; i < 70; i++)
      [a, b] = await Promise.all([read(s, a, [(3 * i) % vocabSize]), read(other, b, [(3 * i) % vocabSize])]);
    expect(a.logits).toEqual(await atOnce(a.ids));
    expect(closeness(a.logits, b.logits)).toBeGreaterThan(25);
    await other.release();
  });

  it('while the session is released: they end, later ones are refused, what they gave says so', async () => {
    const other = await session(model, { name: 'msd', claim: 'all' });
    const before = await read(other, nothing(), [1, 2, 3]);
    const running = [4, 5, 6].map((id) => read(other, before, [id]));
    const released = other.release();
    const settled = await Promise.allSettled(running);
    await released;
    for (const result of settled)
      if (result.status === 'fulfilled') expect(result.value.logits).toEqual(await atOnce(result.value.ids));
      else expect(result.reason).toMatchObject({ name: 'SessionStateError' });
    await expect(read(other, before, [4])).rejects.toMatchObject({ name: 'SessionStateError' });
    expect(() => before.past['0.key']!.data).toThrow('release');
  });
});

describe('wrong runs are refused, and the next one is right', () => {
  const first = [1, 2, 3];
  const wrong: Record<string, (feeds: Record<string, ort.Tensor>) => void> = {
    'a past of other heads': (feeds) => {
      feeds['past_key_values.0.key'] = new ort.Tensor('float32', new Float32Array(3 * headDim), [1, 1, 3, headDim]);
    },
    'a past of another head size': (feeds) => {
      feeds['past_key_values.1.value'] = new ort.Tensor('float32', new Float32Array(kvHeads * 9), [1, kvHeads, 3, 3]);
    },
    'a past of three dimensions': (feeds) => {
      feeds['past_key_values.0.key'] = new ort.Tensor('float32', new Float32Array(6 * headDim), [kvHeads, 3, headDim]);
    },
    'a past of another type': (feeds) => {
      const data = new Int32Array(kvHeads * 3 * headDim);
      feeds['past_key_values.0.key'] = new ort.Tensor('int32', data, [1, kvHeads, 3, headDim]);
    },
    'values shorter than keys': (feeds) => {
      feeds['past_key_values.0.value'] = floatTensor(2);
    },
    'keys and values of one layer shorter than those of the others': (feeds) => {
      feeds['past_key_values.1.key'] = floatTensor(2);
      feeds['past_key_values.1.value'] = floatTensor(2);
    },
    'a past of another batch': (feeds) => {
      feeds['past_key_values.0.key'] = floatTensor(3, new Float32Array(2 * kvHeads * 3 * headDim), 2);
    },
    'more tokens at once than the mask tells': (feeds) => {
      feeds.attention_mask = ints([1], [1, 1]);
      feeds.input_ids = ints([1, 2, 3, 4, 5], [1, 5]);
    },
    'another batch of tokens than of past': (feeds) => {
      feeds.input_ids = ints([4, 5], [2, 1]);
      feeds.attention_mask = ints(new Array<number>(8).fill(1), [2, 4]);
    },
    'a longer mask than past and tokens': (feeds) => {
      feeds.attention_mask = ints(new Array<number>(9).fill(1), [1, 9]);
    },
    'a mask of a huge number': (feeds) => {
      feeds.attention_mask = ints([2 ** 31 - 5, 1, 1, 1], [1, 4]);
    },
    'a mask of zeros': (feeds) => {
      feeds.attention_mask = ints([0, 0, 0, 0], [1, 4]);
    },
    'a text longer than the model’s context': (feeds) => {
      for (const name of NAMES) feeds[`past_key_values.${name}`] = floatTensor(300);
      feeds.attention_mask = ints(new Array<number>(301).fill(1), [1, 301]);
    },
  };

  it.each(Object.entries(wrong))('%s', async (_, change) => {
    const before = await read(s, nothing(), first);
    const feeds = feedsOf(before, [4]);
    change(feeds);
    await expect(s.run(feeds)).rejects.toMatchObject({
      name: expect.stringMatching(/^(Range|Type|SessionState)Error$/),
    });
    expect((await read(s, before, [4])).logits).toEqual(await atOnce([...first, 4]));
  });

  it('NaN in a past: rows that see it are NaN, and nothing stays behind', async () => {
    const before = await read(s, nothing(), first);
    const data = (before.past['0.key']!.data as Float32Array).slice();
    data[0] = Number.NaN;
    const spoilt = { ...before, past: { ...before.past, '0.key': floatTensor(3, data) } };
    expect((await read(s, spoilt, [4])).logits.every(Number.isNaN)).toBe(true);
    expect((await read(s, nothing(), [1, 2])).logits).toEqual(await atOnce([1, 2]));
  });
});
