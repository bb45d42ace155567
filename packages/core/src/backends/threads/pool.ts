/**
 * One pool of workers per page or process: all backends share it, the last one to leave stops it.
 *
 * The calling thread publishes a job, takes chunks like any other thread, and spins until the last chunk is done. It needs no
 * worker for that: one that is asleep, or not there yet, has claimed nothing. Only a worker that ends in the middle of a
 * chunk leaves a gap, and that the calling thread must find out by itself, since it receives no events while it works.
 */
import { MAX_THREADS } from '../../plan/cut.ts';
import { type RelaxedProbe, relaxedProbe } from '../features.ts';
import type { Job } from './job.ts';
import { DONE, LAYOUT, type ThreadMessage, type ThreadReply } from './layout.ts';
import { listen, startWorker, type ThreadWorker, type WorkerFactory } from './worker.ts';

/** Unused workers stay for so long: programs that make one backend after the other do not start them again. */
const LINGER_MS = 1000;
/** Workers never collect the memories they are told to drop, they allocate nothing: after so many they are replaced. */
const MAX_DROPS = 16;

const pause = (Atomics as { pause?(): void }).pause ?? (() => {});

interface Thread {
  readonly worker: ThreadWorker | undefined;
  /** Resolves once it is ready or gone. */
  readonly settled: Promise<void>;
  state: 'starting' | 'ready' | 'gone';
  /** Terminates it. */
  end(): void;
}

export class ThreadPool {
  /** What went wrong with workers, in order. */
  readonly warnings: string[] = [];
  /** How long workers may take to start before the pool is used without them. */
  startMs = 5000;
  /** No chunk done for so long, and for fifty times what one takes here, means a lost worker. */
  patienceMs = 2000;
  /** Multiplications of a chunk; default: the planner's rules. Tests cut finer. */
  chunkMacs: number | undefined;
  #control = newControl();
  /** Thread i has slot i + 1: slot 0 is the calling thread's. */
  #threads: Thread[] = [];
  #kernels = new Map<number, ThreadMessage>();
  #nextKernel = 0;
  #drops = 0;
  #users = 0;
  #linger: ReturnType<typeof setTimeout> | undefined;
  #factory: WorkerFactory = startWorker;
  #ready = 0;

  /** Threads that can work now, the calling one included. */
  get threads(): number {
    return 1 + this.#ready;
  }

