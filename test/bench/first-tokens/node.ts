/** The Node side: node node.ts MODEL REQUEST CLOCK prints a trace. */
import { readFileSync } from 'node:fs';
import { register } from '@msd/onnx/register';
import * as ort from 'onnxruntime-web';
import { type Clock, now } from '../measure.ts';
import { type TraceRequest, trace } from './trace.ts';

const [model = '', request = '', clock = 'wall'] = process.argv.slice(2);
ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';
register(ort, { threads: 1 });
const bytes = new Uint8Array(readFileSync(model));
const result = await trace(ort, bytes, JSON.parse(request) as TraceRequest, () => now(clock as Clock));
console.log(JSON.stringify(result));
process.exit(0); // sessions need not end by themselves
