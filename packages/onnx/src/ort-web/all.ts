/** `@msd/onnx/ort-web/all`: all of `onnxruntime-web/all`, in which sessions for the CPU run in MSD where that is faster. */
import * as ort from '#ort/all';
import { takeOverEntry } from './entry.ts';

export * from '#ort/all';
export { default } from '#ort/all';
export { configure, formatReport, reportOf } from '../register.ts';

takeOverEntry(ort);
