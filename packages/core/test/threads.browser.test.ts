import { expect, it } from 'vitest';
import { createBackend } from '../src/index.ts';
import type { ThreadWorker } from '../src/threads/environment.ts';
import { threadCode } from '../src/threads/thread.ts';
import { callSuite } from './calls.ts';
import { type SpoiledWorker, threadSuite } from './threads.ts';

const spoiled: SpoiledWorker = (prelude) => {
  const code = new Blob([`${prelude}\n${threadCode()}`], { type: 'text/javascript' });
  return new Worker(URL.createObjectURL(code)) as ThreadWorker;
};
threadSuite(spoiled);
callSuite(spoiled);

it('this page is cross-origin isolated', () => {
  expect(crossOriginIsolated).toBe(true);
});

it('uses the cores of the machine by default, four at most', async () => {
  const backend = await createBackend('wasm');
  expect(backend.threads.count).toBe(Math.min(4, navigator.hardwareConcurrency));
  backend.dispose();
});
