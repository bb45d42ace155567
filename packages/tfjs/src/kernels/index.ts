/** The kernels by name. */
import type { TensorInfo } from '../tf.ts';
import { msdDequantizeKernel, msdGatherKernel, msdSparseSegmentKernel } from './gather.ts';
import { msdMatMulKernel } from './mat-mul.ts';
import { msdDequantizeGpu, msdGatherGpu, msdMatMulGpu, msdSparseSegmentGpu } from './webgpu.ts';

export const MAT_MUL = 'MsdMatMul';
export const GATHER = 'MsdGather';
export const SPARSE_SEGMENT = 'MsdSparseSegment';
export const DEQUANTIZE = 'MsdDequantize';

/** Backends whose memory MSD's kernels work on. */
export const HOST_BACKENDS: readonly string[] = ['cpu', 'wasm'];

/** Where they work on the device's own buffers, once it is known. */
export const GPU_BACKEND = 'webgpu';

type KernelFunction = (inputs: never, attrs: never, backend: object) => TensorInfo;

export const kernels: Readonly<Record<string, KernelFunction>> = {
  [MAT_MUL]: msdMatMulKernel,
  [GATHER]: msdGatherKernel,
  [SPARSE_SEGMENT]: msdSparseSegmentKernel,
  [DEQUANTIZE]: msdDequantizeKernel,
};

export const gpuKernels: typeof kernels = {
  [MAT_MUL]: msdMatMulGpu,
  [GATHER]: msdGatherGpu,
  [SPARSE_SEGMENT]: msdSparseSegmentGpu,
  [DEQUANTIZE]: msdDequantizeGpu,
};
