import { whatIsMissing } from '../src/threads/environment.ts';
import { type ThreadPool, threadPool } from '../src/threads/pool.ts';

/** For how long a pool waits for its workers. */
export type Patience = Pick<ThreadPool, 'startMs' | 'patienceMs'>;

/** Emulated workers are slow, and those of a busy machine start late and stand still: none is given up. */
export function waitForThreads(pool: Patience): void {
  Object.assign(pool, { startMs: 300_000, patienceMs: 5000 });
}

/** Can threads be had here? Not in a page that is not cross-origin isolated. */
export const canShare = (): boolean => whatIsMissing() === undefined;

/** The same for the pool of this page, if it can have one. */
export function waitForItsThreads(): void {
  if (canShare()) waitForThreads(threadPool());
}
