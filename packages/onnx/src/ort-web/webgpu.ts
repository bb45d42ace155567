/** `@msd/onnx/ort-web/webgpu`: all of `onnxruntime-web/webgpu`, in which sessions for the CPU run in MSD where that is faster. */
import * as ort from '#ort/webgpu';
import { takeOverEntry } from './entry.ts';

export * from '#ort/webgpu';
export { default } from '#ort/webgpu';
export { configure, formatReport, reportOf } from '../register.ts';

takeOverEntry(ort);
