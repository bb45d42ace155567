/** TypeScript’s own WebGPU types fit the structural ones: compiled, never run. */
import type { Gpu, GpuBuffer, GpuComputePass, GpuDevice } from '../src/backends/webgpu/api.ts';
export const device = (x: GPUDevice): GpuDevice => x;
export const entry = (x: GPU): Gpu => x;
export const buffer = (x: GPUBuffer): GpuBuffer => x;
export const pass = (x: GPUComputePassEncoder): GpuComputePass => x;
