// A process as a user's is, in plain Node: prints which files of the packages it loaded, and what a session of every kind is made of.
import { registerHooks } from 'node:module';

const packages = new URL('../../packages/', import.meta.url).href;
const built = /^[a-z]+\/dist\//;
const files = [];
registerHooks({
  load(url, context, next) {
    const file = url.startsWith(packages) ? url.slice(packages.length) : '';
    if (built.test(file)) files.push(file);
    return next(url, context);
  },
});

const ort = await import('onnxruntime-web');
const { register, reportOf } = await import('@msd/onnx/register');
const registered = files.length;
const { tinyModel } = await import('../bench/decoder/tiny-model.ts');
const feeds = { x: new ort.Tensor('float32', new Float32Array(32).fill(1), [1, 32]) };
register(ort, { threads: 2 });
const before = files.length;
const session = await ort.InferenceSession.create(tinyModel('msd'), { executionProviders: ['msd'] });
const first = registered + files.length - before;
const { y } = await session.run(feeds);
const { threads } = reportOf(session);
await session.release();

const { createSession } = await import('@msd/onnx/worker');
const far = await createSession(tinyModel('msd'));
const { y: farY } = await far.run(feeds);
await far.release();

const core = await import('@msd/core');
const model = await import('@msd/onnx/model');
// The rest of what either package has for Node; `transformers` needs Transformers.js.
for (const name of ['program', 'nn', 'numerics', 'peaks', 'theory', 'webgpu']) await import(`@msd/core/${name}`);
for (const name of ['onnx', 'onnx/inspect', 'onnx/ort-web', 'tfjs']) await import(`@msd/${name}`);
let stack = '';
try {
  await core.createBackend('wasm', { threads: -1 });
} catch (error) {
  stack = error.stack;
}
console.log(
  JSON.stringify({
    files,
    first,
    threads: threads.count,
    lengths: [y, farY].map(({ data }) => data.length),
    isOneCore: model.floatsOfHalves === core.floatsOfFp16,
    stack,
  }),
);
process.exit(0); // a Worker need not end by itself
