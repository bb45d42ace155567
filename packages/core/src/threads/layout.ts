/**
 * The words that all threads of a pool share: an Int32Array over a SharedArrayBuffer.
 *
 * A job is published by storing its number of chunks into `ticket`. Every thread subtracts one, and owns chunk `ticket
 * - 1` if the old value was positive: one atomic operation, for any job. Only then does it read the job's words, which
 * cannot change in the meantime: a job ends when all its chunks are done, including this one. So no thread can confuse
 * two jobs, however late it wakes.
 */

import { MAX_ARGS } from '../kernel-spec.ts';
import { CHUNK_WORDS, MAX_CHUNKS, MAX_PARTS, MAX_THREADS } from '../plan/cut.ts';
import type { RelaxedProbe } from '../wasm/features.ts';
import { ARG_WORDS } from './job.ts';

export interface Layout {
  /** Chunks that no thread has claimed; negative once threads have found none. */
  readonly ticket: number;
  /** Chunks that ended, done or refused. */
  readonly done: number;
  /** Threads that sleep, and the word they sleep on. */
  readonly sleepers: number;
  readonly wake: number;
  /** Number of the kernel, and of the threads that may take part. */
  readonly kernel: number;
  readonly threads: number;
  /** Chunks of the job, its arguments, and its words, see {@link Job}. */
  readonly chunks: number;
  readonly argCount: number;
  readonly job: number;
  /** The same of the kernel that goes on with each chunk; 0 arguments: there is none. */
  readonly next: number;
  readonly nextCount: number;
  readonly nextJob: number;
  /** Messages posted to each thread. */
  readonly mail: number;
  /** One word per chunk, see {@link DONE}. */
  readonly flags: number;
  readonly words: number;
  /** Idle threads spin for so long before they sleep. */
  readonly spinMs: number;
}

const JOB = 64;
const NEXT_JOB = JOB + ARG_WORDS * MAX_ARGS * MAX_PARTS + CHUNK_WORDS * MAX_CHUNKS;
const MAIL = NEXT_JOB + ARG_WORDS * MAX_ARGS + CHUNK_WORDS * MAX_CHUNKS;

/** Words that different threads write at the same time lie on different cache lines. */
export const LAYOUT: Layout = {
  ticket: 0,
  done: 16,
  sleepers: 32,
  wake: 33,
  kernel: 48,
  threads: 49,
  chunks: 50,
  argCount: 51,
  job: JOB,
  next: 52,
  nextCount: 53,
  nextJob: NEXT_JOB,
  mail: MAIL,
  flags: MAIL + MAX_THREADS,
  words: MAIL + MAX_THREADS + MAX_CHUNKS,
  spinMs: 0.5,
};

/** A chunk's flag: 0 until it is claimed, minus the slot of a worker that is at it. Refused: the thread lacks the kernel or it trapped, the caller's turn. */
export const DONE = 1;
export const REFUSED = 2;

/** A thread's answer to its control words: it is ready, and its relaxed dot gave this. Or to a task: it has ended. */
export interface ThreadReply {
  readonly dots?: Uint8Array | null;
  readonly hasEnded?: true;
}

/**
 * Messages to a thread: where the control words are, first of all and when they move; then kernels that come and go, and something
 * else to do, in Node.
 */
export type ThreadMessage =
  | {
      readonly control: Int32Array;
      readonly layout: Layout;
      readonly slot: number;
      /** What to ask the relaxed dot; answered with {@link ThreadReply}. `null`: there is none in this engine. */
      readonly probe: Omit<RelaxedProbe, 'dots'> | null;
    }
  | {
      readonly kernel: number;
      readonly id: string;
      readonly module: WebAssembly.Module;
      readonly memory: WebAssembly.Memory;
    }
  | { readonly drop: readonly number[] }
  | {
      /** The text of a function, and what it is called with. */
      readonly task: string;
      readonly given: unknown;
    };
