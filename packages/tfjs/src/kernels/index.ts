/** The kernels by name, for every backend whose memory MSD can reach. */
import type { TensorInfo } from '../tf.ts';
import { msdDequantizeKernel, msdGatherKernel, msdSparseSegmentKernel } from './gather.ts';
import { msdMatMulKernel } from './mat-mul.ts';

export const MAT_MUL = 'MsdMatMul';
export const GATHER = 'MsdGather';
export const SPARSE_SEGMENT = 'MsdSparseSegment';
export const DEQUANTIZE = 'MsdDequantize';

/** Backends that run all of MSD's kernels. */
export const HOST_BACKENDS: readonly string[] = ['cpu', 'wasm'];

/** Where only the product has a kernel, on the device's own buffers. */
export const GPU_BACKEND = 'webgpu';

type KernelFunction = (inputs: never, attrs: never, backend: object) => TensorInfo;

export const kernels: Readonly<Record<string, KernelFunction>> = {
  [MAT_MUL]: msdMatMulKernel,
  [GATHER]: msdGatherKernel,
  [SPARSE_SEGMENT]: msdSparseSegmentKernel,
  [DEQUANTIZE]: msdDequantizeKernel,
};
