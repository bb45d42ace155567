/** Every way to get the same bits: the defaults, then each carrier with each number of threads. */
import type { CarrierChoice } from '@msd/core';
import type { ThreadPool } from '../../packages/core/src/threads/pool.ts';
import { CUTS } from '../../packages/core/test/attention-bits.ts';
import { canShare, type Patience, waitForThreads } from '../../packages/core/test/patience.ts';

export interface CarrierRun {
  readonly carrier?: CarrierChoice;
  readonly threads?: number;
}

/** @param hasThreads without them every run has one thread */
export function carrierRuns(relaxedSimd: boolean, hasThreads = true): CarrierRun[] {
  const carriers = relaxedSimd ? (['i16', 'i8'] as const) : (['i16'] as const);
  const counts = hasThreads ? [1, 2, 3] : [1];
  return [{}, ...carriers.flatMap((carrier) => counts.map((threads) => ({ carrier, threads })))];
}

/** As a key: `i16 x 2`. */
export const runName = ({ carrier, threads }: CarrierRun): string => `${carrier ?? 'auto'} x ${threads ?? 'auto'}`;

/** Ways to cut a prompt: all of them once, with each carrier and number of threads those that differ most. */
export const cutsOf = ({ threads }: CarrierRun): readonly number[] =>
  threads === undefined ? CUTS : [CUTS[0], CUTS[CUTS.length - 1]!];

/** Matrices and models are small here: by the planner's rules no thread would get a part. */
export function usePoolForTests(pool: () => Patience & Pick<ThreadPool, 'chunkMacs'>): void {
  if (!canShare()) return;
  waitForThreads(pool());
  pool().chunkMacs = 1;
}
