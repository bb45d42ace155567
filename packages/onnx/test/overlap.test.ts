/** Overlapping runs in the bundles that Node can load; overlap.browser.test.ts has those of browsers. */
import { expect, it } from 'vitest';
import { Turns } from '../src/turns.ts';
import { overlaps } from './overlap.ts';

it.each([
  ['onnxruntime-web', () => import('onnxruntime-web')],
  ['onnxruntime-web/wasm', () => import('onnxruntime-web/wasm')],
  ['onnxruntime-web/webgpu', () => import('onnxruntime-web/webgpu')],
  ['onnxruntime-web/all', () => import('onnxruntime-web/all')],
])('%s: runs, creations and releases may overlap', async (_, load) => {
  await overlaps(await load());
});

it('turns are taken one after the other, the first at once; failures pass', async () => {
  const turns = new Turns();
  const log: string[] = [];
  const work = (name: string, fails: boolean) => async () => {
    log.push(`${name} begins`);
    await Promise.resolve();
    log.push(`${name} ends`);
    if (fails) throw new Error(name);
    return name;
  };
  const results = ['a', 'b', 'c'].map((name) => turns.take(work(name, name === 'b')));
  expect(log).toEqual(['a begins']);
  const thrown = turns.take(() => {
    throw new Error('at once');
  });
  const settled = await Promise.allSettled([...results, thrown]);
  expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected']);
  expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  expect(turns.isFree).toBe(true);
  await expect(
    turns.take(() => {
      throw new Error('at once');
    }),
  ).rejects.toThrow('at once');
  expect(turns.isFree).toBe(true);
});
