/** Every op of nn and every family of its kernels: a line each. Tests, warm-ups and benchmarks loop over these lists. */
import { familyOf, type KernelFamily } from '../kernel-spec.ts';
import type { CompleteOp } from '../ops/op.ts';
import { argMax } from './arg-max/arg-max.ts';
import { argMaxKernels, argMaxVariants } from './arg-max/arg-max.wasm.ts';
import { copy } from './copy/copy.ts';
import { copyKernels, copyVariants } from './copy/copy.wasm.ts';
import { elementwise } from './elementwise/elementwise.ts';
import { elementwiseKernel, elementwiseVariants } from './elementwise/elementwise.wasm.ts';
import { gather, gatherRows } from './gather/gather.ts';
import { gatherKernel, gatherRowsKernels, gatherRowsVariants, gatherVariants } from './gather/gather.wasm.ts';
import { matMul } from './mat-mul/mat-mul.ts';
import { matMulKernel, matMulVariants } from './mat-mul/mat-mul.wasm.ts';
import { norm } from './norm/norm.ts';
import { normKernels, normVariants } from './norm/norm.wasm.ts';
import { reduce } from './reduce/reduce.ts';
import { reduceKernels, reduceVariants } from './reduce/reduce.wasm.ts';
import { rotary } from './rotary/rotary.ts';
import { rotaryKernels, rotaryVariants } from './rotary/rotary.wasm.ts';
import { softmax } from './softmax/softmax.ts';
import { softmaxKernels, softmaxVariants } from './softmax/softmax.wasm.ts';
import { windows } from './windows/windows.ts';
import { windowKernels, windowVariants } from './windows/windows.wasm.ts';

export const nnOps: readonly CompleteOp<unknown>[] = [
  argMax,
  copy,
  elementwise,
  gather,
  gatherRows,
  matMul,
  norm,
  reduce,
  rotary,
  softmax,
  windows,
];

export const nnKernels: readonly KernelFamily[] = [
  familyOf(argMaxKernels, argMaxVariants),
  familyOf(copyKernels, copyVariants),
  familyOf(elementwiseKernel, elementwiseVariants),
  familyOf(gatherKernel, gatherVariants),
  familyOf(gatherRowsKernels, gatherRowsVariants),
  familyOf(matMulKernel, matMulVariants),
  familyOf(normKernels, normVariants),
  familyOf(reduceKernels, reduceVariants),
  familyOf(rotaryKernels, rotaryVariants),
  familyOf(softmaxKernels, softmaxVariants),
  familyOf(windowKernels, windowVariants),
];
