import { webgpuCallsSuite } from './webgpu-calls.ts';

webgpuCallsSuite();
