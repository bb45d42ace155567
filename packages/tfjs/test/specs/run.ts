/**
 * Bundled with tfjs-core's own specs and run in a process of its own: node BUNDLE BACKEND (stock | msd) WASM_FOLDER.
 * Prints one line of JSON at the end: the full names of specs that passed and that failed.
 */
import { createRequire } from 'node:module';
import { register } from '@msd/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';

interface Environment {
  configure(options: object): void;
  addReporter(reporter: object): void;
  execute(): void;
}
interface Required {
  core(required: Required): { getEnv(): Environment };
  interface(jasmine: object, environment: Environment): object;
}

const [backendName = 'cpu', side = 'stock', wasmFolder = ''] = process.argv.slice(2);
// What tfjs's WebAssembly glue and the specs expect as globals, besides Jasmine's functions.
const require = createRequire(import.meta.url);
Object.assign(globalThis, { require, __dirname: wasmFolder });
setWasmPaths(wasmFolder);
// @ts-expect-error its declarations lie beside the ES modules, which TypeScript's Node resolution does not look for
await import('@tensorflow/tfjs-core/dist/register_all_gradients');
if (!(await tf.setBackend(backendName))) throw new Error(`no backend ${backendName}`);
if (side === 'msd') register(tf, { override: true });

const required = require('jasmine-core') as Required;
const jasmine = required.core(required);
const environment = jasmine.getEnv();
Object.assign(globalThis, required.interface(jasmine, environment), { jasmine });

const passed: string[] = [];
const failed: string[] = [];
environment.configure({ random: false, oneFailurePerSpec: true });
environment.addReporter({
  specDone({ status, fullName }: { status: string; fullName: string }) {
    if (status === 'passed') passed.push(fullName);
    else if (status === 'failed') failed.push(fullName);
  },
  jasmineDone() {
    process.stdout.write(`\n${JSON.stringify({ passed, failed })}\n`, () => process.exit(0));
  },
});

// A spec defines itself for each environment when it is imported.
// @ts-expect-error its declarations lie beside the ES modules, which TypeScript's Node resolution does not look for
const { setTestEnvs } = await import('@tensorflow/tfjs-core/dist/jasmine_util');
setTestEnvs([{ name: backendName, backendName, isDataSync: true }]);
// @ts-expect-error as above
await import('@tensorflow/tfjs-core/dist/tests');
environment.execute();
