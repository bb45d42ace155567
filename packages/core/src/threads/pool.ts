/**
 * One pool of workers per page or process: all backends share it, and the last one to leave stops it.
 *
 * The calling thread publishes a job, takes chunks like any other thread, and spins until the last chunk is done. It needs no
 * worker for that: one that is asleep, or not there yet, has claimed nothing. Only a worker that ends in the middle of a
 * chunk leaves a gap, and that the calling thread must find out by itself, since it receives no events while it works.
 */

import { MAX_THREADS } from '../plan/cut.ts';
import type { RelaxedProbe } from '../wasm/features.ts';
import { type Clock, systemClock } from './clock.ts';
import type { ThreadWorker } from './environment.ts';
import type { Job } from './job.ts';
import { DONE, LAYOUT, type ThreadMessage, type ThreadReply } from './layout.ts';
import type { ThreadTask } from './team.ts';
import { listen, startWorker, type WorkerFactory } from './worker.ts';

/** How long workers may take to start before the pool is used without them; `startMs` changes it. */
const START_MS = 5000;
/**
 * That time is measured in so many parts: if the calling thread was busy, and could not receive a message, that counts
 * as one part at most.
 */
const START_LOOKS = 10;
export const START_LOOK_MS = START_MS / START_LOOKS;
/**
 * Unused workers stay for this long, so that programs that create one backend after the other do not start them again.
 */
const LINGER_MS = 1000;
/** Workers that fail are replaced this many times, each time after four times as long a wait. */
const REPLACEMENTS = 2;
const BACK_OFF_MS = 100;
/** A failure this long after the last one counts as the first. */
const CALM_MS = 60_000;
/** If two looks at the clock are further apart than this, the calling thread itself had no core. */
export const LOOK_MS = 2;
/**
 * Workers never collect the memories that they are told to drop, because they allocate nothing: after so many drops
 * they are replaced.
 */
const MAX_DROPS = 16;

const NONE: readonly number[] = [];

const pause = (Atomics as { pause?(): void }).pause ?? (() => {});

/** One per page, worker or process, as a module's state is; made when first needed, it takes a SharedArrayBuffer. */
let pool: ThreadPool | undefined;

export function threadPool(): ThreadPool {
  pool ??= new ThreadPool();
  return pool;
}

interface Thread {
  worker: ThreadWorker | undefined;
  /** Its number in the control block; the calling thread is number 0. */
  slot: number;
  /** Resolves once it is ready or gone. */
  readonly settled: Promise<void>;
  state: 'starting' | 'ready' | 'gone';
  become(state: 'ready' | 'gone'): void;
  /** Told when its tasks have ended. */
  readonly tasks: (() => void)[];
}

/** `relaxedProbe` of wasm/features.ts. */
export type AskEngine = () => RelaxedProbe | null;

/** How a job ended. */
export interface JobEnd {
  /** Chunks that are still to be computed, by index. */
  readonly missing: readonly number[];
  /** How many the calling thread computed. */
  readonly own: number;
  /**
   * Was a worker lost? It may still write into the memory of this job, so everybody else has to move to another memory.
   */
  readonly lost: boolean;
  /** For how long, at last, no other thread had got on, if that was too long; and how long was allowed. */
  readonly waitedMs: number;
  readonly patienceMs: number;
}

export class ThreadPool {
  /** What went wrong with workers, in order. */
  readonly warnings: string[] = [];
  clock: Clock = systemClock;
  /**
   * A worker counts as lost if no chunk is finished for this long, or for fifty times the duration of a chunk if that
   * is longer. The time doubles after each failure, so that on a slow machine workers are soon no longer taken for
   * lost.
   */
  patienceMs = 100;
  /** How long a worker may take to start. An emulated engine needs more. */
  startMs = START_MS;
  /** Multiplications of a chunk; default: the planner's rules. Tests cut finer. */
  chunkMacs: number | undefined;
  #control = newControl();
  /** Those that are starting or ready; thread i has slot i + 1. */
  #threads: Thread[] = [];
  /** Workers asked for, and places among them that stay empty since workers failed there. */
  #asked = 0;
  #empty = 0;
  /** Failures in a row, the time of the last one, and what cancels the replacement that is due. */
  #failures = 0;
  #failedAt = 0;
  #cancelRetry: (() => void) | undefined;
  #kernels = new Map<number, ThreadMessage>();
  #nextKernel = 0;
  #drops = 0;
  #users = 0;
  #cancelStop: (() => void) | undefined;
  #ask: AskEngine = () => null;
  #factory: WorkerFactory = startWorker;
  #ready = 0;

  /** Threads that can work now, the calling one included. */
  get threads(): number {
    return 1 + this.#ready;
  }

