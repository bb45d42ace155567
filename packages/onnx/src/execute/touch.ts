/**
 * New memory has no pages yet: the system gives each one when it is written to for the first time, and zeros it. For a large model that
 * takes longer than reading and packing its weights. In Node it can be done beside that: zeros from the system, read into
 * memory by Node's threads for files, bring its pages along. It takes the time of processors that the first writes would have taken.
 */
import type { ArenaHandle, WasmBackend } from '@msd/core';
import { builtin } from '../read/builtin.ts';

interface FileSystem {
  openSync(path: string, flags: 'r'): number;
  closeSync(fd: number): void;
  read(fd: number, buffer: Uint8Array, offset: number, length: number, position: null, done: () => void): void;
}

/** Memory that is ready before it is needed. */
export interface Touched {
  /** Waits until the next so many bytes are ready, or nothing more will be. */
  room(byteLength: number): Promise<void>;
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
 * Makes the memory that a backend starts with ready, from its beginning on. What is not ready yet is allocated, so nobody else gets
 * it: who does not wait for it gets other memory.
 *
 * @returns `undefined` where the system has no zeros to read, or one core; else {@link Touched.end} has to follow
 */
export function touch(backend: WasmBackend, byteLength: number): Touched | undefined {
  const fs = builtin<FileSystem>('node:fs');
  const cores = builtin<System>('node:os')?.availableParallelism() ?? 1;
  const zeros = fs && cores > 1 ? open(fs) : undefined;
  return zeros === undefined ? undefined : new Touching(backend, byteLength, { fs: fs!, fd: zeros });
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
  readonly #backend: WasmBackend;
  readonly #zeros: Zeros;
  readonly #pieces: ArenaHandle[] = [];
  readonly #isReady: boolean[] = [];
  readonly #all: Promise<unknown>;
  #begun = 0;
  /** Pieces that are ready, with all before them. */
  #ready = 0;
  /** Bytes that were asked for. */
  #wanted = 0;
  #isOver = false;
  #wake: (() => void) | undefined;

  constructor(backend: WasmBackend, byteLength: number, zeros: Zeros) {
    this.#backend = backend;
    this.#zeros = zeros;
    for (let left = byteLength; left >= PIECE_BYTES; left -= PIECE_BYTES)
      this.#pieces.push(backend.alloc(PIECE_BYTES, 'memory that is made ready'));
    const lane = async (): Promise<void> => {
      while (this.#begun < this.#pieces.length) await this.#touch(this.#begun++);
    };
    this.#all = Promise.all(Array.from({ length: LANES }, lane)).finally(() => zeros.fs.closeSync(zeros.fd));
  }

  async room(byteLength: number): Promise<void> {
    this.#wanted += byteLength;
    while (!this.#isOver && this.#ready < this.#pieces.length && PIECE_BYTES * this.#ready < this.#wanted)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
  }

  async end(): Promise<void> {
    this.#isOver = true;
    while (this.#begun < this.#pieces.length) this.#backend.free(this.#pieces[this.#begun++]!);
    await this.#all;
  }

  async #touch(index: number): Promise<void> {
    const { fs, fd } = this.#zeros;
    const piece = this.#pieces[index]!;
    const bytes = this.#backend.arena.bytes(piece);
    // Whether it read any zeros does not matter: a page that was not brought along comes when it is needed.
    await new Promise<void>((resolve) => fs.read(fd, bytes, 0, PIECE_BYTES, null, () => resolve()));
    this.#backend.free(piece);
    this.#isReady[index] = true;
    while (this.#isReady[this.#ready]) this.#ready++;
    this.#wake?.();
  }
}
