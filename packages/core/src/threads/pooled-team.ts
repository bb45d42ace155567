/** A backend's share of the pool: its number of threads, and its kernels there. */
import type { Cuts } from '../plan/cut.ts';
import { cutsFor } from '../plan/share.ts';
import { type Kernel, runChunk, type Shared } from './job.ts';
import { type AskEngine, type ThreadPool, threadPool } from './pool.ts';
import type { Team, ThreadReport, ThreadTask } from './team.ts';
import type { WorkerFactory } from './worker.ts';

/** Starts what is missing of the workers and waits for them. */
export async function joinPool(requested: number, ask: AskEngine, worker: WorkerFactory | undefined): Promise<Team> {
  const pool = threadPool();
  await pool.acquire(requested, ask, worker);
  return new PooledTeam(pool, requested);
}

class PooledTeam implements Team {
  readonly requested: number;
  readonly cuts: Cuts = cutsFor(this);
  #pool: ThreadPool | undefined;
  #kernels = new Map<Kernel, Parameters<ThreadPool['install']>>();
  /** Of kernels that the workers have: those that a job needed. Small backends never send their memory. */
  #numbers = new Map<Kernel, number>();
  #hasLent = false;

  constructor(pool: ThreadPool, requested: number) {
    this.#pool = pool;
    this.requested = requested;
  }

  get count(): number {
    return this.#pool ? Math.min(this.requested, this.#pool.threads) : 1;
  }

  /** Work of a chunk, where it is not the planner's. */
  get chunkMacs(): number | undefined {
    return this.#pool?.chunkMacs;
  }

  get report(): ThreadReport {
    const { count, requested } = this;
    return { count, requested, warnings: [...(this.#pool?.warnings ?? [])] };
  }

  wake(): void {
    this.#pool?.wake();
  }

  install(kernel: Kernel, id: string, module: WebAssembly.Module, memory: WebAssembly.Memory): void {
    if (this.#pool) this.#kernels.set(kernel, [id, module, memory]);
  }

  forget(): void {
    const numbers = [...this.#numbers.values()];
    if (numbers.length > 0 || this.#hasLent) this.#pool?.drop(numbers);
    this.#hasLent = false;
    this.#numbers.clear();
    this.#kernels.clear();
  }

  lend(task: ThreadTask): number {
    this.#hasLent = true;
    return this.#pool?.lend(task) ?? 0;
  }

  run(shared: Shared, leave: () => void, repeatable: boolean, meanwhile?: () => void): boolean {
    const pool = this.#pool;
    if (!pool) throw new Error('threads: the backend was disposed of.');
    const { job, next } = shared;
    const call = (chunk: number) => runChunk(shared, chunk);
    const then = next && { kernel: this.#numberOf(pool, next.find()), job: next.job };
    const { missing, lost } = pool.run(this.#numberOf(pool, shared.find()), job, this.count, call, meanwhile, then);
    if (missing.length === 0) return true;
    if (lost) {
      leave();
      if (!repeatable) return false;
    }
    for (const chunk of missing) call(chunk);
    return true;
  }

  /** By which workers know a kernel. They get it when a job first needs it. */
  #numberOf(pool: ThreadPool, kernel: Kernel): number {
    let number = this.#numbers.get(kernel);
    if (number !== undefined) return number;
    const source = this.#kernels.get(kernel);
    if (!source) throw new Error('threads: the kernel was not installed.');
    this.#numbers.set(kernel, (number = pool.install(...source)));
    return number;
  }

  release(): void {
    this.forget();
    this.#pool?.release();
    this.#pool = undefined;
  }
}
