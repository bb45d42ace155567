/** The interface of files that are read while they arrive (arriving-source.ts). */
import type { ByteSource } from './source.ts';

/** Bytes [offset, offset + length) of a file. */
export interface Stretch {
  readonly offset: number;
  readonly length: number;
}

/** A file that is read while it arrives. */
export interface Arriving extends ByteSource {
  /** Bytes that have arrived. */
  readonly loaded: number;
  /** Told of every stretch that is read. */
  onRead: ((stretch: Stretch) => void) | undefined;
  /** All bytes in one piece, once they have arrived. @throws {@link Gone} when some were let go of */
  join(): Uint8Array;
  /** Resolves when the first `end` bytes are there. @throws what the download failed with */
  until(end: number): Promise<void>;
  /** These will be read; what lies in no other stretch goes as soon as {@link release} was called for all of them. */
  expect(stretches: readonly Stretch[]): void;
  /** Nobody will read this stretch again. */
  release(stretch: Stretch): void;
}

/** Bytes were read that have been freed: the file has to be fetched again. */
export class Gone extends Error {}

/** Bytes were read that have not arrived yet. */
export class NotYet extends Error {
  readonly source: Arriving;
  /** They have when so many bytes have. */
  readonly end: number;

  constructor(source: Arriving, end: number) {
    super(`read: ${source.name}: ${end} bytes, expected them to have arrived, got fewer.`);
    this.source = source;
    this.end = end;
  }
}

/** Waits for a file that is read while it arrives. Others are there. */
export async function arrived(source: ByteSource): Promise<void> {
  await source.arriving?.until(source.byteLength);
}

/** All bytes of a file in one piece, if they lie in memory. @throws {@link Gone} when some were let go of */
export function wholeBytes(source: ByteSource): Uint8Array | undefined {
  return source.arriving ? source.arriving.join() : source.bytes;
}

/** Does work that reads files which are arriving: again from its beginning, once all is there, if it asks for more than that. */
export async function whileArriving<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof NotYet)) throw error;
      await arrived(error.source);
    }
  }
}
