/** Files that a command writes: under another name until all of them are complete, so that nobody finds half of one. */
import { existsSync, mkdirSync, renameSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UsageError } from './errors.ts';
import type { Undo } from './interrupt.ts';

/** Ends the names of files that are not complete. */
const PART = '.part';

/** The files of one result: a model, and its external data. */
export class OutputFiles {
  readonly #undo: Undo;
  readonly #isForced: boolean;
  readonly #parts: { readonly part: string; readonly path: string; readonly done: () => void }[] = [];

  /** @param isForced may files that exist be replaced? */
  constructor(undo: Undo, isForced: boolean) {
    this.#undo = undo;
    this.#isForced = isForced;
  }

  /**
   * Before hours of work: may `path` be written? Leaves nothing behind.
   *
   * @throws {@link UsageError} when `path` exists or is a folder, or what the system says
   */
  check(path: string): void {
    this.#checkNew(path);
    const made = makeFolder(dirname(path));
    const part = partOf(path);
    try {
      writeFileSync(part, '');
    } finally {
      rmSync(part, { force: true });
      for (const folder of made) removeEmpty(folder);
    }
  }

  /**
   * Where to write what will be `path`; its folder is made.
   *
   * @throws {@link UsageError} when `path` exists
   */
  begin(path: string): string {
    this.#checkNew(path);
    const made = makeFolder(dirname(path));
    const part = partOf(path);
    const done = this.#undo.add(() => {
      rmSync(part, { force: true });
      for (const folder of made) removeEmpty(folder);
    });
    this.#parts.push({ part, path, done });
    return part;
  }

  /** All files are complete: they get their names. */
  commit(): void {
    for (const { part, path } of this.#parts) renameSync(part, path);
    for (const { done } of this.#parts) done();
    this.#parts.length = 0;
  }

  #checkNew(path: string): void {
    if (!existsSync(path)) return;
    if (statSync(path).isDirectory()) throw new UsageError(`${path} is a folder. Choose another name.`);
    if (!this.#isForced) throw new UsageError(`${path} exists. Add --force to replace it, or choose another name.`);
  }
}

const partOf = (path: string): string => join(dirname(path), `.${basename(path)}${PART}`);

/** Makes a folder and those it lies in. @returns those that were not there, the innermost first */
function makeFolder(folder: string): string[] {
  const made: string[] = [];
  for (let at = folder; !existsSync(at); at = dirname(at)) made.push(at);
  mkdirSync(folder, { recursive: true });
  return made;
}

function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Somebody else's file lies in it.
  }
}
