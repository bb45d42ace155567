/**
 * Bundled with tfjs-core's own specs and run in a process of its own: node BUNDLE BACKEND (stock | msd) WASM_FOLDER.
 * Prints one line of JSON at the end: the full names of specs that passed and that failed.
 */
import { createRequire } from 'node:module';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-cpu';
import { type Required, runSpecs, type Side } from './jasmine.ts';

const [backendName = 'cpu', side = 'stock', wasmFolder = ''] = process.argv.slice(2);
// What tfjs's WebAssembly glue and the specs expect as globals, besides Jasmine's functions.
const require = createRequire(import.meta.url);
Object.assign(globalThis, { require, __dirname: wasmFolder });
setWasmPaths(wasmFolder);
const outcome = await runSpecs({
  required: require('jasmine-core') as Required,
  backendName,
  side: side as Side,
  // @ts-expect-error its declarations lie beside the ES modules, which TypeScript's Node resolution does not look for
  load: () => import('@tensorflow/tfjs-core/dist/tests'),
});
process.stdout.write(`\n${JSON.stringify(outcome)}\n`, () => process.exit(0));
