/**
 * A kernel call that threads share in chunks. Every argument is linear in the chunk's position and size, so a chunk's
 * arguments are computed wherever it runs, from a few words and without knowing the kernel.
 */
import type { Arg } from '../kernel-spec.ts';
import { CHUNK_WORDS } from '../plan/cut.ts';

/** Words per argument: it is their sum over 1, thread, first row, rows, first panel, panels. */
export const ARG_WORDS = 6;

export type Kernel = (...args: number[]) => void;

/** A kernel whose chunks threads share. */
export interface Shared {
  readonly job: Job;
  /** Its kernel, on the memory that the arena has now. */
  find(): Kernel;
  /** Goes on with each chunk, on the thread that has just computed it: its job has the same chunks, of one part. It goes on with nothing itself. */
  readonly next?: Shared | undefined;
}

/** Runs a chunk on the calling thread. */
export function runChunk({ job, find, next }: Shared, chunk: number): void {
  find()(...job.argumentsOf(chunk));
  if (next) runChunk(next, chunk);
}

export class Job {
  /**
   * Where each chunk lies, but instead of its part where the arguments of that begin; then the arguments: what a
   * thread has to know of it.
   */
  readonly words: Int32Array;
  readonly argCount: number;
  readonly chunks: number;
  readonly #parts: readonly (readonly Arg[])[];
  /** Of the chunk that was asked for last; of the only one, since it was placed. */
  readonly #values: number[] = [];

  /**
   * @param parts arguments of the kernel, once for each part that chunks are of
   * @param table of where chunks lie, see plan/cut.ts
   */
  constructor(parts: readonly (readonly Arg[])[], table: Int32Array) {
    this.#parts = parts;
    this.argCount = parts[0].length;
    this.chunks = table.length / CHUNK_WORDS;
    this.words = new Int32Array(table.length + ARG_WORDS * this.argCount * parts.length);
    this.words.set(table);
    for (let at = CHUNK_WORDS - 1; at < table.length; at += CHUNK_WORDS) this.words[at] = this.#argsAt(table[at]);
    parts.forEach((args, part) => {
      args.forEach(({ perThread = 0, perRow = 0, rows = 0, perPanel = 0, panels = 0 }, i) => {
        this.words.set([0, perThread, perRow, rows, perPanel, panels], this.#argsAt(part) + ARG_WORDS * i);
      });
    });
  }

  #argsAt(part: number): number {
    return CHUNK_WORDS * this.chunks + ARG_WORDS * this.argCount * part;
  }

  /** Says where everything of a part lies. Makes no objects. @param addresses by operand */
  place(addresses: readonly number[], scratch = 0, part = 0): void {
    const { words } = this;
    const args = this.#parts[part];
    let at = this.#argsAt(part);
    for (let i = 0; i < args.length; i++, at += ARG_WORDS) {
      const { operand, value = 0, scratch: own } = args[i];
      words[at] = value + (operand === undefined ? 0 : addresses[operand]) + (own ? scratch : 0);
    }
    if (this.chunks === 1) this.argumentsOf(0);
  }

  /** Arguments of a chunk on the calling thread; valid until the next one is asked for. */
  argumentsOf(chunk: number): readonly number[] {
    return chunkArguments(this.words, 0, this.argCount, chunk, 0, this.#values);
  }

  /** Arguments of the only chunk. */
  get whole(): readonly number[] {
    return this.#values;
  }
}

/**
 * What a kernel is called with for a chunk. Threads run the text of this function: it uses nothing from outside itself.
 *
 * @param at where a job's words begin
 * @returns `values`, overwritten
 */
export function chunkArguments(
  words: Int32Array,
  at: number,
  argCount: number,
  chunk: number,
  thread: number,
  values: number[],
): number[] {
  const place = at + 5 * chunk;
  const row = words[place];
  const rows = words[place + 1];
  const panel = words[place + 2];
  const panels = words[place + 3];
  values.length = argCount;
  for (let i = 0, word = at + words[place + 4]; i < argCount; i++, word += 6)
    values[i] =
      words[word] +
      words[word + 1] * thread +
      words[word + 2] * row +
      words[word + 3] * rows +
      words[word + 4] * panel +
      words[word + 5] * panels;
  return values;
}
