/** Everything that `msd paper` finds, as one document. */
import type { Machine } from '../shared/machine.ts';
import type { Extent } from './cases.ts';
import { type Claim, claimsOf } from './claims.ts';
import { type Models, models } from './models.ts';
import { type Outcome, rounded, type Summary, summarize } from './summary.ts';

export interface PaperReport {
  readonly paper: 'arXiv 2605.13915';
  readonly date: string;
  readonly machine: Machine;
  readonly elapsedMs: number;
  /** Of all threads. */
  readonly processorMs: number;
  readonly extent: Extent;
  readonly claims: readonly Claim[];
  readonly summaries: readonly Summary[];
  readonly models: Models;
}

export function reportOf(
  outcomes: readonly Outcome[],
  run: Pick<PaperReport, 'date' | 'machine' | 'elapsedMs' | 'processorMs' | 'extent'>,
): PaperReport {
  const [summaries, closedForms] = [summarize(outcomes), models()];
  return {
    paper: 'arXiv 2605.13915',
    ...run,
    claims: claimsOf(summaries, closedForms),
    summaries,
    models: closedForms,
  };
}

/** As a file: six digits, and a line for every entry of a list. */
export function reportFile(report: PaperReport): string {
  const line = (value: unknown): string =>
    JSON.stringify(value, (_, each) => (typeof each === 'number' ? rounded(each) : each));
  const text = (value: unknown): string =>
    Array.isArray(value) ? `[\n    ${value.map(line).join(',\n    ')}\n  ]` : line(value);
  return `{\n${Object.entries(report)
    .map(([name, value]) => `  ${JSON.stringify(name)}: ${text(value)}`)
    .join(',\n')}\n}\n`;
}
