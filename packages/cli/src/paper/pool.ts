/** Cases on all cores: each thread takes the next one when it is done with the last. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Case } from './cases.ts';
import type { Outcome } from './summary.ts';

/** Each holds keys and values of 32768 tokens in several forms: 400 MB. */
const MOST_THREADS = 4;

/**
 * @param signal Ctrl-C: threads end in the middle of a case
 * @param onDone after every case
 */
export async function runCases(
  cases: readonly Case[],
  signal: AbortSignal,
  onDone: (outcome: Outcome) => void,
): Promise<Outcome[]> {
  signal.throwIfAborted();
  const outcomes: Outcome[] = [];
  const waiting = [...cases];
  // Sources have .ts, what is published .js.
  const url = new URL(import.meta.url.replace(/pool(\.[jt]s)$/, 'worker$1'));
  const threads = Math.min(availableParallelism(), MOST_THREADS, cases.length);
  const workers = Array.from({ length: threads }, () => new Worker(url));
  const serve = (worker: Worker): Promise<void> =>
    new Promise((resolve, reject) => {
      const next = (): void => {
        const of = waiting.shift();
        if (of) worker.postMessage(of);
        else resolve();
      };
      worker.on('message', (outcome: Outcome) => {
        outcomes.push(outcome);
        onDone(outcome);
        next();
      });
      worker.on('error', reject);
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      next();
    });
  try {
    await Promise.all(workers.map(serve));
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  return outcomes;
}
