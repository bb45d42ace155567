/** One side of the comparison, in a thread and with a heap of its own. */
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as converter from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import { Encoder, nearest, WIDTH } from './encoder.ts';
import type { Reply, Request } from './protocol.ts';

const BATCH = 16;
const HITS = 6;

let encoder: Encoder | undefined;
let vectors = new Float32Array(0);
let isCancelled = false;
/** One request after the other: tfjs runs one model at a time. */
let turn: Promise<void> = Promise.resolve();

const reply = (message: Reply) => postMessage(message);
console.warn = () => {}; // executeAsync says on every call that execute would do

addEventListener('message', ({ data }: MessageEvent<Request>) => {
  if (data.type === 'cancel') {
    isCancelled = true;
    return;
  }
  turn = turn.then(() => handle(data)).catch((error: unknown) => reply({ type: 'failed', message: String(error) }));
});

async function handle(request: Exclude<Request, { type: 'cancel' }>): Promise<void> {
  const start = performance.now();
  if (request.type === 'load') {
    setWasmPaths(`${request.base}wasm/`);
    encoder = await Encoder.load(tf, converter, { ...request, model: `${request.base}model` });
    reply({ type: 'loaded', milliseconds: performance.now() - start, report: encoder.report });
  } else if (request.type === 'index') await index(request.sentences);
  else {
    const embedding = await encoder!.embed([request.text]);
    const hits = nearest(embedding, vectors, HITS);
    reply({ type: 'hits', id: request.id, milliseconds: performance.now() - start, hits, embedding });
  }
}

async function index(sentences: readonly string[]): Promise<void> {
  isCancelled = false;
  const start = performance.now();
  const found = new Float32Array(sentences.length * WIDTH);
  for (let done = 0; done < sentences.length; done += BATCH) {
    reply({ type: 'progress', done, total: sentences.length });
    await new Promise((resolve) => setTimeout(resolve)); // lets a cancel in
    if (isCancelled) return reply({ type: 'cancelled' });
    found.set(await encoder!.embed(sentences.slice(done, done + BATCH)), done * WIDTH);
  }
  vectors = found;
  await encoder!.embed(sentences.slice(0, 1)); // a first call with one sentence compiles: no query should pay for it
  reply({ type: 'progress', done: sentences.length, total: sentences.length });
  reply({ type: 'indexed', milliseconds: performance.now() - start, memory: encoder!.memory() });
}
