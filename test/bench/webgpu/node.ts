/** The WebGPU benchmark in Node, on the npm package `webgpu` (Dawn): `node test/bench/webgpu/node.ts [--small] [--out FILE]`. */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { sizes } from './layers.ts';
import { runGpuSuite, type TensorFlowPackages } from './suite.ts';

const { values } = parseArgs({ options: { small: { type: 'boolean' }, out: { type: 'string' } } });
// By variables: the declarations of both packages contradict TypeScript's own WebGPU types.
const [dawn, tfjsCore, tfjsBackend] = ['webgpu', '@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-webgpu'];
const { create, globals } = await import(dawn);
for (const [name, value] of Object.entries(globals))
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
const gpu: GPU = create(['disable-dawn-features=timestamp_quantization']);
// Before the frameworks are imported: they look for it then.
Object.defineProperty(navigator, 'gpu', { value: gpu, configurable: true });

async function onnxruntime() {
  const ort = await import('onnxruntime-web/webgpu');
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'error';
  return ort;
}

async function tensorflow(): Promise<TensorFlowPackages> {
  const tf = await import(tfjsCore);
  const { WebGPUBackend } = await import(tfjsBackend);
  return { tf, WebGPUBackend };
}

/** An engine that does not load here is left out, and the report says so. */
async function ifAvailable<T>(name: string, load: () => Promise<T>): Promise<T | undefined> {
  try {
    return await load();
  } catch (error) {
    console.log(`${name} is left out: ${String(error).split('\n')[0]}`);
    return undefined;
  }
}

const report = await runGpuSuite({
  gpu,
  ...sizes[values.small ? 'small' : 'full'],
  ort: await ifAvailable('onnxruntime-web', onnxruntime),
  tensorFlow: await ifAvailable('tfjs-webgpu', tensorflow),
  log: console.log,
});
const host = {
  date: new Date().toISOString().slice(0, 10),
  runtime: `Node ${process.version}`,
  platform: process.platform,
};
if (values.out) writeFileSync(values.out, `${JSON.stringify({ ...host, ...report }, null, 2)}\n`);
process.exit(0); // Dawn would keep the process alive
