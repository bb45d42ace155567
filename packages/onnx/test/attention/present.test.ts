/** `present` in every order in which callers may use it, beside onnxruntime-web. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SessionStateError } from '../../src/errors.ts';
import { reportOf } from '../../src/register.ts';
import { relativeL2 } from '../close.ts';
import { floats, ort, session, tensor } from '../ort.ts';
import { type Form, feedsOf, groupQueryModel } from './group-query.ts';

type Past = Record<string, ort.Tensor>;
type Engine = { readonly session: ort.InferenceSession; readonly form: Form };

let engines: { readonly msd: Engine; readonly other: Engine; readonly plain: Engine };
let pairs: { readonly msd: Engine; readonly plain: Engine };

beforeAll(async () => {
  const engine = async (form: Form, name: 'msd' | 'wasm'): Promise<Engine> => {
    const provider = name === 'msd' ? { name, claim: 'all' as const } : name;
    return { session: await session(groupQueryModel(form), provider), form };
  };
  engines = { msd: await engine({}, 'msd'), other: await engine({}, 'msd'), plain: await engine({}, 'wasm') };
  pairs = { msd: await engine({ batch: 2 }, 'msd'), plain: await engine({ batch: 2 }, 'wasm') };
});

afterAll(async () => {
  for (const each of [...Object.values(engines), ...Object.values(pairs)]) await each.session.release();
});

/** One run of `rows` new rows after `past`. What the rows hold follows from `seed`. */
async function run({ session: s, form }: Engine, rows: number, seed: number, past: Past = {}) {
  const before = past.past_key?.dims[2] ?? 0;
  const end = before + rows;
  const ends = new Array<number>(form.batch ?? 1).fill(end);
  const results = await s.run(feedsOf(form, { rows, ends, total: end, seed }, past));
  return { y: floats(results.y), key: results.present_key!, value: results.present_value! };
}

type Result = Awaited<ReturnType<typeof run>>;
const pastOf = ({ key, value }: Pick<Result, 'key' | 'value'>): Past => ({ past_key: key, past_value: value });
const copyOf = (t: ort.Tensor) => tensor(floats(t).slice(), t.dims);

/** What an order gives on MSD and on onnxruntime-web. */
async function compare(
  order: (engine: Engine) => Promise<Float32Array[]>,
  on = engines as typeof pairs,
): Promise<void> {
  const got = await order(on.msd);
  const want = await order(on.plain);
  expect(got.length).toBe(want.length);
  for (const [i, y] of want.entries()) expect(relativeL2(got[i]!, y), `result ${i}`).toBeLessThan(2e-4);
}

const copied = () => reportOf(engines.msd.session)!.bytesCopiedPerCall.intoMsd;

