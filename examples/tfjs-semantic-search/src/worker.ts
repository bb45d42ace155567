/** One side of the comparison, in a thread and with a heap of its own. */
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as converter from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import type { Side } from '../../shared/search/protocol.ts';
import { serve } from '../../shared/search/serve.ts';
import { Encoder } from './encoder.ts';
import type { LoadOptions, Memory } from './protocol.ts';

console.warn = () => {}; // executeAsync says on every call that execute would do

serve<LoadOptions, Memory>((options) => {
  // In isolated pages tfjs would take its build with threads. Bundlers that shorten names break it: it starts its threads from its own source.
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  setWasmPaths(`${options.base}wasm/`);
  return Encoder.load(tf, converter, self.name as Side, options); // the page names its workers
});
