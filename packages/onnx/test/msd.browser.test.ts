/** The whole path in a browser: onnxruntime-web's bundle, a model from bytes and from a URL, against plain ONNX Runtime. */
import { expect, it } from 'vitest';
import { InferenceSession, type MsdSession } from '../src/index.ts';
import { feedsOf, groupQueryModel } from './attention/group-query.ts';
import { exactProduct, firstMiss, gaussian, makeMatrix, matmulModel, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const matrix = makeMatrix({ N: 96, K: 200, zeroPoints: true, bias: true });

it('runs a q4 matmul within its bound, from bytes and from a URL', async () => {
  const bytes = matmulModel(matrix);
  const x = gaussian(random(2), 3 * 200);
  const url = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>]));
  for (const from of [bytes, url]) {
    const s = await (typeof from === 'string' ? InferenceSession.create(from) : InferenceSession.create(from));
    const { y } = await s.run({ x: tensor(x, [1, 3, 200]) });
    expect(y!.dims).toEqual([1, 3, 96]);
    expect(firstMiss(floats(y), exactProduct(matrix, x))).toBeUndefined();
    expect(s.report!.foreignSessions).toBe(0);
    await s.release();
  }
});

it('cuts a model and agrees with plain onnxruntime-web', async () => {
  const bytes = model({
    nodes: [
      { opType: 'Tanh', inputs: ['x'], outputs: ['t'] },
      matrix.node('t', 'p'),
      { opType: 'Softmax', inputs: ['p'], outputs: ['s'] },
      { opType: 'Selu', inputs: ['s'], outputs: ['y'] }, // not MSD's
    ],
    initializers: matrix.initializers,
    inputs: [{ name: 'x', dtype: 'float32', dims: ['m', 200] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['m', 96] }],
  });
  const feeds = { x: tensor(gaussian(random(3), 5 * 200), [5, 200]) };
  const msd = (await session(bytes, { name: 'msd', claim: 'all' })) as MsdSession;
  const plain = await session(bytes, 'wasm');
  const got = floats((await msd.run(feeds)).y);
  const expected = floats((await plain.run(feeds)).y);
  expect(Math.max(...got.map((value, i) => Math.abs(value - expected[i]!)))).toBeLessThan(1e-4);
  expect(msd.report!.foreignRunsPerCall).toBe(1);
  expect(ort.env.versions.web).toBe(msd.report!.ortVersion);
  await msd.release();
  await plain.release();
});

it('keeps keys and values from run to run, in tensors of the page’s own class', async () => {
  const bytes = groupQueryModel({});
  const msd = (await session(bytes, { name: 'msd', claim: 'all' })) as MsdSession;
  const plain = await session(bytes, 'wasm');
  let [past, pastOfPlain]: Record<string, ort.Tensor>[] = [{}, {}];
  let copied = 0;
  for (const [rows, total] of [
    [70, 70],
    [1, 71],
    [3, 74],
  ] as const) {
    const round = { rows, ends: [total], total, seed: total };
    const got = await msd.run(feedsOf({}, round, past));
    const want = await plain.run(feedsOf({}, round, pastOfPlain));
    copied = msd.report!.bytesCopiedPerCall.intoMsd;
    expect(got.present_key).toBeInstanceOf(ort.Tensor);
    const [y, expected] = [floats(got.y), floats(want.y)];
    expect(Math.max(...y.map((value, i) => Math.abs(value - expected[i]!)))).toBeLessThan(1e-3);
    past = { past_key: got.present_key!, past_value: got.present_value! };
    pastOfPlain = { past_key: want.present_key!, past_value: want.present_value! };
  }
  expect(msd.report!.foreignRunsPerCall).toBe(0);
  expect(copied).toBeLessThan(2 * 4 * 74 * 2 * 32);
  const clone = structuredClone(past!.past_key) as unknown as { cpuData: Float32Array };
  expect(clone.cpuData.length).toBe(74 * 2 * 32);
  await msd.release();
  await plain.release();
});
