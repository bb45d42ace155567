/** What of nn's lists was measured: an op without a case and a family of kernels that no case runs are named. */
import type { KernelFamily, OpSpec } from '@msd/core/nn';
import type { NnEntry } from './cases/case.ts';

export interface FamilyCoverage {
  readonly family: string;
  /** Kernels of the family's list that a case ran, of all of the list. */
  readonly ran: number;
  readonly all: number;
}

/** Names of the ops without a case. */
export const withoutCase = (ops: readonly OpSpec<unknown>[], entries: readonly NnEntry[]): string[] =>
  ops.map(({ name }) => name).filter((name) => !entries.some(({ spec }) => spec.name === name));

export const familyCoverage = (families: readonly KernelFamily[], ran: ReadonlySet<string>): FamilyCoverage[] =>
  families.map(({ family, kernels }) => {
    const ids = Array.from(kernels(), ({ id }) => id);
    return { family, ran: ids.filter((id) => ran.has(id)).length, all: ids.length };
  });
