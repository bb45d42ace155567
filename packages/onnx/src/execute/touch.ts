/**
 * New memory has no pages yet: the system gives each one when it is written to for the first time, and zeros it. For a large model that
 * takes longer than reading and packing its weights. In Node it can be done beside that: zeros from the system, read into
 * memory by Node's threads for files, bring its pages along. It takes the time of processors that the first writes would have taken.
 */
import type { ArenaHandle } from '@msd/core';
import { builtin } from '../read/builtin.ts';

interface FileSystem {
  openSync(path: string, flags: 'r'): number;
  closeSync(fd: number): void;
  read(fd: number, buffer: Uint8Array, offset: number, length: number, position: null, done: () => void): void;
}

/** Memory that is ready before it is needed. */
export interface Touched {
  /** Waits until it is ready up to an address, or nothing more will be: nothing there may be written to before. */
  room(end: number): Promise<void>;
  /** Nothing more is needed. Waits for what is under way. */
  end(): Promise<void>;
}

interface System {
  availableParallelism(): number;
}

/** What is asked for at a time: some milliseconds. */
const PIECE_BYTES = 2 ** 23;
/** Node has four threads for files: others may want one. On two cores one of these would be as slow as the first writes were. */
const LANES = 3;

/**
 * Makes the memory of some handles ready, from the first one on. They follow each other in one arena, nothing else lies between them,
 * and nothing has been written to them: zeros will.
 *
 * @returns `undefined` where the system has no zeros to read, or one core; else {@link Touched.end} has to follow
 */
export function touch(handles: readonly ArenaHandle[]): Touched | undefined {
  const fs = builtin<FileSystem>('node:fs');
  const cores = builtin<System>('node:os')?.availableParallelism() ?? 1;
  const zeros = fs && cores > 1 ? open(fs) : undefined;
  return zeros === undefined ? undefined : new Touching(handles, { fs: fs!, fd: zeros });
}

/** Where zeros come from. */
interface Zeros {
  readonly fs: FileSystem;
  readonly fd: number;
}

function open(fs: FileSystem): number | undefined {
  try {
    return fs.openSync('/dev/zero', 'r');
  } catch {
    return undefined;
  }
}

class Touching implements Touched {
  readonly #zeros: Zeros;
  readonly #first: ArenaHandle;
  readonly #end: number;
  readonly #pieces: number;
  readonly #isReady: boolean[] = [];
  readonly #all: Promise<unknown>;
  #begun = 0;
  /** Pieces that are ready, with all before them. */
  #ready = 0;
  #isOver = false;
  #wake: (() => void) | undefined;

  constructor(handles: readonly ArenaHandle[], zeros: Zeros) {
    const [first, last] = [handles[0]!, handles.at(-1)!];
    this.#zeros = zeros;
    this.#first = first;
    this.#end = last.ptr + last.byteLength;
    this.#pieces = Math.ceil((this.#end - first.ptr) / PIECE_BYTES);
    const lane = async (): Promise<void> => {
      while (!this.#isOver && this.#begun < this.#pieces) await this.#touch(this.#begun++);
    };
    this.#all = Promise.all(Array.from({ length: LANES }, lane)).finally(() => zeros.fs.closeSync(zeros.fd));
  }

  async room(end: number): Promise<void> {
    const wanted = Math.ceil((Math.min(end, this.#end) - this.#first.ptr) / PIECE_BYTES);
    while (!this.#isOver && this.#ready < wanted)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#all;
  }

  async #touch(index: number): Promise<void> {
    const { fs, fd } = this.#zeros;
    const { arena, ptr } = this.#first;
    const begin = ptr + index * PIECE_BYTES;
    const bytes = arena.bytes(arena.at(begin, Math.min(PIECE_BYTES, this.#end - begin)));
    // Whether it read any zeros does not matter: a page that was not brought along comes when it is needed.
    await new Promise<void>((resolve) => fs.read(fd, bytes, 0, bytes.length, null, () => resolve()));
    this.#isReady[index] = true;
    while (this.#isReady[this.#ready]) this.#ready++;
    this.#wake?.();
  }
}
