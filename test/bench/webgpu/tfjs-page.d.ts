import type { TensorFlowPackages } from './suite.ts';

/** TensorFlow.js and its WebGPU backend; declared here because their own declarations contradict TypeScript's WebGPU types. */
export declare const tf: TensorFlowPackages['tf'];
export declare const WebGPUBackend: TensorFlowPackages['WebGPUBackend'];
