/** Run by memory.test.ts in a process of its own with --expose-gc: prints what memory does over many calls, as JSON. */
import { attentionWork, createBackend, createKvCache, rowMajor } from '../src/index.ts';
import { elementwise, norm } from '../src/nn/index.ts';
import type { OpSpec } from '../src/ops/op.ts';
import { Program } from '../src/program/program.ts';
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
const handle = (floats: number) => backend.alloc(4 * floats);
const [xAt, biasAt, yAt, zAt] = [handle(M * shape.K), handle(shape.N), handle(M * shape.N), handle(M * shape.N)];
backend.write(xAt, x);
backend.write(biasAt, bias);
const product = backend.bind(
  { kind: 'product', matrices: [prepared, prepared], M, each: [{ activation: 'silu' }, {}] },
  [xAt, ...[biasAt, undefined, undefined, yAt], ...[undefined, yAt, undefined, zAt]],
);
const dims = [M, shape.N];
const add = { nodes: [{ fn: 'Add', args: [0, 1] }], outputs: [2] };
const op = backend.bind(
  {
    kind: 'op',
    spec: elementwise as OpSpec<unknown>,
    op: add,
    inputs: [
      { dtype: 'f32', dims },
      { dtype: 'f32', dims },
    ],
  },
  [yAt, zAt, yAt],
);
const program = new Program(
  backend,
  [
    { byteLength: 4 * M * shape.K, isInput: true },
    { byteLength: 4 * M * shape.K },
    { byteLength: 4 * M * shape.N },
    { byteLength: 4 * M * shape.N, isOutput: true },
  ],
  [
    {
      kind: 'work',
      work: {
        kind: 'op',
        spec: norm as OpSpec<unknown>,
        op: { kind: 'rms', epsilon: 1e-6 },
        inputs: [{ dtype: 'f32', dims: [M, shape.K] }],
      },
      operands: [0, 1],
      writes: [1],
    },
    {
      kind: 'work',
      work: { kind: 'product', matrices: [prepared], M },
      operands: [1, undefined, undefined, undefined, 2],
      writes: [4],
    },
    {
      kind: 'work',
      work: {
        kind: 'op',
        spec: elementwise as OpSpec<unknown>,
        op: { nodes: [{ fn: 'Silu', args: [0] }], outputs: [1] },
        inputs: [{ dtype: 'f32', dims }],
      },
      operands: [2, 3],
      writes: [1],
    },
  ],
);
program.bind(backend.alloc(program.byteLength));
const cache = createKvCache(backend, { batch: 1, kvHeads: 1, headSize: 16 });
const token = backend.alloc(4 * 16);
const attend = backend.bind(
  attentionWork(
    {
      ...{ batch: 1, rows: 1, newKeys: 1, heads: 1, kvHeads: 1, headSize: 16, valueSize: 16, isCausal: true },
      ...{ q: rowMajor(1, 16, 16), k: rowMajor(1, 16, 16), v: rowMajor(1, 16, 16), out: rowMajor(1, 16, 16) },
    },
    () => ({ cache }),
  ),
  [token, token, token, undefined, undefined, undefined, backend.alloc(4 * 16)],
);
/** Rewritten, not made anew, like a program's. */
const changes: { operands: Record<number, typeof xAt> } = { operands: { 0: xAt, 4: yAt, 8: zAt } };
const half = { x: new Uint16Array(x.length), out: new Uint16Array(out.length) };

const calls: Record<string, () => unknown> = {
  matmul: () => backend.matmul(x, prepared, { out }),
  'fused end': () => backend.matmul(x, prepared, options),
  'half precision': () => backend.matmul(half.x, prepared, { xType: 'f16', out: half.out, outType: 'f16' }),
  matmulMany: () => backend.matmulMany(x, [prepared, prepared], { each }),
  'bound product': () => backend.run(product),
  'bound product that moves': () => {
    [changes.operands[4], changes.operands[8]] = [changes.operands[8], changes.operands[4]];
    changes.operands[6] = changes.operands[4];
    backend.run(product, changes);
  },
  'bound op': () => backend.run(op),
  program: () => program.run(),
  'attention, cut short': () => {
    backend.run(attend);
    if (cache.lengths[0] < 150) return;
    cache.branch().dispose();
    cache.truncate(50);
  },
};
const perCall: Record<string, unknown> = {};
for (const [name, call] of Object.entries(calls)) {
  for (let i = 0; i < 500; i++) call();
  settle();
  const state = () => ({
    used: backend.arena.usedBytes,
    memory: backend.arena.byteLength,
  });
  const [before, { heapUsed, arrayBuffers }] = [state(), process.memoryUsage()];
  for (let i = 0; i < CALLS; i++) call();
  settle();
  const now = process.memoryUsage();
  const heapBytes = (now.heapUsed - heapUsed) / CALLS;
  perCall[name] = { before, after: state(), heapBytes, arrayBytes: now.arrayBuffers - arrayBuffers };
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
