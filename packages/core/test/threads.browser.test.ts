import { expect, it } from 'vitest';
import { threadCode } from '../src/backends/threads/thread.ts';
import type { ThreadWorker } from '../src/backends/threads/worker.ts';
import { createBackend } from '../src/index.ts';
import { threadSuite } from './threads.ts';

threadSuite((prelude) => {
  const code = new Blob([`${prelude}\n${threadCode()}`], { type: 'text/javascript' });
  return new Worker(URL.createObjectURL(code)) as ThreadWorker;
});

it('this page is cross-origin isolated', () => {
  expect(crossOriginIsolated).toBe(true);
});

it('uses the cores of the machine by default, four at most', async () => {
  const backend = await createBackend('wasm');
  expect(backend.threads.count).toBe(Math.min(4, navigator.hardwareConcurrency));
  backend.dispose();
});
