/**
 * nn: the ops between two products. A line per family of ops. `OnWasm`: the op without what other devices need of it, for
 * bundles that stay on WASM.
 */

export type { Arithmetic } from '../decompose/decompose.reference.ts';
export type { KernelCall, KernelFamily, KernelSource } from '../kernel-spec.ts';
export type { CompleteOp, DType, KernelPlan, OpSpec, Tensor, TensorType, WgslCall } from '../ops/op.ts';
export { argMax, argMaxOnWasm } from './arg-max/arg-max.ts';
export type { ArgMaxOp } from './arg-max/contract.ts';
export type { Copy, CopyPart, Fill, Place } from './copy/contract.ts';
export { copy, copyOnWasm } from './copy/copy.ts';
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
export { elementwise, elementwiseOnWasm } from './elementwise/elementwise.ts';
export type { Elementwise, ElementwiseNode } from './elementwise/expression.ts';
export { type FunctionId, functionIds } from './elementwise/functions.ts';
export { type Gather, type GatherRows, gather, gatherOnWasm, gatherRows, gatherRowsOnWasm } from './gather/gather.ts';
export { type ReadBytes, readFrom, rowReader, type TableSources } from './gather/reader.ts';
export { type BlockRows, checkIndices, type Table } from './gather/table.ts';
export { matMul, matMulOnWasm } from './mat-mul/mat-mul.ts';
export { type NormRow, normBound } from './norm/bound.ts';
export type { NormOp } from './norm/contract.ts';
export { norm, normOnWasm } from './norm/norm.ts';
export type { ReduceKind, ReduceOp } from './reduce/contract.ts';
export { reduce, reduceOnWasm } from './reduce/reduce.ts';
export { nnKernels, nnOps } from './registry.ts';
export { checkPositions, type RotaryOp, type RotaryShape, rotaryShape } from './rotary/contract.ts';
export { rotary, rotaryOnWasm } from './rotary/rotary.ts';
export { softmaxBound } from './softmax/bound.ts';
export type { SoftmaxOp } from './softmax/contract.ts';
export { softmax, softmaxOnWasm } from './softmax/softmax.ts';
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
export { windows, windowsOnWasm } from './windows/windows.ts';
