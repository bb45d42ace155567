/**
 * New memory has no pages yet: the system gives each one when it is written to for the first time, and zeros it. For a large model that
 * takes longer than reading and packing its weights. In Node it can be done at the same time: Node's file threads read
 * zeros from the system into the memory, which creates its pages. That takes as much processor time as the first writes
 * would have taken.
 */
import type { ArenaHandle } from '@msd/core';
import { builtin } from '../read/builtin.ts';

type Arena = ArenaHandle['arena'];

interface FileSystem {
  openSync(path: string, flags: 'r'): number;
  closeSync(fd: number): void;
  read(fd: number, buffer: Uint8Array, offset: number, length: number, position: null, done: () => void): void;
}

/** Memory that is ready before it is needed. */
export interface Touched {
  /**
   * Waits until it is ready up to an address, or until nothing more will be. Before that, nothing there may be written
   * to.
   */
  room(end: number): Promise<void>;
  /** Stops, and waits for pieces in progress. */
  end(): Promise<void>;
}

interface System {
  availableParallelism(): number;
}

/** What is asked for at a time: some milliseconds. */
const PIECE_BYTES = 2 ** 23;
/** Node has four threads for files: others may want one. On two cores one of these would be as slow as the first writes were. */
const LANES = 3;
/** What is asked for at first while JavaScript has other work, and asks for nothing more in the meantime. */
const AHEAD_BYTES = 3 * 2 ** 25;

/**
 * Makes the memory of some handles ready, from the first one on. They follow each other in one arena, nothing else lies between them,
 * and nothing has been written to them: zeros will.
 *
 * @param isBusy the caller has other work for some 50 ms: until then there is a thread for each core that is free, no more
 * @returns `undefined` where the system has no zeros to read, or one core; else {@link Touched.end} has to follow
 */
export function touch(handles: readonly ArenaHandle[], isBusy: boolean): Touched | undefined {
  const fs = builtin<FileSystem>('node:fs');
  const free = (builtin<System>('node:os')?.availableParallelism() ?? 1) - 1;
  const zeros = fs && free > 0 ? open(fs) : undefined;
  if (zeros === undefined) return undefined;
  const first = isBusy ? { count: Math.min(LANES, free), bytes: AHEAD_BYTES } : { count: 0, bytes: 0 };
  return new Touching(handles, { fs: fs!, fd: zeros }, first);
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

interface Piece {
  readonly begin: number;
  readonly end: number;
  isReady: boolean;
}

class Touching implements Touched {
  readonly #zeros: Zeros;
  readonly #arena: Arena;
  readonly #pieces: Piece[] = [];
  readonly #all: Promise<unknown>;
  #begun = 0;
  /** Pieces that are ready, with all before them. */
  #ready = 0;
  #isOver = false;
  #wake: (() => void) | undefined;

  constructor(
    handles: readonly ArenaHandle[],
    zeros: Zeros,
    first: { readonly count: number; readonly bytes: number },
  ) {
    const [{ arena, ptr }, last] = [handles[0]!, handles.at(-1)!];
    this.#zeros = zeros;
    this.#arena = arena;
    for (let [begin, end] = [ptr, last.ptr + last.byteLength]; begin < end; begin = this.#pieces.at(-1)!.end) {
      const bytes = this.#pieces.length < first.count ? first.bytes : PIECE_BYTES;
      this.#pieces.push({ begin, end: Math.min(begin + bytes, end), isReady: false });
    }
    this.#all = this.#run(first.count).finally(() => zeros.fs.closeSync(zeros.fd));
  }

  async room(end: number): Promise<void> {
    while (!this.#isOver && this.#ready < this.#pieces.length && this.#pieces[this.#ready]!.begin < end)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#all;
  }

  /** @param first pieces to begin with */
  async #run(first: number): Promise<void> {
    await Promise.all(Array.from({ length: first }, () => this.#next()));
    const lane = async (): Promise<void> => {
      while (this.#begun < this.#pieces.length) await this.#next();
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  }

  async #next(): Promise<void> {
    if (this.#isOver || this.#begun === this.#pieces.length) {
      this.#begun = this.#pieces.length;
      return;
    }
    const { fs, fd } = this.#zeros;
    const piece = this.#pieces[this.#begun++]!;
    const bytes = this.#arena.bytes(this.#arena.at(piece.begin, piece.end - piece.begin));
    // It does not matter whether the read succeeded: a missing page is created when it is needed.
    await new Promise<void>((resolve) => fs.read(fd, bytes, 0, bytes.length, null, () => resolve()));
    piece.isReady = true;
    while (this.#pieces[this.#ready]?.isReady) this.#ready++;
    this.#wake?.();
  }
}
