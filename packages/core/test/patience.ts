import type { ThreadPool } from '../src/threads/pool.ts';

/** For how long a pool waits for its workers. */
export type Patience = Pick<ThreadPool, 'startMs' | 'patienceMs'>;

/** Emulated workers are slow, and those of a busy machine start late and stand still: none is given up. */
export function waitForThreads(pool: Patience): void {
  Object.assign(pool, { startMs: 300_000, patienceMs: 5000 });
}
