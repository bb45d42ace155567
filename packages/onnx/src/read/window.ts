/** Bytes of a file for whoever reads it from its beginning to its end, a stretch in memory at a time. */
import type { ByteSource } from './source.ts';

/** Bytes that one read of a file brings in. */
const WINDOW_BYTES = 1 << 16;
/**
 * What parsed records may take: so much, and a multiple of the file. A few bytes each, and millions of them, are an
 * attack on memory.
 */
const FREE_BYTES = 2 ** 27;
const BYTES_PER_BYTE = 12;
const MAX_BYTES = 2 ** 31;

/** The part of the source that lies in memory: all of it, or a moving stretch of a file. */
export class Window {
  bytes: Uint8Array;
  base = 0;
  /** Bytes that records may still take. */
  budget: number;
  readonly source: ByteSource;
  #buffer: Uint8Array | undefined;

  constructor(source: ByteSource) {
    this.source = source;
    this.bytes = source.bytes ?? new Uint8Array(0);
    this.budget = Math.min(MAX_BYTES, FREE_BYTES + BYTES_PER_BYTE * source.byteLength);
  }

  /** The byte at `pos`, which is inside the source. */
  at(pos: number): number {
    const index = pos - this.base;
    if (index >= 0 && index < this.bytes.length) return this.bytes[index]!;
    this.#load(pos, 1);
    return this.bytes[0]!;
  }

  /** A view of [pos, pos + length), valid until the window moves. */
  view(pos: number, length: number): Uint8Array {
    const index = pos - this.base;
    if (index >= 0 && index + length <= this.bytes.length) return this.bytes.subarray(index, index + length);
    if (length > WINDOW_BYTES) return this.source.read(pos, length);
    this.#load(pos, length);
    return this.bytes.subarray(0, length);
  }

  /** @param least bytes that are needed */
  #load(pos: number, least: number): void {
    this.#buffer ??= new Uint8Array(WINDOW_BYTES);
    const most = Math.min(WINDOW_BYTES, this.source.byteLength - pos);
    const length = Math.max(least, this.source.here?.(pos, most) ?? most);
    this.bytes = this.source.read(pos, length, this.#buffer);
    this.base = pos;
  }
}
