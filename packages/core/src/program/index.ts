/** @msd/core/program: ops, and what runs them on a device. */
export type { Call, Changes, Device, OpWork, ProductEnd, ProductWork, Work } from '../backends/device.ts';
export type { KernelCall } from '../kernel-spec.ts';
export { matMul } from '../nn/mat-mul/mat-mul.ts';
export { norm } from '../nn/norm/norm.ts';
export type { DType, KernelPlan, OpSpec, TensorType } from '../ops/op.ts';
export { byteLength, byteSize, elementCount } from '../ops/op.ts';
export { Module } from '../wasm/emitter.ts';
