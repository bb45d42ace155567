/** Starts workers where they come from: node:worker_threads, a page's Worker from a Blob, or the user's own. */
import { threadCode } from './thread.ts';

/** What the pool needs of a Worker of either kind. */
export interface ThreadWorker {
  postMessage(message: unknown): void;
  terminate(): unknown;
  unref?(): void;
}

/** Makes a Worker, of a page or of node:worker_threads, of a script that calls `runThread`. */
export type WorkerFactory = () => ThreadWorker;

export interface WorkerEvents {
  /** Its first message: a {@link ThreadReply}, from a script of ours. */
  ready(reply: unknown): void;
  /** It failed or ended. Called more than once by some engines. */
  gone(reason: string): void;
}

interface NodeWorker extends ThreadWorker {
  on(event: string, listener: (value: unknown) => void): void;
}

interface NodeThreads {
  readonly Worker: new (code: string, options: object) => NodeWorker;
}

interface NodeProcess {
  readonly type?: string;
  getBuiltinModule?(name: string): unknown;
}

/** A module of Node, without an import that bundlers would follow; undefined in pages, also in Electron's. */
function builtin(name: string): unknown {
  const { process } = globalThis as { process?: NodeProcess };
  return process?.type === 'renderer' ? undefined : process?.getBuiltinModule?.(name);
}

export function nodeThreads(): NodeThreads | undefined {
  return builtin('node:worker_threads') as NodeThreads | undefined;
}

export function nodeCores(): number | undefined {
  return (builtin('node:os') as { availableParallelism(): number } | undefined)?.availableParallelism();
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

export function listen(worker: ThreadWorker, { ready, gone }: WorkerEvents): void {
  const reasonOf = (error: unknown) =>
    (error as Partial<Error> | undefined)?.message || 'no reason given by the engine';
  if ('on' in worker) {
    const node = worker as NodeWorker;
    node.on('message', ready);
    node.on('error', (error) => gone(reasonOf(error)));
    node.on('exit', (code) => gone(`it exited with code ${code}`));
  } else {
    const page = worker as Worker;
    page.addEventListener('message', ({ data }) => ready(data));
    page.addEventListener('error', (event) => gone(reasonOf(event)));
    page.addEventListener('messageerror', () => gone('it could not read a message'));
  }
}
