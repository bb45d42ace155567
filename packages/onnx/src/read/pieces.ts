/**
 * Bytes of an arriving file, in pieces. However long it gets, nothing is copied to make room, and a piece that is not
 * needed any more is freed at once. Readers get copies, never views, so that a piece can be freed.
 */
import { BackendUnavailableError } from '@msd/core';
import { Gone } from './arriving.ts';

/** Between two matrices lie small tensors that stay, and with each of them a piece. */
export const PIECE = 2 ** 20;

export class Pieces {
  readonly #name: string;
  /** `undefined` where they were let go of. */
  #list: (Uint8Array<ArrayBuffer> | undefined)[] = [];
  #length = 0;
  #isJoined = false;

  /** @param name shown in errors */
  constructor(name: string) {
    this.#name = name;
  }

  /** Bytes that have arrived. */
  get length(): number {
    return this.#length;
  }

  /** The next bytes. */
  write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.byteLength; ) {
      const at = this.#length % PIECE;
      const piece = (this.#list[Math.floor(this.#length / PIECE)] ??= allocatePiece(this.#name));
      const part = bytes.subarray(done, done + PIECE - at);
      piece.set(part, at);
      done += part.length;
      this.#length += part.length;
    }
  }

  /** Copies the bytes from `offset` on, as many as `target` takes. @throws {@link Gone} */
  copy(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const index = Math.floor(at / PIECE);
      const piece = this.#list[index];
      if (!piece) throw new Gone(`read: ${this.#name}: bytes of piece ${index}, expected them to be kept, got none.`);
      const part = piece.subarray(at % PIECE, (at % PIECE) + target.length - done);
      target.set(part, done);
      done += part.length;
    }
  }

  /** All bytes in one piece; each of the others goes when it is copied. @throws {@link Gone} */
  join(): Uint8Array<ArrayBuffer> {
    const whole = allocate(this.#name, this.#length);
    for (let at = 0; at < this.#length; at += PIECE) {
      const place = whole.subarray(at, Math.min(this.#length, at + PIECE));
      this.copy(at, place);
      if (!this.#isJoined) this.drop(at / PIECE);
      this.#list[at / PIECE] = place;
    }
    this.#isJoined = true;
    return whole;
  }

  /** Frees a piece. */
  drop(index: number): void {
    const piece = this.#list[index];
    this.#list[index] = undefined;
    if (piece && !this.#isJoined) (piece.buffer as Resizable).resize?.(0);
  }

  /** Frees all of them. */
  clear(): void {
    for (const index of this.#list.keys()) this.drop(index);
  }
}

/** ES2024, which not every engine has that runs the rest. */
interface Resizable extends ArrayBuffer {
  resize?(byteLength: number): void;
}

/**
 * A buffer that can shrink. Where engines have them its memory goes when it does: at once, not when the garbage collector comes, and
 * back to the system, not into a heap where pieces lie between others.
 */
function allocatePiece(name: string): Uint8Array<ArrayBuffer> {
  const options = { maxByteLength: PIECE };
  try {
    return new Uint8Array(new (ArrayBuffer as ResizableConstructor)(PIECE, options));
  } catch (cause) {
    throw noMemory(name, PIECE, cause);
  }
}

type ResizableConstructor = new (byteLength: number, options: { readonly maxByteLength: number }) => ArrayBuffer;

/** Memory for a file, or a part of one. @throws `BackendUnavailableError` */
export function allocate(name: string, byteLength: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(byteLength);
  } catch (cause) {
    throw noMemory(name, byteLength, cause);
  }
}

/** What no memory holds is refused when it is promised, not when the memory is full. */
const MOST_BYTES = 2 ** 40;

/** @throws `BackendUnavailableError` */
export function checkPromised(name: string, byteLength: number): void {
  if (byteLength > MOST_BYTES) throw noMemory(name, byteLength);
}

function noMemory(name: string, byteLength: number, cause?: unknown): BackendUnavailableError {
  return new BackendUnavailableError(
    `read: ${name}: model, expected memory for ${byteLength} bytes, got none. Close other pages, or use a smaller model.`,
    { cause },
  );
}
