/** `@msd/onnx/ort-web/wasm`: all of `onnxruntime-web/wasm`, in which sessions for the CPU are MSD's where that gains something. */
import * as ort from '#ort/wasm';
import { takeOver } from '../takeover.ts';

export * from '#ort/wasm';
export { default } from '#ort/wasm';
export { configure, formatReport, reportOf } from '../register.ts';

takeOver(ort);

// Transformers.js would name the larger build on a CDN here, unless there is something already.
ort.env.wasm.wasmPaths ??= {};
