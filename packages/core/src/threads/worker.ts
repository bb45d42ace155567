/** Starts workers: of node:worker_threads, a page's Worker from a Blob, or the user's own. */
import { type NodeWorker, nodeThreads, type ThreadWorker } from './environment.ts';
import { threadCode } from './thread.ts';

/** Makes a Worker, of a page or of node:worker_threads, of a script that calls `runThread`. */
export type WorkerFactory = () => ThreadWorker;

export interface WorkerEvents {
  /** A message of it: a {@link ThreadReply}, from a script of ours. */
  replied(reply: unknown): void;
  /** It failed or ended. Called more than once by some engines. */
  gone(reason: string): void;
}

/** @throws what the engine throws where it allows no worker from a Blob */
export function startWorker(): ThreadWorker {
  const code = threadCode();
  const node = nodeThreads();
  // No execArgv: the process may have been started with flags that a worker refuses, or as a module.
  if (node) return new node.Worker(code, { eval: true, execArgv: [], name: 'msd' });
  const url = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  try {
    return new Worker(url, { name: 'msd' });
  } finally {
    setTimeout(() => URL.revokeObjectURL(url), 10_000); // it is fetched later
  }
}

export function listen(worker: ThreadWorker, { replied, gone }: WorkerEvents): void {
  const reasonOf = (error: unknown) =>
    (error as Partial<Error> | undefined)?.message || 'no reason given by the engine';
  if ('on' in worker) {
    const node = worker as NodeWorker;
    node.on('message', replied);
    node.on('error', (error) => gone(reasonOf(error)));
    node.on('exit', (code) => gone(`it exited with code ${code}`));
  } else {
    const page = worker as Worker;
    page.addEventListener('message', ({ data }) => replied(data));
    page.addEventListener('error', (event) => gone(reasonOf(event)));
    page.addEventListener('messageerror', () => gone('it could not read a message'));
  }
}
