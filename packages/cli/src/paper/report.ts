/** Everything that `msd paper` finds, as one document. */
import type { Machine } from '../shared/machine.ts';
import { type Extent, FULL } from './cases.ts';
import { type Claim, claimsOf } from './claims.ts';
import { type Models, models } from './models.ts';
import { type Outcome, type Summary, summarize } from './summary.ts';

export interface PaperReport {
  readonly paper: 'arXiv 2605.13915';
  readonly date: string;
  readonly machine: Machine;
  readonly elapsedMs: number;
  readonly extent: Extent;
  readonly claims: readonly Claim[];
  readonly summaries: readonly Summary[];
  readonly models: Models;
}

export function reportOf(
  outcomes: readonly Outcome[],
  run: Pick<PaperReport, 'date' | 'machine' | 'elapsedMs' | 'extent'>,
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

/** Is it all of it? */
export const isFull = ({ extent }: PaperReport): boolean => extent.T.length === FULL.T.length;
