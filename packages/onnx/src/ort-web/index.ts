/** `@msd/onnx/ort-web`: all of `onnxruntime-web`, in which sessions for the CPU run in MSD where that is faster. */
import * as ort from '#ort';
import { takeOverEntry } from './entry.ts';

export * from '#ort';
export { default } from '#ort';
export { configure, formatReport, reportOf } from '../register.ts';

takeOverEntry(ort);
