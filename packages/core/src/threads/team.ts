/** The threads of a backend: the calling one alone, or a share of the pool, whose code is then loaded. */
import { type Cuts, MAX_THREADS, ONE_THREAD } from '../plan/cut.ts';
import { relaxedProbe } from '../wasm/features.ts';
import { automaticThreads, whatIsMissing } from './environment.ts';
import { type Kernel, runChunk, type Shared } from './job.ts';
import type { WorkerFactory } from './worker.ts';

export interface ThreadOptions {
  /**
   * Threads that work on a matmul, the calling one included. Default 'auto': one per core, four at most. One thread where the
   * page is not cross-origin isolated; `backend.threads` says why.
   */
  readonly threads?: number | 'auto' | undefined;
  /**
   * Makes the workers, if the page's CSP forbids workers from a Blob: from a script that calls `runThread()` of
   * `@msd/core/thread`.
   */
  readonly worker?: WorkerFactory | undefined;
}

/** Something that workers can do in Node while there are no products: a worker is out of reach until it has done it. */
export interface ThreadTask {
  /** The text of a function that uses nothing from outside itself. */
  readonly code: string;
  /** As many workers as can take part. */
  readonly most: number;
  /** @returns what the function is called with, in the i-th of them */
  given(i: number): unknown;
  /** Told when the i-th of them is through with it, or gone. */
  ended(i: number): void;
}

/** Threads of a backend, as they are now. */
export interface ThreadReport {
  /** Threads that work on a matmul that is large enough, the calling one included. */
  readonly count: number;
  readonly requested: number;
  /** Why there are fewer than requested, and what happened to workers. */
  readonly warnings: readonly string[];
}

/**
 * Starts what is missing of the workers and waits for them.
 *
 * @throws {@link RangeError}, {@link TypeError} for impossible options
 */
export async function createTeam({ threads = 'auto', worker }: ThreadOptions): Promise<Team> {
  if (threads !== 'auto' && !(Number.isSafeInteger(threads) && threads >= 1 && threads <= MAX_THREADS))
    throw new RangeError(`createBackend: threads expected 'auto' or 1 to ${MAX_THREADS}, got ${String(threads)}.`);
  if (worker !== undefined && typeof worker !== 'function')
    throw new TypeError(`createBackend: worker expected a function that makes a Worker, got ${typeof worker}.`);
  const requested = threads === 'auto' ? automaticThreads() : threads;
  const missing = requested > 1 ? whatIsMissing() : undefined;
  if (requested === 1 || missing) return oneThread(requested, missing);
  return (await import('./pooled-team.ts')).joinPool(requested, relaxedProbe, worker); // most pages have no use for it
}

/** The threads of a backend. */
export interface Team {
  readonly requested: number;
  /** Threads that a job can have now, the calling one included. */
  readonly count: number;
  /** How they share a call. */
  readonly cuts: Cuts;
  readonly report: ThreadReport;
  /** Wakes workers that sleep: a job is about to come. */
  wake(): void;
  /** Makes an instance's kernel available to jobs. */
  install(kernel: Kernel, id: string, module: WebAssembly.Module, memory: WebAssembly.Memory): void;
  /** Drops all kernels, and with them the memory that they worked on. */
  forget(): void;
  /** Gives workers something else to do. @returns how many have it */
  lend(task: ThreadTask): number;
  /**
   * Runs every chunk, even if workers die.
   *
   * @param leave moves the arena to another memory: called if a worker was lost that may still write to this one
   * @param repeatable may a chunk be computed twice? Not if the kernel changes what it reads
   * @param meanwhile work that only the calling thread can do, and that is independent of the kernel: done while others
   * begin
   * @returns false if a worker was lost in a chunk that may not be repeated: compute everything again that this kernel
   * reads
   */
  run(shared: Shared, leave: () => void, repeatable: boolean, meanwhile?: () => void): boolean;
  /** Ends this backend's share of the pool; calling it again does nothing. */
  release(): void;
}

const nothing = (): void => {};

/** The calling thread alone. @param reason why, if more were asked for */
export function oneThread(requested: number, reason?: string): Team {
  const report = { count: 1, requested, warnings: reason ? [reason] : [] };
  const run: Team['run'] = (shared, _leave, _repeatable, meanwhile) => {
    meanwhile?.();
    for (let chunk = 0; chunk < shared.job.chunks; chunk++) runChunk(shared, chunk);
    return true;
  };
  return {
    requested,
    count: 1,
    cuts: ONE_THREAD,
    report,
    wake: nothing,
    install: nothing,
    forget: nothing,
    lend: () => 0,
    run,
    release: nothing,
  };
}
