/** `@msd/onnx/ort-web/wasm`: all of `onnxruntime-web/wasm`, in which sessions for the CPU run in MSD where that is faster. */
import * as ort from '#ort/wasm';
import { takeOverEntry } from './entry.ts';

export * from '#ort/wasm';
export { default } from '#ort/wasm';
export { configure, formatReport, reportOf } from '../register.ts';

takeOverEntry(ort);
