/** Bytes of a decoder's files, as they lie in memory. */
import type { Stretch } from '../models/decoder-files.ts';

export interface StretchReader {
  /** Without a copy, where the bytes are in memory. */
  view(stretch: Stretch): Uint8Array | undefined;
  read(stretch: Stretch, into: Uint8Array): Uint8Array;
  close(): void;
}

/** @param bytes by the name of their file */
export function bytesReader(bytes: ReadonlyMap<string, Uint8Array>): StretchReader {
  const view = ({ file, offset, length }: Stretch) => bytes.get(file)!.subarray(offset, offset + length);
  const read = (stretch: Stretch, into: Uint8Array): Uint8Array => {
    into.set(view(stretch));
    return into.subarray(0, stretch.length);
  };
  return { view, read, close: () => {} };
}