  /** Resolves once `threads` threads, the calling one included, have started or failed to. */
  async acquire(threads: number, factory: WorkerFactory = startWorker): Promise<void> {
    clearTimeout(this.#linger);
    if (this.#users++ === 0 && this.#threads.some(({ state }) => state === 'gone')) this.stop();
    this.#factory = factory;
    while (this.#threads.length < Math.min(threads, MAX_THREADS) - 1) this.#start();
    await Promise.all(this.#threads.map(({ settled }) => settled));
  }

  /** Ends a use of the pool. */
  release(): void {
    this.#users--;
    if (this.#users > 0) return;
    this.#linger = setTimeout(() => this.#users === 0 && this.stop(), LINGER_MS);
    (this.#linger as { unref?(): void }).unref?.();
  }

  /** Ends all workers; the pool can be used again. */
  stop(): void {
    const threads = this.#threads;
    this.#threads = [];
    this.#control = newControl();
    this.#drops = 0;
    for (const thread of threads) thread.end();
  }

  /** Makes a kernel known to all workers. @returns its number */
  install(id: string, module: WebAssembly.Module, memory: WebAssembly.Memory): number {
    const kernel = this.#nextKernel++;
    const message = { kernel, id, module, memory };
    this.#kernels.set(kernel, message);
    this.#threads.forEach((_, i) => {
      this.#post(i, message);
    });
    return kernel;
  }

  /** Kernels that nobody will call any more; the memory they worked on goes with them. */
  drop(kernels: readonly number[]): void {
    if (kernels.length === 0) return;
    for (const kernel of kernels) this.#kernels.delete(kernel);
    this.#threads.forEach((_, i) => {
      this.#post(i, { drop: kernels });
    });
    if (++this.#drops >= MAX_DROPS) this.#replace();
  }

  /**
   * Works a job off.
   *
   * @param call runs a chunk on the calling thread
   * @returns chunks that are still to be computed, by index; and whether a worker was lost: it may still write into the memory
   * of this job, whoever reads or writes that memory afterwards has to leave it
   */
  run(kernel: number, job: Job, threads: number, call: (chunk: number) => void): { missing: number[]; lost: boolean } {
    const control = this.#control;
    const { ticket, done, sleepers, wake, flags } = LAYOUT;
    const { chunks } = job;
    control.set(job.words, LAYOUT.job);
    control[LAYOUT.argCount] = job.argCount;
    control[LAYOUT.chunks] = chunks;
    control[LAYOUT.kernel] = kernel;
    control[LAYOUT.threads] = threads;
    control.fill(0, flags, flags + chunks);
    Atomics.store(control, done, 0);
    Atomics.store(control, ticket, chunks);
    if (Atomics.load(control, sleepers) > 0) wakeAll(control, wake);

    const start = performance.now();
    let own = 0;
    for (let left = chunks; (left = Atomics.sub(control, ticket, 1)) > 0; own++) {
      call(chunks - left);
      Atomics.store(control, flags + left - 1, DONE);
      Atomics.add(control, done, 1);
    }
    const lost = !this.#join(chunks, own > 0 ? (performance.now() - start) / own : 0);
    const missing: number[] = [];
    for (let i = 0; i < chunks; i++) if (control[flags + i] !== DONE) missing.push(chunks - 1 - i);
    if (lost) {
      this.warnings.push(
        'threads: a worker did not finish its part of a matmul, which was repeated; all were replaced.',
      );
      this.#replace();
    }
    return { missing, lost };
  }

  /** @returns false if the other threads stopped getting on */
  #join(chunks: number, chunkMs: number): boolean {
    const control = this.#control;
    const patience = this.patienceMs + 50 * chunkMs;
    let seen = -1;
    let since = 0;
    for (let turn = 0; ; turn++) {
      const done = Atomics.load(control, LAYOUT.done);
      if (done === chunks) return true;
      pause();
      if (turn % 256 !== 255) continue;
      const now = performance.now();
      if (done !== seen) {
        seen = done;
        since = now;
      } else if (now - since > patience) return false;
    }
  }

  #start(): void {
    const control = this.#control;
    const slot = this.#threads.length + 1;
    let settle = () => {};
    const settled = new Promise<void>((resolve) => {
      settle = resolve;
    });
    let worker: ThreadWorker | undefined;
    const thread = { worker, settled, state: 'starting' as Thread['state'], end: () => become('gone') };
    const become = (state: 'ready' | 'gone', reason?: string) => {
      if (thread.state === state || thread.state === 'gone') return;
      this.#ready += state === 'ready' ? 1 : thread.state === 'ready' ? -1 : 0;
      thread.state = state;
      clearTimeout(timer);
      settle();
      worker?.unref?.(); // from now on it keeps no process alive
      if (reason) this.warnings.push(`threads: worker ${slot} is gone: ${reason}.`);
      if (state === 'gone') worker?.terminate();
    };
    const timer = setTimeout(() => become('gone', `it did not start within ${this.startMs} ms`), this.startMs);
    this.#threads.push(thread);
    try {
      worker = this.#factory();
      thread.worker = worker;
      const probe = relaxedProbe();
      listen(worker, {
        ready: (reply) =>
          agrees(probe, reply)
            ? become('ready')
            : become('gone', 'its relaxed dot gives other results than that of the calling thread'),
        gone: (reason) => become('gone', reason),
      });
      worker.postMessage({
        control,
        layout: LAYOUT,
        slot,
        probe: probe && { module: probe.module, pairs: probe.pairs },
      });
      for (const message of this.#kernels.values()) this.#post(slot - 1, message);
    } catch (error) {
      become('gone', (error as Error).message);
    }
  }

  #replace(): void {
    const count = this.#threads.length;
    this.stop();
    while (this.#threads.length < count) this.#start();
  }

  #post(index: number, message: ThreadMessage): void {
    const { worker, state } = this.#threads[index];
    if (!worker || state === 'gone') return;
    Atomics.add(this.#control, LAYOUT.mail + index + 1, 1);
    worker.postMessage(message);
    wakeAll(this.#control, LAYOUT.wake);
  }
}

/** Which carriers run is decided by the calling thread's relaxed dot: a thread with another one would give other bits. */
function agrees(probe: RelaxedProbe | null, reply: unknown): boolean {
  if (!probe) return true;
  const dots = (reply as ThreadReply | null)?.dots;
  return dots?.length === probe.dots.length && dots.every((byte, i) => byte === probe.dots[i]);
}

function newControl(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * LAYOUT.words));
}

function wakeAll(control: Int32Array, wake: number): void {
  Atomics.add(control, wake, 1);
  Atomics.notify(control, wake);
}
