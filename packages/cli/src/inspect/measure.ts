/** Measures a model on this machine, in a thread of its own. */
import { Worker } from 'node:worker_threads';
import { UserError } from '../shared/errors.ts';
import type { Measured, MeasureRequest } from './measure-worker.ts';

/** @throws {@link UserError} when the model cannot be created or run, or on Ctrl-C */
export function measure(request: MeasureRequest, signal: AbortSignal): Promise<Measured> {
  return new Promise((resolve, reject) => {
    const buffers = [request.model, ...request.externalData.map(({ data }) => data)].flatMap((each) =>
      typeof each === 'string' ? [] : [each.buffer as ArrayBuffer],
    );
    // Sources have .ts, what is published .js.
    const url = new URL(import.meta.url.replace(/measure(\.[jt]s)$/, 'measure-worker$1'));
    const worker = new Worker(url, { workerData: request, transferList: buffers });
    const end = (settle: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      void worker.terminate();
      settle();
    };
    const onAbort = (): void => end(() => reject(signal.reason as Error));
    signal.addEventListener('abort', onAbort);
    worker.on('message', ({ measured, failed }: { measured?: Measured; failed?: string }) =>
      end(() => (measured ? resolve(measured) : reject(new UserError(failed)))),
    );
    worker.on('error', (error) => end(() => reject(new UserError(error.message, { cause: error }))));
    worker.on('exit', (code) => end(() => reject(new UserError(`the measurement ended with code ${code}.`))));
  });
}
