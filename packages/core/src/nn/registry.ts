/** Every op of nn and every family of its kernels: a line each. Tests, warm-ups and benchmarks loop over these lists. */
import { familyOf, type KernelFamily } from '../kernel-spec.ts';
import type { OpSpec } from '../ops/op.ts';
import { argMax } from './arg-max/arg-max.ts';
import { argMaxKernels } from './arg-max/arg-max.wasm.ts';
import { copy } from './copy/copy.ts';
import { copyKernels } from './copy/copy.wasm.ts';
import { elementwise } from './elementwise/elementwise.ts';
import { elementwiseKernel } from './elementwise/elementwise.wasm.ts';
import { gather, gatherRows } from './gather/gather.ts';
import { gatherKernel, gatherRowsKernels } from './gather/gather.wasm.ts';
import { matMul } from './mat-mul/mat-mul.ts';
import { matMulKernel } from './mat-mul/mat-mul.wasm.ts';
import { norm } from './norm/norm.ts';
import { normKernels } from './norm/norm.wasm.ts';
import { reduce } from './reduce/reduce.ts';
import { reduceKernels } from './reduce/reduce.wasm.ts';
import { rotary } from './rotary/rotary.ts';
import { rotaryKernels } from './rotary/rotary.wasm.ts';
import { softmax } from './softmax/softmax.ts';
import { softmaxKernels } from './softmax/softmax.wasm.ts';
import { windows } from './windows/windows.ts';
import { windowKernels } from './windows/windows.wasm.ts';

export const nnOps: readonly OpSpec<unknown>[] = [
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
  familyOf(argMaxKernels),
  familyOf(copyKernels),
  familyOf(elementwiseKernel),
  familyOf(gatherKernel),
  familyOf(gatherRowsKernels),
  familyOf(matMulKernel),
  familyOf(normKernels),
  familyOf(reduceKernels),
  familyOf(rotaryKernels),
  familyOf(softmaxKernels),
  familyOf(windowKernels),
];
