/** @msd/core/webgpu: the WebGPU backend by itself, for those who have a device at hand. `createBackend('webgpu')` loads the same. */

export type { GpuFeatures } from '../../wgsl/wgsl.ts';
export type {
  Gpu,
  GpuAdapter,
  GpuBinding,
  GpuBuffer,
  GpuComputePass,
  GpuDevice,
  GpuLostInfo,
} from './api.ts';
export { WebGpuBackend } from './backend.ts';
export type { GpuMatmulOptions, GpuRecordOptions, WebGpuOptions } from './options.ts';
export type { GpuOffsetOptions, GpuRowsOptions } from './rows.ts';
export { GpuWeights, type WeightPiece } from './weights.ts';
