/**
 * A file that is read while it arrives. Bytes that are not there yet are an error that says what to wait for; a matrix is packed as
 * soon as it has arrived, and its bytes go: the file never lies in memory as a whole.
 */
import { type ByteSource, checkRange } from './source.ts';

/** Bytes [offset, offset + length) of a file. */
export interface Stretch {
  readonly offset: number;
  readonly length: number;
}

/** Somebody asked for bytes that have not arrived. */
export class NotYet extends Error {
  readonly source: ArrivingSource;
  /** They have when so many bytes have. */
  readonly end: number;

  constructor(source: ArrivingSource, end: number) {
    super(`read: ${source.name}: ${end} bytes, expected them to have arrived, got fewer.`);
    this.source = source;
    this.end = end;
  }
}

/** Somebody asked for bytes that were let go of: the file has to be fetched again. */
export class Gone extends Error {}

/** Bytes arrive in pieces of this size, and go in them. */
const PIECE = 2 ** 22;

interface Waiter {
  readonly end: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class ArrivingSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly isOwn = true;
  readonly #stop: () => void;
  /** `undefined` where they were let go of. */
  #pieces: (Uint8Array | undefined)[] = [];
  /** Stretches that somebody still needs, by piece. */
  readonly #needed: number[] = [];
  #loaded = 0;
  #failure: unknown;
  #waiters: Waiter[] = [];
  #whole: Uint8Array | undefined;
  /** Told of every stretch that is read. */
  onRead: ((stretch: Stretch) => void) | undefined;

  /** @param stop ends the download */
  constructor(name: string, byteLength: number, stop: () => void) {
    this.name = name;
    this.byteLength = byteLength;
    this.#stop = stop;
  }

  /** All bytes in one piece, once they have arrived, unless some were let go of. */
  get bytes(): Uint8Array | undefined {
    if (this.#whole || this.#loaded < this.byteLength) return this.#whole;
    if (this.#pieces.includes(undefined)) return undefined;
    const whole = new Uint8Array(this.byteLength);
    for (const [i, piece] of this.#pieces.entries()) {
      whole.set(piece!, i * PIECE);
      this.#pieces[i] = whole.subarray(i * PIECE, Math.min(this.byteLength, (i + 1) * PIECE));
    }
    this.#whole = whole;
    return whole;
  }

  /** Bytes that have arrived. */
  get loaded(): number {
    return this.#loaded;
  }

  read(offset: number, length: number, into?: Uint8Array): Uint8Array {
    checkRange(this.name, this.byteLength, offset, length);
    const end = offset + length;
    if (end > this.#loaded) throw new NotYet(this, end);
    this.onRead?.({ offset, length });
    const first = this.#piece(Math.floor(offset / PIECE), length);
    const begin = offset % PIECE;
    if (!into && begin + length <= PIECE) return first.subarray(begin, begin + length);
    const target = into && into.byteLength >= length ? into.subarray(0, length) : new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const piece = this.#piece(Math.floor(at / PIECE), length);
      const part = piece.subarray(at % PIECE, (at % PIECE) + length - done);
      target.set(part, done);
      done += part.length;
    }
    return target;
  }

  /** An empty stretch at the end lies in no piece. */
  #piece(index: number, length: number): Uint8Array {
    const piece = this.#pieces[index];
    if (piece) return piece;
    if (length === 0) return new Uint8Array(0);
    throw new Gone(`read: ${this.name}: bytes of piece ${index}, expected them to be kept, got none.`);
  }

  /** Resolves when the first `end` bytes are there. @throws what the download failed with */
  async until(end: number): Promise<void> {
    if (this.#loaded >= end) return;
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve, reject) => this.#waiters.push({ end, resolve, reject }));
  }

  /** For the download: the next bytes. */
  write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.byteLength; ) {
      const index = Math.floor(this.#loaded / PIECE);
      const at = this.#loaded % PIECE;
      const piece = (this.#pieces[index] ??= new Uint8Array(Math.min(PIECE, this.byteLength - index * PIECE)));
      const part = bytes.subarray(done, done + piece.length - at);
      piece.set(part, at);
      done += part.length;
      this.#loaded += part.length;
    }
    this.#waiters = this.#waiters.filter((waiter) => {
      if (waiter.end <= this.#loaded) waiter.resolve();
      return waiter.end > this.#loaded;
    });
  }

  /** For the download: there will be no more. */
  fail(error: unknown): void {
    this.#failure = error;
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }

  /** These will be read; what lies in no other stretch goes as soon as {@link release} was called for all of them. */
  expect(stretches: readonly Stretch[]): void {
    for (const stretch of stretches)
      for (const index of piecesOf(stretch)) this.#needed[index] = (this.#needed[index] ?? 0) + 1;
  }

  /** Nobody will read this stretch again. */
  release(stretch: Stretch): void {
    for (const index of piecesOf(stretch)) if (--this.#needed[index]! === 0) this.#pieces[index] = undefined;
  }

  close(): void {
    this.#pieces = [];
    this.#whole = undefined;
    if (this.#loaded < this.byteLength) this.#stop();
  }
}

function piecesOf({ offset, length }: Stretch): number[] {
  const first = Math.floor(offset / PIECE);
  const last = Math.floor((offset + Math.max(1, length) - 1) / PIECE);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** Waits for a file that is read while it arrives. Others are there. */
export async function arrived(source: ByteSource): Promise<void> {
  if (source instanceof ArrivingSource) await source.until(source.byteLength);
}

/**
 * Does work that reads files which are arriving: again from its beginning, once all is there, if it asks for more than that.
 *
 * @param reopen gets the files once more, whole, for work that asks for what was let go of
 */
export async function whileArriving<T>(work: () => Promise<T>, reopen: () => Promise<void>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof NotYet) await arrived(error.source);
      else if (error instanceof Gone) await reopen();
      else throw error;
    }
  }
}
