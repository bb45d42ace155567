/** While the file of a page's first model arrives, MSD's code is made ready. */
import { afterAll, expect, it } from 'vitest';
import { formatReport, type MsdSession } from '../src/index.ts';
import { exactProduct, firstMiss, gaussian, makeMatrix, matmulModel, random } from './models.ts';
import { floats, session, tensor } from './ort.ts';

/** How many modules the engine has compiled. */
let modules = 0;
const { Module } = WebAssembly;
WebAssembly.Module = new Proxy(Module, {
  construct(target, args, own) {
    modules++;
    return Reflect.construct(target, args, own);
  },
});
const ownFetch = globalThis.fetch;
afterAll(() => {
  WebAssembly.Module = Module;
  globalThis.fetch = ownFetch;
});

/** A file that comes when it is told to. */
function heldFile(name: string): { readonly request: Promise<void>; readonly body: ReadableStreamDefaultController } {
  let body!: ReadableStreamDefaultController;
  const stream = new ReadableStream({ start: (controller) => void (body = controller) });
  const request = new Promise<void>((resolve) => {
    globalThis.fetch = async (...args) => {
      if (args[0] !== name) return ownFetch(...args);
      resolve();
      return new Response(stream);
    };
  });
  return { request, body };
}

/** Modules that are there before anything is warmed: questions to the engine. */
let asked = 0;
const isWarming = () => performance.getEntriesByType('resource').some(({ name }) => /warm-model/.test(name));
performance.setResourceTimingBufferSize(10_000);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

it('not where the user does not want it', async () => {
  const { request, body } = heldFile('unwanted.onnx');
  const creation = session('unwanted.onnx', { name: 'msd', warm: false });
  await Promise.race([request, creation]); // one that fails says so at once
  await pause(500); // warming would begin after 200 ms
  body.error(new Error('gone'));
  await expect(creation).rejects.toThrow('gone');
  expect(isWarming()).toBe(false);
  asked = modules;
});

it('compiles what a decoder needs before the file is there, and gives way to it', async () => {
  const matrix = makeMatrix({ N: 96, K: 200, zeroPoints: true, bias: true });
  const { body } = heldFile('held.onnx');
  const creation = session('held.onnx');
  while (modules === asked) await Promise.race([pause(20), creation]);
  expect(isWarming()).toBe(true);
  body.enqueue(matmulModel(matrix));
  body.close();
  const s = (await creation) as MsdSession;
  const x = gaussian(random(2), 3 * 200);
  const { y } = await s.run({ x: tensor(x, [1, 3, 200]) });
  expect(firstMiss(floats(y), exactProduct(matrix, x))).toBeUndefined();
  expect(s.report!.foreignSessions).toBe(0);
  expect(s.report!.warmedMilliseconds).toBeGreaterThan(0);
  expect(formatReport(s.report!)).toMatch(/^warmed for \d+ ms beside the page's first download$/m);
  await s.release();
});
