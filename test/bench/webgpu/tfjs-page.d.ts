import type { TensorFlow } from './suite.ts';

/** TensorFlow.js with its WebGPU backend; declared here because its own declarations contradict TypeScript's WebGPU types. */
declare const tf: TensorFlow & { setBackend(name: string): Promise<boolean> };
export default tf;
