/** The Node side of one environment: node test/bench/node.ts REQUEST.json RESULT.json */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import * as ort from 'onnxruntime-web';
import { msdEngine } from './engines/msd.ts';
import { ortEngine } from './engines/ort.ts';
import { type TfCore, type TfWasm, tfjsEngine } from './engines/tfjs.ts';
import type { PeakReply } from './peak-worker.ts';
import { openEngines, type Request, runSections } from './request.ts';
import type { PeakWorker } from './suite.ts';

const ABSENT = {
  litert: 'needs a page: it loads its module with a script element',
  llama: 'needs a page: it starts its worker from a blob URL',
};

function startWorker(): PeakWorker {
  const worker = new Worker(new URL('./peak-worker.ts', import.meta.url)); // an error of its is thrown here
  return {
    ask: (request) =>
      new Promise<PeakReply>((resolve) => {
        worker.once('message', resolve);
        worker.postMessage(request);
      }),
    stop: () => void worker.terminate(),
  };
}

const [requestFile, resultFile] = process.argv.slice(2);
if (!requestFile || !resultFile) throw new Error('node.ts: REQUEST.json and RESULT.json expected.');
const request = JSON.parse(readFileSync(requestFile, 'utf8')) as Request;
const { threads } = request;
const require = createRequire(import.meta.url); // tfjs has no ES modules that Node takes
const { version } = require('@msd/core/package.json') as { version: string };

const { engines, absent } = await openEngines(
  request.engines,
  {
    msd: () => msdEngine(version, threads > 1 ? [1, threads] : [1]),
    ort: async () => ortEngine(ort, threads),
    tfjs: () => {
      const wasm = require('@tensorflow/tfjs-backend-wasm') as TfWasm;
      const folder = dirname(require.resolve('@tensorflow/tfjs-backend-wasm'));
      return tfjsEngine(require('@tensorflow/tfjs') as TfCore, wasm, `${folder}/`, threads);
    },
  },
  ABSENT,
);
const workers = Array.from({ length: threads }, startWorker);
const { rounds, sampleMs } = request;
const timings = { rounds, sampleMs, warmMs: 100 };
const log = (message: string) => console.log(`  ${message}`);
const result = await runSections({ engines, workers, timings, log }, request);
for (const worker of workers) worker.stop();
const versions = { ...result.versions, node: process.versions.node, v8: process.versions.v8 };
writeFileSync(resultFile, JSON.stringify({ ...result, absent, versions }));
process.exit(0); // peers keep their workers alive
