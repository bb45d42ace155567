/** Models on tfjs's WebGPU backend in Node, where nothing can be read from a GPU at once: there is no canvas. */
import { describe } from 'vitest';
import { inMemory, savingSuite } from './saving.ts';
import { gpu, onWebGpu } from './webgpu-in-node.ts';

describe.runIf(gpu)('models on webgpu in Node', () => {
  onWebGpu();

  savingSuite({ memory: inMemory });
});
