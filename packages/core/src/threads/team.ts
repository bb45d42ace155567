/** What a backend has of the pool: its number of threads, its kernels there, and a report. */
import { MAX_THREADS } from '../plan/cut.ts';
import { automaticThreads, whatIsMissing } from './environment.ts';
import type { Job } from './job.ts';
import type { ThreadPool } from './pool.ts';
import type { WorkerFactory } from './worker.ts';

type Kernel = (...args: number[]) => void;

export interface ThreadOptions {
  /**
   * Threads that work on a matmul, the calling one included. Default 'auto': one per core, four at most. One thread where the
   * page is not cross-origin isolated; `backend.threads` says why.
   */
  readonly threads?: number | 'auto' | undefined;
  /** Makes the workers, where the page's CSP forbids those from a Blob: of a script that calls `runThread()` of `@msd/core/thread`. */
  readonly worker?: WorkerFactory | undefined;
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
 * @throws {@link RangeError}, {@link TypeError} for options that mean nothing
 */
export async function createTeam({ threads = 'auto', worker }: ThreadOptions): Promise<Team> {
  if (threads !== 'auto' && !(Number.isSafeInteger(threads) && threads >= 1 && threads <= MAX_THREADS))
    throw new RangeError(`createBackend: threads expected 'auto' or 1 to ${MAX_THREADS}, got ${String(threads)}.`);
  if (worker !== undefined && typeof worker !== 'function')
    throw new TypeError(`createBackend: worker expected a function that makes a Worker, got ${typeof worker}.`);
  const requested = threads === 'auto' ? automaticThreads() : threads;
  const missing = requested > 1 ? whatIsMissing() : undefined;
  if (requested === 1 || missing) return new Team(undefined, requested, missing);
  const shared = (await import('./pool.ts')).threadPool(); // most pages have no use for it
  await shared.acquire(requested, worker);
  return new Team(shared, requested);
}

export class Team {
  readonly requested: number;
  #pool: ThreadPool | undefined;
  readonly #reason: string | undefined;
  #kernels = new Map<Kernel, Parameters<ThreadPool['install']>>();
  /** Of kernels that the workers have: those that a job needed. Small backends never send their memory. */
  #numbers = new Map<Kernel, number>();

  constructor(pool: ThreadPool | undefined, requested: number, reason?: string) {
    this.#pool = pool;
    this.requested = requested;
    this.#reason = reason;
  }

  /** Threads that a job can have now, the calling one included. */
  get count(): number {
    return this.#pool ? Math.min(this.requested, this.#pool.threads) : 1;
  }

  /** Work of a chunk, where it is not the planner's. */
  get chunkMacs(): number | undefined {
    return this.#pool?.chunkMacs;
  }

  get report(): ThreadReport {
    const { count, requested } = this;
    return { count, requested, warnings: this.#reason ? [this.#reason] : [...(this.#pool?.warnings ?? [])] };
  }

  /** Wakes workers that sleep: a job is about to come. */
  wake(): void {
    this.#pool?.wake();
  }

  /** Makes an instance's kernel available to jobs. */
  install(kernel: Kernel, id: string, module: WebAssembly.Module, memory: WebAssembly.Memory): void {
    if (this.#pool) this.#kernels.set(kernel, [id, module, memory]);
  }

  /** Takes all kernels back, and with them the memory that they worked on. */
  forget(): void {
    this.#pool?.drop([...this.#numbers.values()]);
    this.#numbers.clear();
    this.#kernels.clear();
  }

  /**
   * Runs every chunk, even if workers die.
   *
   * @param find the kernel, on the memory that the arena has now
   * @param leave moves the arena to another memory: called if a worker was lost that may still write to this one
   * @param repeatable may a chunk be computed twice? Not if the kernel changes what it reads
   * @returns false if a worker was lost in a chunk that may not: do everything again that this kernel reads
   */
  run(find: () => Kernel, job: Job, leave: () => void, repeatable: boolean): boolean {
    const kernel = find();
    const source = this.#kernels.get(kernel);
    if (!this.#pool || !source) throw new Error('threads: the kernel was not installed.');
    let number = this.#numbers.get(kernel);
    if (number === undefined) this.#numbers.set(kernel, (number = this.#pool.install(...source)));
    const { missing, lost } = this.#pool.run(number, job, this.count, (chunk) => kernel(...job.argumentsOf(chunk)));
    if (missing.length === 0) return true;
    if (lost) {
      leave();
      if (!repeatable) return false;
    }
    const rest = find();
    for (const chunk of missing) rest(...job.argumentsOf(chunk));
    return true;
  }

  /** Ends this backend's part in the pool; twice is once. */
  release(): void {
    this.forget();
    this.#pool?.release();
    this.#pool = undefined;
  }
}
