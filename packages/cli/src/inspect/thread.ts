/** Work that would keep the command from hearing Ctrl-C, in a thread of its own. */
import { Worker } from 'node:worker_threads';
import { UserError } from '../shared/errors.ts';

/** What such a thread says when it is done. */
export interface Said<T> {
  readonly done?: T;
  readonly failed?: string;
}

/**
 * @param script in this folder, without its ending
 * @param transferred buffers that become the thread's
 * @throws {@link UserError} when the work fails, or what `signal` was aborted with
 */
export function inThread<T>(
  script: string,
  workerData: unknown,
  signal: AbortSignal,
  transferred: readonly ArrayBuffer[] = [],
): Promise<T> {
  return new Promise((resolve, reject) => {
    // Sources have .ts, what is published .js.
    const url = new URL(import.meta.url.replace(/thread(\.[jt]s)$/, `${script}$1`));
    const worker = new Worker(url, { workerData, transferList: [...transferred] });
    const end = (settle: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      void worker.terminate();
      settle();
    };
    const onAbort = (): void => end(() => reject(signal.reason as Error));
    signal.addEventListener('abort', onAbort);
    worker.on('message', ({ done, failed }: Said<T>) =>
      end(() => (failed === undefined ? resolve(done as T) : reject(new UserError(failed)))),
    );
    worker.on('error', (error) => end(() => reject(new UserError(error.message, { cause: error }))));
    worker.on('exit', (code) => end(() => reject(new UserError(`the measurement ended with code ${code}.`))));
  });
}
