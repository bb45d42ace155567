/** What threads can be made of here: Node's worker_threads, or a page's Worker. */

/** What the pool needs of a Worker of either kind. */
export interface ThreadWorker {
  postMessage(message: unknown): void;
  terminate(): unknown;
  unref?(): void;
}

export interface NodeWorker extends ThreadWorker {
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

/** One per core, four at most: decoding is bound by memory, which few cores saturate. */
export function automaticThreads(): number {
  const { navigator } = globalThis as { navigator?: Navigator };
  const os = builtin('node:os') as { availableParallelism(): number } | undefined;
  return Math.min(4, navigator?.hardwareConcurrency ?? os?.availableParallelism() ?? 1);
}

/** Why there cannot be threads here; `undefined`: there can. */
export function whatIsMissing(): string | undefined {
  if (typeof SharedArrayBuffer !== 'function' || globalThis.crossOriginIsolated === false)
    return 'threads: one, since the page is not cross-origin isolated. Serve it with COOP same-origin and COEP require-corp.';
  if (!nodeThreads() && typeof Worker !== 'function') return 'threads: one, since there is no Worker here.';
  return undefined;
}
