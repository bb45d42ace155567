/** @msd/core/webgpu: the WebGPU backend by itself, for those who have a device at hand. `createBackend('webgpu')` loads the same. */
export type {
  Gpu,
  GpuAdapter,
  GpuBinding,
  GpuBuffer,
  GpuComputePass,
  GpuDevice,
  GpuLostInfo,
} from './api.ts';
export { type GpuMatmulOptions, type GpuRecordOptions, WebGpuBackend, type WebGpuOptions } from './backend.ts';
export { GpuWeights, type WeightPiece } from './weights.ts';
export type { GpuFeatures } from './wgsl.ts';
