/** Every family of attention's kernels: warm-ups, tests and benchmarks loop over this list. */
import { familyOf, type KernelFamily } from '../kernel-spec.ts';
import { appendSpec, appendVariants } from './append.wasm.ts';
import { attendSpec, attendVariants } from './attend.wasm.ts';

export const attentionKernels: readonly KernelFamily[] = [
  familyOf(appendSpec, appendVariants),
  familyOf(attendSpec, attendVariants),
];
