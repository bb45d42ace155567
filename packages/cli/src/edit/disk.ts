/** Writing to disk, with errors that say what to do. */
import { copyFileSync, existsSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { UserError } from '../shared/errors.ts';
import { bytesText } from '../shared/numbers.ts';
import type { OutputFiles } from '../shared/output-files.ts';

/** What the system says of a file that cannot be written. */
export function diskError(error: unknown, path: string): Error {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new UserError(
      `${dirname(path)}: no space left on the disk (${code}). Free some, or choose a folder on another disk with -o.`,
      { cause: error },
    );
  if (code === 'EFBIG')
    return new UserError(`${path}: too large a file for this disk (EFBIG). Choose a folder on another disk with -o.`, {
      cause: error,
    });
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new UserError(`${dirname(path)}: no permission to write here (${code}). Choose another folder with -o.`, {
      cause: error,
    });
  if (code === 'ENOTDIR' || code === 'EEXIST')
    return new UserError(
      `${dirname(path)}: a part of this path is a file, not a folder (${code}). Choose another name with -o.`,
      {
        cause: error,
      },
    );
  return error as Error;
}

/** Writes all of it. @param position absent: at the end of what was written */
export function writeFully(fd: number, data: ArrayBufferView, path: string, position?: number): void {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  try {
    for (let done = 0; done < bytes.length; )
      done += writeSync(fd, bytes, done, bytes.length - done, position === undefined ? null : position + done);
  } catch (error) {
    throw diskError(error, path);
  }
}

export function writeFile(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw diskError(error, path);
  }
}

export function copyFile(from: string, to: string): void {
  try {
    copyFileSync(from, to);
  } catch (error) {
    throw diskError(error, to);
  }
}

/**
 * Refuses what cannot be written or does not fit, before any work is done.
 *
 * @param paths of files that will be written, into one folder, which need not exist yet
 * @throws {@link UserError}
 */
export function checkOutput(files: OutputFiles, paths: readonly string[], byteLength: number): void {
  checkSpace(paths[0]!, byteLength);
  for (const path of paths)
    try {
      files.check(path);
    } catch (error) {
      throw diskError(error, path);
    }
}

function checkSpace(path: string, byteLength: number): void {
  let folder = dirname(resolve(path));
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  let free: number;
  try {
    const { bavail, bsize } = statfsSync(folder);
    free = bavail * bsize;
  } catch {
    return; // A file system that does not say.
  }
  if (byteLength > free)
    throw new UserError(
      `${folder}: ${bytesText(byteLength)} are needed and ${bytesText(free)} are free. Free some, or choose a folder on another disk with -o.`,
    );
}
