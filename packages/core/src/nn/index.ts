/** nn: everything between two products. A line per family of ops. */

export type { Arithmetic } from '../decompose/decompose.reference.ts';
export type { KernelCall } from '../kernel-spec.ts';
export type { DType, KernelPlan, OpSpec, Tensor, TensorType, WgslCall } from '../ops/op.ts';
export { argMax } from './arg-max/arg-max.ts';
export type { Copy, CopyPart, Fill, Place } from './copy/contract.ts';
export { copy } from './copy/copy.ts';
export {
  concat,
  expand,
  type PadOptions,
  pad,
  type SliceOptions,
  slice,
  split,
  tile,
  transpose,
} from './copy/layouts.ts';
export { elementwise } from './elementwise/elementwise.ts';
export type { Elementwise, ElementwiseNode } from './elementwise/expression.ts';
export { type FunctionId, functionIds } from './elementwise/functions.ts';
export { norm } from './norm/norm.ts';
export { reduce } from './reduce/reduce.ts';
export { rotary } from './rotary/rotary.ts';
export { softmax } from './softmax/softmax.ts';