describe('present', () => {
  it('is a tensor of the caller’s class, and costs nothing to feed back', async () => {
    const prompt = await run(engines.msd, 100, 1);
    expect(prompt.key).toBeInstanceOf(ort.Tensor);
    expect([prompt.key.type, prompt.key.dims, prompt.key.location]).toEqual(['float32', [1, 2, 100, 32], 'cpu']);
    const next = await run(engines.msd, 1, 2, pastOf(prompt));
    const row = 4 * 32 * (4 + 2 + 2);
    expect(copied()).toBeLessThanOrEqual(row + 64);
    await run(engines.msd, 1, 2, pastOf({ key: copyOf(next.key), value: copyOf(next.value) }));
    expect(copied()).toBeGreaterThan(2 * 4 * 101 * 2 * 32);
  });

  it('may be used twice, and after newer ones', async () => {
    await compare(async (engine) => {
      const a = await run(engine, 70, 1);
      const b = await run(engine, 1, 2, pastOf(a));
      const c = await run(engine, 1, 3, pastOf(a));
      const d = await run(engine, 5, 4, pastOf(b));
      const e = await run(engine, 1, 5, pastOf(c));
      const f = await run(engine, 1, 6, pastOf(b));
      const g = await run(engine, 1, 7, pastOf(a));
      return [a, b, c, d, e, f, g].flatMap(({ y, key, value }) => [y, floats(key), floats(value)]);
    });
  });

  it('may be read, written to and fed back', async () => {
    await compare(async (engine) => {
      const a = await run(engine, 9, 1);
      const read = await run(engine, 1, 2, pastOf(a));
      floats(read.key);
      const b = await run(engine, 1, 3, pastOf(read));
      const data = (await b.value.getData()) as Float32Array;
      data.fill(0, 0, 64);
      expect(b.value.data).toBe(data);
      const c = await run(engine, 1, 4, pastOf(b));
      return [b.y, c.y, floats(c.value)];
    });
  });

  it('may be reshaped, cloned, sent and made anew', async () => {
    await compare(async (engine) => {
      const a = await run(engine, 9, 1);
      const key = a.key.reshape([9, 2, 32]).reshape(a.key.dims);
      const clone = structuredClone(a.value) as unknown as { cpuData: Float32Array; dims: number[] };
      const b = await run(engine, 1, 2, { past_key: key, past_value: tensor(clone.cpuData, clone.dims) });
      return [b.y];
    });
  });

  it('of keys and values may come from different runs', async () => {
    await compare(async (engine) => {
      const a = await run(engine, 9, 1);
      const b = await run(engine, 9, 2);
      const c = await run(engine, 1, 3, pastOf({ key: a.key, value: b.value }));
      const d = await run(engine, 1, 4, pastOf({ key: a.value, value: a.key }));
      const e = await run(engine, 1, 5, pastOf(a));
      return [c.y, d.y, e.y];
    });
  });

  it('may come from another session, from onnxruntime-web, and from the caller', async () => {
    await compare(async (engine) => {
      const foreign = await run(engines.plain, 9, 1);
      const other = await run(engines.other, 9, 1);
      const made = { key: copyOf(foreign.key), value: copyOf(foreign.value) };
      const results = [];
      for (const past of [foreign, other, made]) results.push((await run(engine, 1, 2, pastOf(past))).y);
      return results;
    });
  });

  it('may be disposed of, before and after newer ones', async () => {
    await compare(async (engine) => {
      const a = await run(engine, 9, 1);
      const b = await run(engine, 1, 2, pastOf(a));
      const c = await run(engine, 1, 3, pastOf(b));
      for (const { key, value } of [b, c]) {
        key.dispose();
        value.dispose();
      }
      expect(() => b.key.data).toThrow('disposed');
      const d = await run(engine, 1, 4, pastOf(a));
      a.key.dispose();
      a.value.dispose();
      const e = await run(engine, 1, 5, pastOf(d));
      return [a.y, b.y, c.y, d.y, e.y];
    });
  });

  it('gives its memory back when it is disposed of', async () => {
    const { session: s } = engines.other;
    const bytes = () => reportOf(s)!.kvCache!.byteLength;
    const before = bytes();
    const a = await run(engines.other, 200, 1);
    const b = await run(engines.other, 1, 2, pastOf(a));
    expect(bytes()).toBeGreaterThan(before);
    for (const { key, value } of [a, b]) for (const t of [key, value]) t.dispose();
    expect(bytes()).toBe(before);
  });

  it('is not needed: a run may be asked for something else', async () => {
    await compare(async (engine) => {
      const a = await run(engine, 9, 1);
      const feeds = feedsOf(engine.form, { rows: 1, ends: [10], total: 10, seed: 2 }, pastOf(a));
      const only = await engine.session.run(feeds, ['y']);
      const b = await run(engine, 1, 3, pastOf(a));
      return [floats(only.y), b.y, floats(b.key)];
    });
  });

  it('of beams may be gathered by the caller', async () => {
    await compare(async (engine) => {
      const a = await run(engine, 9, 1);
      const gathered = (t: ort.Tensor, order: readonly number[]) => {
        const data = floats(t);
        const size = data.length / 2;
        return tensor(
          Float32Array.from({ length: data.length }, (_, i) => data[order[Math.floor(i / size)]! * size + (i % size)]!),
          t.dims,
        );
      };
      const b = await run(engine, 1, 2, { past_key: gathered(a.key, [1, 1]), past_value: gathered(a.value, [1, 1]) });
      const c = await run(engine, 1, 3, pastOf(b));
      return [b.y, c.y];
    }, pairs);
  });

  it('is an error after its session, but for what was read before', async () => {
    const own = { session: await session(groupQueryModel({}), { name: 'msd', claim: 'all' }), form: {} };
    const a = await run(own, 9, 1);
    floats(a.key);
    await own.session.release();
    expect(floats(a.key).length).toBe(9 * 64);
    expect(() => a.value.data).toThrow(SessionStateError);
    await expect(run(engines.msd, 1, 2, pastOf(a))).rejects.toThrow(SessionStateError);
    a.value.dispose();
    await run(engines.msd, 1, 2);
  });

  it('that does not fit is an error that says how', async () => {
    const bad = {
      past_key: tensor(new Float32Array(3 * 64), [1, 3, 2, 32]),
      past_value: tensor(new Float32Array(128), [1, 2, 2, 32]),
    };
    await expect(run(engines.msd, 1, 1, bad)).rejects.toThrow(RangeError);
  });
});

