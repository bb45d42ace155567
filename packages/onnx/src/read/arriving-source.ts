/**
 * A file that is read while it arrives. Reading bytes that are not there yet throws an error that says what to wait
 * for. A matrix is packed as soon as it has arrived, and its bytes are freed, so the file is never in memory as a
 * whole.
 */
import { type Arriving, NotYet, type Stretch } from './arriving.ts';
import { PIECE, Pieces } from './pieces.ts';
import { checkRange } from './source.ts';

interface Waiter {
  readonly end: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class ArrivingSource implements Arriving {
  readonly name: string;
  readonly byteLength: number;
  readonly isOwn = true;
  readonly arriving: Arriving = this;
  readonly #stop: () => void;
  readonly #pieces: Pieces;
  /** Stretches that somebody still needs, by piece. */
  readonly #needed: number[] = [];
  #whole: Uint8Array | undefined;
  #failure: unknown;
  #waiters: Waiter[] = [];
  /** Told of every stretch that is read. */
  onRead: ((stretch: Stretch) => void) | undefined;

  /**
   * @param stop ends the download
   * @param pieces what has arrived already
   */
  constructor(name: string, byteLength: number, stop: () => void, pieces: Pieces = new Pieces(name)) {
    this.name = name;
    this.byteLength = byteLength;
    this.#stop = stop;
    this.#pieces = pieces;
  }

  /** Bytes that have arrived. */
  get loaded(): number {
    return this.#pieces.length;
  }

  /** All bytes, if they were joined. */
  get bytes(): Uint8Array | undefined {
    return this.#whole;
  }

  /** All bytes in one piece, once they have arrived. @throws `Gone` of arriving.ts when some were let go of */
  join(): Uint8Array {
    if (this.loaded < this.byteLength) throw new NotYet(this, this.byteLength);
    this.#whole ??= this.#pieces.join();
    return this.#whole;
  }

  read(offset: number, length: number, into?: Uint8Array): Uint8Array {
    checkRange(this.name, this.byteLength, offset, length);
    const end = offset + length;
    if (end > this.loaded) throw new NotYet(this, end);
    this.onRead?.({ offset, length });
    const target = into && into.byteLength >= length ? into.subarray(0, length) : new Uint8Array(length);
    this.#pieces.copy(offset, target);
    return target;
  }

  /** Resolves when the first `end` bytes are there. @throws what the download failed with */
  async until(end: number): Promise<void> {
    if (this.loaded >= end) return;
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve, reject) => this.#waiters.push({ end, resolve, reject }));
  }

  /** For the download: the next bytes. */
  write(bytes: Uint8Array): void {
    this.#pieces.write(bytes);
    this.#waiters = this.#waiters.filter((waiter) => {
      if (waiter.end <= this.loaded) waiter.resolve();
      return waiter.end > this.loaded;
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

  /** This stretch will not be read again. */
  release(stretch: Stretch): void {
    for (const index of piecesOf(stretch)) if (--this.#needed[index]! === 0) this.#pieces.drop(index);
  }

  close(): void {
    this.#pieces.clear();
    this.#whole = undefined;
    if (this.loaded < this.byteLength) this.#stop();
  }
}

function piecesOf({ offset, length }: Stretch): number[] {
  const first = Math.floor(offset / PIECE);
  const last = Math.floor((offset + Math.max(1, length) - 1) / PIECE);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
