/** `@msd/onnx/ort-web`: all of `onnxruntime-web`, in which sessions for the CPU are MSD's where that gains something. */
import * as ort from '#ort';
import { takeOverEntry } from './entry.ts';

export * from '#ort';
export { default } from '#ort';
export { configure, formatReport, reportOf } from '../register.ts';

takeOverEntry(ort);
