import { webgpuSuite } from './webgpu.ts';

webgpuSuite();