  /**
   * Resolves once `threads` threads, the calling one included, have started or failed to.
   *
   * @param ask tells what workers are asked, and what this thread answers. It is passed in since this code is fetched on demand:
   *   what it imports of a page's own code can be a chunk of its own
   */
  async acquire(threads: number, ask: AskEngine, factory: WorkerFactory = startWorker): Promise<void> {
    this.#cancelStop?.();
    if (this.#users++ === 0 && this.#threads.length < this.#asked) this.stop();
    this.#ask = ask;
    this.#factory = factory;
    this.#asked = Math.max(this.#asked, Math.min(threads, MAX_THREADS) - 1);
    this.#fill();
    await Promise.all(this.#threads.map(({ settled }) => settled));
  }

  /** Ends a use of the pool. */
  release(): void {
    this.#users--;
    if (this.#users > 0) return;
    this.#cancelStop = this.clock.after(LINGER_MS, () => this.#users === 0 && this.stop());
  }

  /** Ends all workers and forgets what happened to them; the pool can be used again. */
  stop(): void {
    this.#clear();
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#asked = this.#empty = this.#failures = 0;
  }

  /** Sends a kernel to all workers. @returns its number */
  install(id: string, module: WebAssembly.Module, memory: WebAssembly.Memory): number {
    const kernel = this.#nextKernel++;
    const message = { kernel, id, module, memory };
    this.#kernels.set(kernel, message);
    for (const thread of this.#threads) this.#post(thread, message);
    return kernel;
  }

  /** Gives workers something else to do than chunks. @returns how many have it */
  lend({ code, most, given, ended }: ThreadTask): number {
    const free = this.#threads.filter(({ state }) => state === 'ready').slice(0, most);
    free.forEach((thread, i) => {
      thread.tasks.push(() => ended(i));
      this.#post(thread, { task: code, given: given(i) });
    });
    return free.length;
  }

  /** Drops kernels that will not be called any more, and with them the memory that they worked on. */
  drop(kernels: readonly number[]): void {
    for (const kernel of kernels) this.#kernels.delete(kernel);
    for (const thread of this.#threads) this.#post(thread, { drop: kernels });
    if (++this.#drops < MAX_DROPS) return;
    this.#clear();
    this.#fill();
  }

  /** Wakes workers that sleep. Those that are awake, or not there yet, are left alone. */
  wake(): void {
    const control = this.#control;
    if (Atomics.load(control, LAYOUT.sleepers) > 0) wakeAll(control, LAYOUT.wake);
  }

  /**
   * Runs a job on all threads.
   *
   * @param call runs a chunk on the calling thread
   * @param meanwhile what only the calling thread can do, beside the job: others begin without it
   * @param next kernel that goes on with each chunk, and its job of the same chunks
   */
  run(
    kernel: number,
    job: Job,
    threads: number,
    call: (chunk: number) => void,
    meanwhile?: () => void,
    next?: { readonly kernel: number; readonly job: Job },
  ): JobEnd {
    const control = this.#control;
    const { ticket, done, flags } = LAYOUT;
    const { chunks } = job;
    control.set(job.words, LAYOUT.job);
    control[LAYOUT.argCount] = job.argCount;
    if (next) {
      control.set(next.job.words, LAYOUT.nextJob);
      control[LAYOUT.next] = next.kernel;
    }
    control[LAYOUT.nextCount] = next ? next.job.argCount : 0;
    control[LAYOUT.chunks] = chunks;
    control[LAYOUT.kernel] = kernel;
    control[LAYOUT.threads] = threads;
    control.fill(0, flags, flags + chunks);
    Atomics.store(control, done, 0);
    Atomics.store(control, ticket, chunks);
    this.wake();

    meanwhile?.();
    const start = this.clock.now();
    let own = 0;
    for (let left = chunks; (left = Atomics.sub(control, ticket, 1)) > 0; own++) {
      call(chunks - left);
      Atomics.store(control, flags + left - 1, DONE);
      Atomics.add(control, done, 1);
    }
    const patience = this.patienceMs * 2 ** Math.min(this.#failures, REPLACEMENTS);
    // Without a chunk of its own the calling thread does not know how long one takes.
    const enough = own > 0 ? (50 * (this.clock.now() - start)) / own : 10 * patience;
    const patienceMs = Math.max(patience, enough);
    const waitedMs = this.#join(chunks, patienceMs);
    let isDone = true;
    for (let i = 0; i < chunks; i++) if (control[flags + i] !== DONE) isDone = false;
    const missing = isDone ? NONE : this.#missing(chunks, waitedMs > 0);
    return { missing, own, lost: waitedMs > 0, waitedMs, patienceMs };
  }

  /** Chunks that are not done, by index. @param lost was a worker? All start anew then */
  #missing(chunks: number, lost: boolean): number[] {
    const control = this.#control;
    const { flags } = LAYOUT;
    const missing: number[] = [];
    const owners = new Set<number>();
    for (let i = 0; i < chunks; i++) {
      if (control[flags + i] === DONE) continue;
      missing.push(chunks - 1 - i);
      if (control[flags + i] <= 0) owners.add(control[flags + i]);
    }
    if (lost) {
      this.warnings.push('threads: a worker did not finish its part of a matmul, which was repeated.');
      // They would keep the old memory alive, and the lost ones may still write to the control block.
      this.#clear();
      this.#fill(owners.size);
      this.#failed(owners.size);
    }
    return missing;
  }

  /** @returns 0 if all is done; otherwise the milliseconds without progress of the other threads, which was too long */
  #join(chunks: number, patienceMs: number): number {
    const control = this.#control;
    let seen = -1;
    let waited = 0;
    let last = 0;
    for (let turn = 0; ; turn++) {
      const done = Atomics.load(control, LAYOUT.done);
      if (done === chunks) return 0;
      pause();
      if (turn % 256 !== 255) continue;
      const now = this.clock.now();
      // On an overloaded machine, the others wait for a core about as often as this thread, so that time does not
      // count.
      waited = done === seen ? waited + Math.min(now - last, LOOK_MS) : 0;
      last = now;
      seen = done;
      if (waited > patienceMs) return waited;
    }
  }

  /** Ends all workers. */
  #clear(): void {
    const threads = this.#threads;
    this.#threads = [];
    this.#ready = 0;
    this.#control = newControl();
    this.#drops = 0;
    for (const thread of threads) thread.become('gone');
  }

  /** Starts the workers that are missing, all but some. */
  #fill(but = 0): void {
    for (let missing = this.#asked - this.#empty - but - this.#threads.length; missing > 0; missing--) this.#start();
  }

  /** Replaces ready workers that failed: later each time, and in the end not at all. */
  #failed(workers: number): void {
    const now = this.clock.now();
    if (now - this.#failedAt > CALM_MS) this.#failures = 0;
    this.#failedAt = now;
    this.#failures++;
    if (this.#failures > REPLACEMENTS) {
      this.#empty += workers;
      const left = this.#asked - this.#empty + 1;
      this.warnings.push(
        `threads: workers failed again and again and are not replaced any more; threads left: ${left}.`,
      );
    } else if (this.#cancelRetry === undefined) {
      this.#cancelRetry = this.clock.after(BACK_OFF_MS * 4 ** (this.#failures - 1), () => {
        this.#cancelRetry = undefined;
        if (this.#users > 0) this.#fill();
      });
    }
  }

  #start(): void {
    let settle = () => {};
    const settled = new Promise<void>((resolve) => {
      settle = resolve;
    });
    const become: Thread['become'] = (state) => {
      if (thread.state === state || thread.state === 'gone') return;
      thread.state = state;
      cancel();
      settle();
      thread.worker?.unref?.(); // from now on it keeps no process alive
      if (state === 'gone') thread.worker?.terminate();
      else this.#ready++;
    };
    const slot = this.#threads.length + 1;
    const thread: Thread = { worker: undefined, slot, settled, state: 'starting', become, tasks: [] };
    const { startMs } = this;
    let cancel = (): void => {};
    const wait = (looks: number): void => {
      cancel = this.clock.after(startMs / START_LOOKS, () => {
        if (looks > 1) wait(looks - 1);
        else this.#remove(thread, `it did not start within ${startMs} ms`);
      });
    };
    wait(START_LOOKS);
    this.#threads.push(thread);
    try {
      thread.worker = this.#factory();
      const probe = this.#ask();
      listen(thread.worker, {
        replied: (reply) => {
          if ((reply as ThreadReply | null)?.hasEnded) thread.tasks.shift()?.();
          else if (agrees(probe, reply)) become('ready');
          else this.#remove(thread, 'its relaxed dot gives other results than that of the calling thread');
        },
        gone: (reason) => {
          this.#remove(thread, reason);
          for (const end of thread.tasks.splice(0)) end();
        },
      });
      this.#welcome(thread);
      for (const message of this.#kernels.values()) this.#post(thread, message);
    } catch (error) {
      this.#remove(thread, (error as Error).message);
    }
  }

  /** Continues without a worker that ended between two jobs, or never started. */
  #remove(thread: Thread, reason: string): void {
    const { slot, state } = thread;
    if (state === 'gone') return;
    thread.become('gone');
    this.warnings.push(`threads: worker ${slot} is gone: ${reason}.`);
    // Slots have no gaps, and what is left of it may still look at the old control block.
    const control = this.#control;
    this.#control = newControl();
    this.#threads = this.#threads.filter((other) => other !== thread);
    this.#threads.forEach((other, i) => {
      Atomics.add(control, LAYOUT.mail + other.slot, 1);
      other.slot = i + 1;
      this.#welcome(other);
    });
    wakeAll(control, LAYOUT.wake);
    if (state === 'starting') this.#empty++;
    else {
      this.#ready--;
      this.#failed(1);
    }
  }

  /** Tells a worker where the control words are. */
  #welcome({ worker, slot }: Thread): void {
    const probe = this.#ask();
    const question = probe && { module: probe.module, pairs: probe.pairs };
    worker?.postMessage({ control: this.#control, layout: LAYOUT, slot, probe: question } satisfies ThreadMessage);
  }

  #post({ worker, slot }: Thread, message: ThreadMessage): void {
    Atomics.add(this.#control, LAYOUT.mail + slot, 1);
    worker?.postMessage(message);
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
