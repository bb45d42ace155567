/** `@msd/onnx/worker` in a page: the same bits as on the page, which stays live. */
import { expect, it } from 'vitest';
import { createSession, type WorkerSession, type WorkerTensor } from '../src/worker/index.ts';
import { feedsOf, groupQueryModel } from './attention/group-query.ts';
import { gaussian, makeMatrix, matmulModel, random } from './models.ts';
import { floats, type ort, session, tensor } from './ort.ts';

const worker = () => new Worker(new URL('../src/worker/thread.ts', import.meta.url), { type: 'module' });
const open = (model: string | Uint8Array, options = {}): Promise<WorkerSession> =>
  createSession(model, { worker, ...options });

it('computes the same bits, and leaves the page its frames', async () => {
  const bytes = matmulModel(makeMatrix({ N: 1024, K: 1024, seed: 2 }), ['rows']);
  const x = tensor(gaussian(random(6), 600 * 1024), [600, 1024]);
  const [far, near] = [await open(URL.createObjectURL(new Blob([bytes as BlobPart]))), await session(bytes)];
  let done = false;
  const run = far.run({ x }).finally(() => {
    done = true;
  });
  let turns = 0;
  const channel = new MessageChannel();
  while (!done) {
    await new Promise((next) => {
      channel.port1.onmessage = next;
      channel.port2.postMessage(0);
    });
    turns++;
  }
  expect(turns).toBeGreaterThan(1);
  expect((await run).y!.data).toEqual(floats((await near.run({ x })).y));
  expect(far.report!.nodes[0]!.where).toBe('msd');
  await far.release();
  await near.release();
});

it('keeps keys and values with the Worker', async () => {
  const options = { executionProviders: [{ name: 'msd', claim: 'all' }] };
  const model = groupQueryModel({});
  const [far, near] = [await open(model, options), await session(model, { name: 'msd', claim: 'all' })];
  let [past, pastHere]: [Record<string, WorkerTensor>, Record<string, ort.Tensor>] = [{}, {}];
  for (const [rows, total] of [
    [7, 7],
    [1, 8],
  ] as const) {
    const feeds = feedsOf({}, { rows, ends: [total], total, seed: total }, pastHere);
    const [got, want] = [await far.run({ ...feeds, ...past }), await near.run(feeds)];
    expect(got.y!.data).toEqual(want.y!.data);
    expect(got.present_key!.location).toBe('worker');
    expect(await got.present_value!.getData()).toEqual(want.present_value!.data);
    past = { past_key: got.present_key!, past_value: got.present_value! };
    pastHere = { past_key: want.present_key!, past_value: want.present_value! };
  }
  await far.release();
  await near.release();
});