describe('a long run', () => {
  /** Tokens one by one; `choose` may go back to an earlier past. */
  async function decode(count: number, choose: (past: Past, length: number, i: number) => readonly [Past, number]) {
    const { session: s, form } = engines.msd;
    const feeds = feedsOf(form, { rows: 1, ends: [1], total: 1, seed: 2 });
    let [past, length] = [{ past_key: feeds.past_key!, past_value: feeds.past_value! } as Past, 0];
    for (let i = 0; i < count; i++) {
      length++;
      const results = await s.run({
        ...feeds,
        ...past,
        seqlens_k: new ort.Tensor('int32', Int32Array.of(length - 1), [1]),
        total: new ort.Tensor('int32', Int32Array.of(length), []),
      });
      [past, length] = choose({ past_key: results.present_key!, past_value: results.present_value! }, length, i);
    }
  }
  const bytes = () => reportOf(engines.msd.session)!.kvCache!.byteLength;
  const page = 64 * 2 * 2 * (2 * 32 + 4);

  it('makes one plan for all its tokens, and takes a page with every 64', async () => {
    const { session: s } = engines.msd;
    const before = await collected(bytes);
    const plans = reportOf(s)!.plans;
    const sizes: number[] = [];
    await decode(300, (past, length) => {
      if (length % 64 === 1) sizes.push(bytes());
      return [past, length];
    });
    expect(reportOf(s)!.plans).toBe(plans);
    const steps = sizes.slice(1).map((size, i) => size - sizes[i]!);
    expect(new Set(steps)).toEqual(new Set([steps[0]]));
    expect(steps[0]).toBeLessThan(page * 1.05);
    expect(await collected(bytes)).toBe(before);
  });

  it('is flat in memory, whatever is cut off and taken up again, and nothing is disposed of', async () => {
    const before = await collected(bytes);
    const old: (readonly [Past, number])[] = [];
    const sizes: number[] = [];
    const gc = garbageCollector();
    await decode(4000, (past, length, i) => {
      if (i % 100 === 0) {
        gc(); // what is found then is known with the next turn that runs let others have
        sizes.push(reportOf(engines.msd.session)!.memory.wasmBytes);
      }
      if (length % 100 === 50) old.push([past, length]);
      if (old.length > 3) old.shift();
      return length === 260 ? old[i % old.length]! : [past, length];
    });
    expect(sizes.at(-1)).toBeLessThanOrEqual(sizes[20]! + 2 ** 19);
    old.length = 0;
    expect(await collected(bytes)).toBe(before);
  });
});

function garbageCollector(): () => void {
  setFlagsFromString('--expose_gc');
  return runInNewContext('gc') as () => void;
}

/** Once tensors that nobody holds are collected as garbage. */
async function collected<T>(read: () => T): Promise<T> {
  const gc = garbageCollector();
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    gc();
  }
  return read();
}
