/** Run by memory.test.ts in a process of its own with --expose-gc: prints what memory does over many calls, as JSON. */
import { createBackend } from '../src/index.ts';
import { gaussians, random, randomWeights } from './random.ts';

const gc = globalThis.gc!;
const settle = () => {
  for (let i = 0; i < 3; i++) gc();
};

const CALLS = 10_000;
const next = random(1);
const shape = { format: 'int4', blockSize: 32, N: 64, K: 256, asymmetric: false } as const;
const weights = randomWeights(next, shape);
const backend = await createBackend('wasm');
const prepared = backend.prepare(weights);
const M = 2;
const x = gaussians(next, M * shape.K);
const out = new Float32Array(M * shape.N);
const [multiply, bias] = [gaussians(next, M * shape.N), gaussians(next, shape.N)];
const options = { out, bias, activation: 'silu', multiply, residual: out } as const;
const each = [options, options];
const half = { x: new Uint16Array(x.length), out: new Uint16Array(out.length) };

const calls: Record<string, () => unknown> = {
  matmul: () => backend.matmul(x, prepared, { out }),
  'fused end': () => backend.matmul(x, prepared, options),
  'half precision': () => backend.matmul(half.x, prepared, { xType: 'f16', out: half.out, outType: 'f16' }),
  matmulMany: () => backend.matmulMany(x, [prepared, prepared], { each }),
};
const perCall: Record<string, unknown> = {};
for (const [name, call] of Object.entries(calls)) {
  for (let i = 0; i < 500; i++) call();
  settle();
  const state = () => ({
    used: backend.arena.usedBytes,
    memory: backend.arena.byteLength,
    arrayBuffers: process.memoryUsage().arrayBuffers,
  });
  const before = { ...state(), heap: process.memoryUsage().heapUsed };
  for (let i = 0; i < CALLS; i++) call();
  settle();
  const heapBytes = (process.memoryUsage().heapUsed - before.heap) / CALLS;
  perCall[name] = { before: { ...before, heap: undefined }, after: state(), heapBytes };
}
backend.dispose();

const cycle = async () => {
  const one = await createBackend('wasm');
  const matrix = one.prepare(weights);
  one.matmul(x, matrix, { out });
  one.dispose();
  return one.arena.usedBytes;
};
for (let i = 0; i < 100; i++) await cycle();
settle();
const rssBefore = process.memoryUsage().rss;
let usedBytes = 0;
for (let i = 0; i < 1000; i++) {
  usedBytes += await cycle();
  if (i % 50 === 0) settle();
}
settle();
const rssGrowth = process.memoryUsage().rss - rssBefore;
console.log(JSON.stringify({ perCall, usedBytes, rssGrowth }));
