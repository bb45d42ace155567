/** Every family of attention's kernels: warm-ups, tests and benchmarks loop over this list. */
import { familyOf, type KernelFamily } from '../kernel-spec.ts';
import { appendSpec } from './append.wasm.ts';
import { attendSpec } from './attend.wasm.ts';

export const attentionKernels: readonly KernelFamily[] = [familyOf(appendSpec), familyOf(attendSpec)];
