/** What `run` was given is what it computes with, whatever its caller does right after the call; and what may be given at all. */
import vm from 'node:vm';
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import { feedsOf, groupQueryModel } from './attention/group-query.ts';
import { gaussian, makeMatrix, matmulModel, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const H = 64;
const a = makeMatrix({ name: 'a', N: H, K: H, seed: 4 });
const io = {
  inputs: [
    { name: 'x', dtype: 'float32' as const, dims: ['rows', H] },
    { name: 'z', dtype: 'float32' as const, dims: ['rows', H] },
  ],
  outputs: [{ name: 'y', dtype: 'float32' as const, dims: ['rows', H] }],
};
const add = { opType: 'Add', inputs: ['p', 'z'], outputs: ['y'] };
/** All of it MSD's; ONNX Runtime's first, so that MSD reads z late; ONNX Runtime's alone. */
const models = {
  claimed: model({ nodes: [a.node('x', 'p'), add], initializers: a.initializers, ...io }),
  cut: model({
    nodes: [{ opType: 'Selu', inputs: ['x'], outputs: ['s'] }, a.node('s', 'p'), add],
    initializers: a.initializers,
    ...io,
  }),
  whole: model({ nodes: [{ opType: 'Selu', inputs: ['x'], outputs: ['p'] }, add], ...io }),
};
const kinds = Object.entries(models);
const create = (bytes: Uint8Array): Promise<ort.InferenceSession> =>
  session(bytes, bytes === models.whole ? 'msd' : { name: 'msd', claim: 'all' });
const values = (seed: number): Float32Array => gaussian(random(seed), H);
const feed = (x: Float32Array, z = x): Record<string, ort.Tensor> => ({
  x: tensor(x, [1, H]),
  z: tensor(z, [1, H]),
});

/** What a caller may do with what it fed, once `run` has returned. */
const deeds: [string, (feeds: Record<string, ort.Tensor>) => void][] = [
  ['overwrites', (feeds) => Object.values(feeds).forEach((each) => void floats(each).fill(9))],
  [
    'transfers',
    (feeds) => {
      for (const each of Object.values(feeds)) structuredClone(floats(each), { transfer: [floats(each).buffer] });
    },
  ],
  ['disposes of', (feeds) => Object.values(feeds).forEach((each) => void each.dispose())],
  ['exchanges', (feeds) => Object.assign(feeds, feed(values(99)))],
];

describe.each(kinds)('a model that is %s', (kind, bytes) => {
  it('is that', async () => {
    const s = await create(bytes);
    const { foreignRunsPerCall, whole } = reportOf(s)!;
    expect([foreignRunsPerCall, whole !== undefined]).toEqual([kind === 'claimed' ? 0 : 1, kind === 'whole']);
    await s.release();
  });

  it.each(deeds)('computes with what it was given if the caller %s it', async (_, deed) => {
    const s = await create(bytes);
    const expected = [];
    for (let i = 0; i < 6; i++) expected.push(floats((await s.run(feed(values(i), values(i + 10)))).y));
    // One frame after the other in the same array, all of them under way at once.
    const running = [];
    for (let i = 0; i < 6; i++) {
      const feeds = feed(values(i), values(i + 10));
      running.push(s.run(feeds));
      deed(feeds);
    }
    expect((await Promise.all(running)).map(({ y }) => floats(y))).toEqual(expected);
    await s.release();
  });

  it('takes elements of another realm', async () => {
    const s = await create(bytes);
    const x = values(1);
    const expected = floats((await s.run(feed(x))).y);
    const data = vm.runInNewContext(`Float32Array.from(${JSON.stringify([...x])})`) as Float32Array;
    expect(data).not.toBeInstanceOf(Float32Array);
    const foreign = { type: 'float32', data, dims: [1, H], location: 'cpu' } as unknown as ort.Tensor;
    expect(floats((await s.run({ x: foreign, z: foreign })).y)).toEqual(expected);
    await s.release();
  });

  const good = tensor(values(1), [1, H]);
  const gone = tensor(values(1), [1, H]);
  gone.dispose();
  const moved = tensor(values(1), [1, H]);
  structuredClone(floats(moved), { transfer: [floats(moved).buffer] });
  it.each<[string, unknown, RegExp, new () => Error]>([
    ['null', null, /input 'x', expected a tensor, got none/, TypeError],
    ['a number', 5, /got a number: make one with new Tensor/, TypeError],
    ['an array', [...values(1)], /got an array: make one/, TypeError],
    ['a typed array', values(1), /got a Float32Array: make one/, TypeError],
    ['text', 'x', /got a string: make one/, TypeError],
    ['an object', { data: values(1), dims: [1, H] }, /an object that is none: make one/, TypeError],
    ['a disposed tensor', gone, /got one that was disposed of/, TypeError],
    ['a tensor whose array was transferred', moved, /expected 64 elements .* got 0. Was its array tr/, RangeError],
    ['whole numbers', new ort.Tensor('int32', new Int32Array(H), [1, H]), /expected float32, got int32/, TypeError],
    ['another rank', tensor(values(1), [H]), /expected \[rows, 64\], got \[64\]/, RangeError],
  ])('refuses %s, and goes on', async (_, x, message, type) => {
    const s = await create(bytes);
    const run = s.run({ x, z: good } as never);
    await expect(run).rejects.toThrow(message);
    await expect(run).rejects.toBeInstanceOf(type);
    expect((await s.run({ x: good, z: good })).y!.dims).toEqual([1, H]);
    await s.release();
  });

  it('takes feeds that are inherited, and refuses those that it has no input for', async () => {
    const s = await create(bytes);
    const own = feed(values(1));
    const expected = floats((await s.run(own)).y);
    expect(floats((await s.run(Object.create(own) as typeof own)).y)).toEqual(expected);
    expect(floats((await s.run(Object.assign(Object.create(null), own) as typeof own)).y)).toEqual(expected);
    await expect(s.run({ ...own, q: own.x! })).rejects.toThrow("feed 'q', expected inputs of the model (x, z)");
    await expect(s.run(Object.assign(Object.create({ z: own.z }), { x: own.x, q: own.x }))).rejects.toThrow("feed 'q'");
    await s.release();
  });

  it('runs without rows', async () => {
    const s = await create(bytes);
    const none = tensor(new Float32Array(0), [0, H]);
    const { y } = await s.run({ x: none, z: none });
    expect([y!.dims, floats(y).length]).toEqual([[0, H], 0]);
    await s.release();
  });

  it('knows its outputs by name as ONNX Runtime does', async () => {
    const s = await create(bytes);
    const feeds = feed(values(1));
    await expect(s.run(feeds, ['nothing'])).rejects.toThrow(RangeError);
    expect(Object.keys(await s.run(feeds, ['y', 'y']))).toEqual(['y']);
    expect(Object.keys(await s.run(feeds, { y: null }))).toEqual(['y']);
    await s.release();
  });
});

it('says how a feed of another type or shape is made', async () => {
  const bytes = model({
    nodes: [
      { opType: 'Gather', inputs: ['table', 'ids'], outputs: ['g'] },
      { opType: 'Where', inputs: ['mask', 'g', 'g'], outputs: ['w'] },
      a.node('w', 'y'),
    ],
    initializers: [
      ...a.initializers,
      { name: 'table', dtype: 'float32', dims: [4, H], data: gaussian(random(3), 4 * H) },
    ],
    inputs: [
      { name: 'ids', dtype: 'int64', dims: ['batch', 'tokens'] },
      { name: 'mask', dtype: 'bool', dims: [1] },
    ],
    outputs: [{ name: 'y', dtype: 'float32' }],
  });
  const s = await session(bytes, { name: 'msd', claim: 'all' });
  const ids = new ort.Tensor('int64', BigInt64Array.of(1n), [1, 1]);
  const mask = new ort.Tensor('bool', Uint8Array.of(1), [1]);
  await expect(s.run({ ids: new ort.Tensor('int32', Int32Array.of(1), [1, 1]), mask })).rejects.toThrow(
    "run: input 'ids', expected int64, got int32. Make it with new Tensor('int64', BigInt64Array.from(numbers, BigInt), dims).",
  );
  await expect(s.run({ ids, mask: tensor(Float32Array.of(1), [1]) })).rejects.toThrow(
    "run: input 'mask', expected bool, got float32.",
  );
  await expect(s.run({ ids: new ort.Tensor('int64', BigInt64Array.of(1n), [1]), mask })).rejects.toThrow(
    "run: input 'ids', expected [batch, tokens], got [1].",
  );
  await s.release();
});

it('takes a list of one where a scalar is declared, as ONNX Runtime does, and no other list', async () => {
  const bytes = model({
    nodes: [a.node('x', 'p'), { opType: 'Mul', inputs: ['p', 's'], outputs: ['y'] }],
    initializers: a.initializers,
    inputs: [io.inputs[0]!, { name: 's', dtype: 'float32', dims: [] }],
    outputs: io.outputs,
  });
  const s = await session(bytes, { name: 'msd', claim: 'all' });
  const x = tensor(values(1), [1, H]);
  const expected = (await s.run({ x, s: tensor(Float32Array.of(3), []) })).y!;
  const { y } = await s.run({ x, s: tensor(Float32Array.of(3), [1]) });
  expect([y!.dims, floats(y)]).toEqual([expected.dims, floats(expected)]);
  const many = s.run({ x, s: tensor(new Float32Array(H), [H]) });
  await expect(many).rejects.toThrow("run: input 's', expected [], got [64].");
  await s.release();
});

it('a past that is disposed of, or read and overwritten, while its run waits is what it was', async () => {
  const s = await session(groupQueryModel({}), { name: 'msd', claim: 'all' });
  const round = (rows: number, total: number): Parameters<typeof feedsOf>[1] => ({
    rows,
    ends: [total],
    total,
    seed: total,
  });
  const first = await s.run(feedsOf({}, round(70, 70), {}));
  const past = { past_key: first.present_key!, past_value: first.present_value! };
  const next = feedsOf({}, round(1, 71), past);
  const expected = floats((await s.run(next)).y);
  for (const deed of [
    () => floats(past.past_key).fill(3),
    () => Object.values(past).forEach((each) => void each.dispose()),
  ]) {
    const running = [
      s.run(feedsOf({}, round(5, 5), {}), { signal: new AbortController().signal } as never),
      s.run(next),
    ];
    deed();
    expect(floats((await running[1]!).y)).toEqual(expected);
    await running[0];
    const again = await s.run(feedsOf({}, round(70, 70), {}));
    Object.assign(past, { past_key: again.present_key!, past_value: again.present_value! });
    Object.assign(next, past);
  }
  await s.release();
  expect(reportOf(s)!.kvCache).toBeUndefined();
});

it('what ONNX Runtime returned for a whole model is fed back without a copy, and may be disposed of at once', async () => {
  const cache = (side: string) => ({ name: side, dtype: 'float32' as const, dims: [side, H] });
  const bytes = model({
    nodes: ['a', 'b'].map((each) => ({
      opType: 'Concat',
      inputs: [`past_${each}`, 'x'],
      outputs: [`present_${each}`],
      attributes: { axis: { int: 0 } },
    })),
    inputs: [{ name: 'x', dtype: 'float32', dims: [1, H] }, cache('past_a'), cache('past_b')],
    outputs: [cache('present_a'), cache('present_b')],
  });
  const s = await session(bytes);
  expect(reportOf(s)!.whole).toBeDefined();
  const rows = [values(1), values(2), values(3)];
  const past = { past_a: tensor(rows[0]!, [1, H]), past_b: tensor(rows[1]!, [1, H]) };
  const first = await s.run({ x: tensor(rows[2]!, [1, H]), ...past });
  for (const each of Object.values(first))
    Object.defineProperty(floats(each), 'slice', { value: () => expect.unreachable('copied') });
  const running = s.run({ x: tensor(rows[1]!, [1, H]), past_a: first.present_a!, past_b: first.present_b! });
  for (const each of Object.values(first)) each.dispose();
  const next = await running;
  expect([...floats(next.present_a)]).toEqual([rows[0]!, rows[2]!, rows[1]!].flatMap((row) => [...row]));
  expect([...floats(next.present_b)]).toEqual([rows[1]!, rows[2]!, rows[1]!].flatMap((row) => [...row]));
  await s.release();
});

describe('names that every object has', () => {
  const names = ['__proto__', 'constructor', 'toString'] as const;
  const [x, y, z] = names;
  const odd = model({
    nodes: [
      { opType: 'Selu', inputs: [x], outputs: ['hasOwnProperty'] },
      a.node('hasOwnProperty', y),
      { opType: 'Selu', inputs: [y], outputs: [z] },
    ],
    initializers: a.initializers,
    inputs: [{ name: x, dtype: 'float32', dims: ['rows', H] }],
    outputs: [
      { name: z, dtype: 'float32', dims: ['rows', H] },
      { name: y, dtype: 'float32', dims: ['rows', H] },
    ],
  });

  it('are feeds and results like others', async () => {
    const msd = await session(odd, { name: 'msd', claim: 'all' });
    const plain = await session(odd, 'wasm');
    expect(reportOf(msd)!.whole).toBeUndefined();
    const feeds = { [x]: tensor(values(1), [1, H]) } as unknown as Record<string, ort.Tensor>;
    const [got, expected] = [await msd.run(feeds), await plain.run(feeds)];
    expect(Object.keys(got).sort()).toEqual(Object.keys(expected).sort());
    for (const name of [y, z])
      expect(
        Math.max(...floats(got[name]).map((value, i) => Math.abs(value - floats(expected[name])[i]!))),
      ).toBeLessThan(1e-3);
    await expect(msd.run({})).rejects.toThrow("input '__proto__', expected a tensor, got none");
    await msd.release();
    await plain.release();
  });
});

it('a string tensor reaches a model that goes whole, also when the run waits', async () => {
  const bytes = model({
    nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
    inputs: [{ name: 'x', dtype: 'string', dims: ['n'] }],
    outputs: [{ name: 'y', dtype: 'string', dims: ['n'] }],
  });
  const s = await session(bytes);
  const texts = ['a', 'b'];
  const running = [1, 2].map(() => s.run({ x: new ort.Tensor('string', texts, [2]) }));
  texts.fill('z');
  for (const { y } of await Promise.all(running)) expect(y!.data).toEqual(['a', 'b']);
  await expect(s.run({ x: tensor(values(1), [H]) })).rejects.toBeInstanceOf(TypeError);
  await s.release();
});

it('copies nothing where a run begins at once', async () => {
  const s = await session(matmulModel(a, ['rows']));
  const x = tensor(values(1), [1, H]);
  let reads = 0;
  const data = floats(x);
  const slice = (): Float32Array => {
    reads++;
    return data;
  };
  Object.defineProperty(data, 'slice', { value: slice });
  for (let i = 0; i < 5; i++) await s.run({ x });
  expect(reads).toBe(0);
  await s.release();
});

it('leaves a model to ONNX Runtime that has an int64 constant which no double is: a hash', async () => {
  const long = (name: string, ...data: bigint[]) =>
    ({ name, dtype: 'int64', dims: [data.length], data: BigInt64Array.from(data) }) as const;
  const hash = (factor: bigint) =>
    model({
      nodes: [
        a.node('x', 'y'),
        { opType: 'Mul', inputs: ['ids', 'factor'], outputs: ['product'] },
        { opType: 'Mod', inputs: ['product', 'size'], outputs: ['row'] },
      ],
      initializers: [...a.initializers, long('factor', factor), long('size', 1000n)],
      inputs: [
        { name: 'x', dtype: 'float32', dims: [1, H] },
        { name: 'ids', dtype: 'int64', dims: ['n'] },
      ],
      outputs: [{ name: 'y' }, { name: 'row' }],
    });
  const feeds = {
    x: tensor(new Float32Array(H), [1, H]),
    ids: new ort.Tensor('int64', BigInt64Array.of(5n, 7n), [2]),
  };
  const factor = 0x1e3779b97f4a7c15n;
  const s = await session(hash(factor), { name: 'msd', claim: 'all' });
  expect(reportOf(s)!.whole).toBe(
    'a constant of int64 has 2177342782468422677, which no double is: MSD computes with doubles',
  );
  const exact = BigInt64Array.from([5n, 7n], (id) => ((BigInt.asIntN(64, id * factor) % 1000n) + 1000n) % 1000n);
  expect((await s.run(feeds)).row!.data).toEqual(exact);
  await s.release();
  // One that a double is may be as large.
  const even = await session(hash(2n ** 60n), { name: 'msd', claim: 'all' });
  expect(reportOf(even)!.whole).toBeUndefined();
  expect((await even.run(feeds)).row!.data).toEqual(
    BigInt64Array.of((5n * 2n ** 60n) % 1000n, (7n * 2n ** 60n) % 1000n),
  );
  await even.release();
});

it('takes int64 beyond 2^53 where a double is the same, and refuses others instead of rounding them', async () => {
  const bytes = model({
    nodes: [
      a.node('x', 'y'),
      { opType: 'Unsqueeze', inputs: ['ids', 'axes'], outputs: ['z'] },
      { opType: 'Identity', inputs: ['ids'], outputs: ['same'] },
    ],
    initializers: [...a.initializers, { name: 'axes', dtype: 'int64', dims: [1], data: BigInt64Array.of(0n) }],
    inputs: [
      { name: 'x', dtype: 'float32', dims: [1, H] },
      { name: 'ids', dtype: 'int64', dims: ['n'] },
    ],
    outputs: [{ name: 'y' }, { name: 'z' }, { name: 'same' }],
  });
  const s = await session(bytes, { name: 'msd', claim: 'all' });
  const feeds = (...ids: bigint[]) => ({
    x: tensor(new Float32Array(H), [1, H]),
    ids: new ort.Tensor('int64', BigInt64Array.from(ids), [ids.length]),
  });
  const ids = [2n ** 63n - 1n, -(2n ** 63n), 2n ** 60n, 10n ** 18n, -5n];
  expect((await s.run(feeds(...ids))).z!.data).toEqual(BigInt64Array.from(ids));
  const odd = feeds(2n ** 53n + 1n);
  await expect(s.run(odd)).rejects.toThrow(/^run: int64 element, expected .*, got 9007199254740993\. /);
  expect((await s.run(odd, ['y', 'same'])).same!.data).toEqual(odd.ids.data);
  await s.release();
});
