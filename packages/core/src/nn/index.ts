/** nn: the ops between two products. A line per family of ops. */

export type { Arithmetic } from '../decompose/decompose.reference.ts';
export type { KernelCall, KernelFamily, KernelSource } from '../kernel-spec.ts';
export type { DType, KernelPlan, OpSpec, Tensor, TensorType, WgslCall } from '../ops/op.ts';
export { argMax } from './arg-max/arg-max.ts';
export type { ArgMaxOp } from './arg-max/contract.ts';
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
export { type Gather, type GatherRows, gather, gatherRows } from './gather/gather.ts';
export { type ReadBytes, readFrom, rowReader, type TableSources } from './gather/reader.ts';
export { type BlockRows, checkIndices, type Table } from './gather/table.ts';
export { matMul } from './mat-mul/mat-mul.ts';
export { type NormRow, normBound } from './norm/bound.ts';
export type { NormOp } from './norm/contract.ts';
export { norm } from './norm/norm.ts';
export type { ReduceKind, ReduceOp } from './reduce/contract.ts';
export { reduce } from './reduce/reduce.ts';
export { nnKernels, nnOps } from './registry.ts';
export { checkPositions, type RotaryOp, type RotaryShape, rotaryShape } from './rotary/contract.ts';
export { rotary } from './rotary/rotary.ts';
export { softmaxBound } from './softmax/bound.ts';
export type { SoftmaxOp } from './softmax/contract.ts';
export { softmax } from './softmax/softmax.ts';
export type { WindowsOp } from './windows/contract.ts';
export {
  samePlace,
  type WindowPlace,
  type WindowShape,
  type WindowSlice,
  windowRows,
  windowSlices,
  windowSpan,
} from './windows/rows.ts';
export { windows } from './windows/windows.ts';
