/** Files of Node (and of Deno and Bun, which have the same builtins): read by range, never held as a whole. */
import { OnnxFormatError, ReadError } from '../errors.ts';
import { builtin } from './builtin.ts';
import { type ByteSource, checkRange } from './source.ts';

interface FileSystem {
  openSync(path: string, flags: 'r'): number;
  statSync(path: string): Stats;
  fstatSync(fd: number): Stats;
  realpathSync(path: string): string;
  readSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number;
  closeSync(fd: number): void;
}

interface Stats {
  readonly size: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isFIFO(): boolean;
}

interface Paths {
  readonly sep: string;
  dirname(path: string): string;
  join(...parts: string[]): string;
  resolve(path: string): string;
}

interface Urls {
  fileURLToPath(url: string): string;
}

/** True where paths can be opened. */
export function hasFiles(): boolean {
  return builtin('node:fs') !== undefined;
}

/** The path of a `file:` URL. */
export function pathOfUrl(url: string): string {
  return builtin<Urls>('node:url')!.fileURLToPath(url);
}

/** One read of the file system takes less than 2 GiB. */
const MAX_READ = 2 ** 30;

/**
 * The path of a file in a model's folder. Symbolic links are followed as long as they end there: in the folder, or beside the file
 * that the model itself is a link to (caches of downloads keep folders of links to their files).
 *
 * @throws {@link OnnxFormatError} when it lies elsewhere.
 */
export function siblingPath(path: string, location: string): string {
  const [fs, paths] = [builtin<FileSystem>('node:fs')!, builtin<Paths>('node:path')!];
  const realPath = (each: string): string => asked(each, () => fs.realpathSync(each));
  const folder = paths.dirname(path);
  const sibling = paths.join(folder, location);
  const real = realPath(sibling);
  const isInside = (each: string): boolean => real.startsWith(each.endsWith(paths.sep) ? each : `${each}${paths.sep}`);
  if (![realPath(folder), paths.dirname(realPath(path))].some(isInside))
    throw outsideOf(location, `a symbolic link to ${real}. Put a copy in its place`);
  return sibling;
}

/** The error of a file that is not read because of where it lies. @param got with advice for those who write no code */
export function outsideOf(location: string, got: string): OnnxFormatError {
  return new OnnxFormatError(
    `read: external data '${location}', expected a path inside the model's folder, got ${got}, or pass its bytes: externalData: [{ path: '${location}', data }].`,
  );
}

/** What the file system says of a path; its errors as ours. */
function asked<T>(path: string, ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    const code = (error as { readonly code?: string }).code ?? '';
    const place = builtin<Paths>('node:path')!.resolve(path);
    const hint = code === 'ENOENT' && place !== path ? ` It was looked for at ${place}.` : '';
    throw new ReadError(`read: ${path}: expected a file that can be read, got ${REASONS[code] ?? code}.${hint}`, {
      cause: error,
    });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'none: there is no such file (ENOENT)',
  ENOTDIR: 'none: a part of the path is no folder (ENOTDIR)',
  EACCES: 'one that this process may not read (EACCES)',
  EPERM: 'one that this process may not read (EPERM)',
  ELOOP: 'symbolic links that lead in a circle (ELOOP)',
  ENAMETOOLONG: 'a name that is too long (ENAMETOOLONG)',
};

/**
 * Opens a file for reading by range; `close` gives the descriptor back.
 *
 * @throws {@link ReadError} when there is none or it may not be read, `TypeError` when the path is a folder, a pipe or a device.
 */
export function openFile(path: string): ByteSource {
  const fs = builtin<FileSystem>('node:fs')!;
  // Before it is opened: opening a pipe waits for somebody who writes to it.
  checkKind(
    path,
    asked(path, () => fs.statSync(path)),
  );
  const fd = asked(path, () => fs.openSync(path, 'r'));
  const byteLength = fs.fstatSync(fd).size;
  let open = true;
  return {
    name: path,
    byteLength,
    descriptor: fd,
    read(offset: number, length: number, into?: Uint8Array): Uint8Array {
      checkRange(path, byteLength, offset, length);
      if (!open) throw new TypeError(`read: ${path}: bytes at ${offset}, expected an open file, got a closed one.`);
      const target = into && into.byteLength >= length ? into.subarray(0, length) : allocate(path, length);
      for (let done = 0; done < length; ) {
        const count = fs.readSync(fd, target, done, Math.min(MAX_READ, length - done), offset + done);
        if (count === 0)
          throw new RangeError(`read: ${path}: ${length} bytes at ${offset}, got ${done}. Was it cut while in use?`);
        done += count;
      }
      return target;
    },
    close(): void {
      if (open) fs.closeSync(fd);
      open = false;
    },
  };
}

function checkKind(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  const got = stats.isDirectory() ? 'a folder' : stats.isFIFO() ? 'a pipe' : 'a device or a socket';
  throw new TypeError(`read: ${path}: expected a file, got ${got}.`);
}

/** Memory for what was checked to be there. */
function allocate(path: string, length: number): Uint8Array {
  try {
    return new Uint8Array(length);
  } catch (error) {
    throw new RangeError(`read: ${path}: ${length} bytes in one piece, expected fewer: too large for this engine.`, {
      cause: error,
    });
  }
}
