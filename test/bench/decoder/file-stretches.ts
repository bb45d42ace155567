/** The same bytes, read from the files. */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { DecoderFiles, Stretch } from '../models/decoder-files.ts';
import type { StretchReader } from './stretches.ts';

export function fileReader({ request, files }: DecoderFiles): StretchReader {
  const open = new Map(files.map((name) => [name, openSync(join(request.folder, name), 'r')]));
  const read = ({ file, offset, length }: Stretch, into: Uint8Array): Uint8Array => {
    for (let done = 0; done < length; ) done += readSync(open.get(file)!, into, done, length - done, offset + done);
    return into.subarray(0, length);
  };
  const close = () => {
    for (const file of open.values()) closeSync(file);
  };
  return { view: () => undefined, read, close };
}
