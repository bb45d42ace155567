/**
 * Where a model's bytes come from. A reader asks for ranges; bytes in memory answer with views, files with reads, so a
 * large initializer is touched only by the one who needs it.
 */

import type { Arriving } from './arriving.ts';

/** Random access to immutable bytes. */
export interface ByteSource {
  /** Shown in errors: a path, a URL, or `bytes`. */
  readonly name: string;
  readonly byteLength: number;
  /** All bytes, if they already lie in memory. */
  readonly bytes?: Uint8Array;
  /** True for bytes that were read for this source alone: nobody else holds them. */
  readonly isOwn?: boolean;
  /** Itself, if it is read while it arrives. */
  readonly arriving?: Arriving;
  /** What its bytes are computed from, if they are. */
  readonly of?: readonly ByteSource[];
  /** Of a file: whoever has other threads may read it with them. */
  readonly descriptor?: number;
  /**
   * The bytes [offset, offset + length), which must exist.
   *
   * @param into scratch of at least `length` bytes that a source without memory of its own may fill and return a view of.
   * @returns a view that the caller must not write to: into the source itself, into `into`, or fresh.
   */
  read(offset: number, length: number, into?: Uint8Array): Uint8Array;
  /** How many bytes from `offset` on somebody who reads on should ask for at a time, if not `most`. */
  here?(offset: number, most: number): number;
  /** Gives back what the source holds open. Idempotent. */
  close(): void;
}

/** A stretch of a source that nobody has read yet. */
export interface ByteRange {
  readonly source: ByteSource;
  readonly offset: number;
  readonly length: number;
}

/** Reads a range; see {@link ByteSource.read} for `into` and for who owns the result. */
export function readRange(range: ByteRange, into?: Uint8Array): Uint8Array {
  return range.source.read(range.offset, range.length, into);
}

/** A source over bytes in memory. Nothing is copied: the caller leaves them unchanged while the source is in use. */
export function bytesSource(given: Uint8Array, name = 'bytes', isOwn = false): ByteSource {
  // A plain Uint8Array also of Node's Buffer, whose slice() and subarray() mean something else.
  let bytes = new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
  const { byteLength } = bytes;
  return {
    name,
    byteLength,
    isOwn,
    get bytes() {
      return bytes;
    },
    read(offset: number, length: number): Uint8Array {
      checkRange(name, bytes.byteLength, offset, length);
      return bytes.subarray(offset, offset + length);
    },
    // Whoever still knows the source keeps no bytes alive.
    close(): void {
      bytes = new Uint8Array(0);
    },
  };
}

/** Throws a `RangeError` unless [offset, offset + length) lies inside a source of `byteLength` bytes. */
export function checkRange(name: string, byteLength: number, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= byteLength)) {
    throw new RangeError(
      `read: ${name}: bytes [${offset}, ${offset + length}), expected a range within ${byteLength}.`,
    );
  }
}
