/** The page's side: the command line calls what it leaves in `page$`. */
import { register } from '@msd/onnx/register';
import * as ort from 'onnxruntime-web/wasm';
import { type Trace, type TraceRequest, trace } from './trace.ts';

async function traceModel(url: string, request: TraceRequest): Promise<Trace> {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'error';
  register(ort, { threads: 1 });
  const model = request.rate ? url : new Uint8Array(await (await fetch(url)).arrayBuffer());
  return trace(ort, model, request, () => performance.now());
}

Object.assign(globalThis, { page$: { traceModel } });
