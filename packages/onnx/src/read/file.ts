/**
 * Files of Node (and of Deno and Bun, which have the same builtins): read by range, never held as a whole. The builtins
 * are asked for at run time and by name, so that bundlers for browsers see no import.
 */
import { ReadError } from '../errors.ts';
import { type ByteSource, checkRange } from './source.ts';

interface FileSystem {
  openSync(path: string, flags: 'r'): number;
  fstatSync(fd: number): { readonly size: number; isFile(): boolean };
  readSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number;
  closeSync(fd: number): void;
}

interface Paths {
  dirname(path: string): string;
  join(...parts: string[]): string;
}

interface Urls {
  fileURLToPath(url: string): string;
}

interface ProcessLike {
  getBuiltinModule?(name: string): unknown;
  readonly versions?: { readonly node?: string };
}

function builtin<T>(name: string): T | undefined {
  const { process } = globalThis as { process?: ProcessLike };
  if (!process?.versions?.node) return undefined;
  return process.getBuiltinModule?.(name) as T | undefined;
}

/** True where paths can be opened. */
export function hasFiles(): boolean {
  return builtin('node:fs') !== undefined;
}

/** The path of a `file:` URL. */
export function pathOfUrl(url: string): string {
  return builtin<Urls>('node:url')!.fileURLToPath(url);
}

/** The path of a file beside another one. */
export function siblingPath(path: string, location: string): string {
  const paths = builtin<Paths>('node:path')!;
  return paths.join(paths.dirname(path), location);
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'none. Is the path right? It is taken from the working directory',
  EACCES: 'no permission to read it',
  EPERM: 'no permission to read it',
};

function openDescriptor(fs: FileSystem, path: string): number {
  try {
    return fs.openSync(path, 'r');
  } catch (cause) {
    const { code = '', message = '' } = cause as { code?: string; message?: string };
    throw new ReadError(`read: ${path}: model, expected a file, got ${WHY[code] ?? message}.`, { cause });
  }
}

/**
 * Opens a file for reading by range; `close` gives the descriptor back.
 *
 * @throws {@link ReadError} when there is none or nobody may read it, a `TypeError` when the path is not a file.
 */
export function openFile(path: string): ByteSource {
  const fs = builtin<FileSystem>('node:fs')!;
  const fd = openDescriptor(fs, path);
  const stat = fs.fstatSync(fd);
  if (!stat.isFile()) {
    fs.closeSync(fd);
    throw new TypeError(`read: ${path}: model, expected a file, got something else.`);
  }
  const byteLength = stat.size;
  let open = true;
  return {
    name: path,
    byteLength,
    read(offset: number, length: number, into?: Uint8Array): Uint8Array {
      checkRange(path, byteLength, offset, length);
      if (!open) throw new TypeError(`read: ${path}: bytes at ${offset}, expected an open file, got a closed one.`);
      const target = into && into.byteLength >= length ? into.subarray(0, length) : new Uint8Array(length);
      for (let done = 0; done < length; ) {
        const count = fs.readSync(fd, target, done, length - done, offset + done);
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
