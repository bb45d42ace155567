/** What a thread does that packs: its text goes to Node's threads, and the main thread does the same. */
import type { PackRecipe } from '@msd/core/program';

export interface FileSystem {
  fstatSync(fd: number): FileId;
  readSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number;
}

/** What tells files apart. */
export interface FileId {
  readonly dev: number;
  readonly ino: number;
}

/** A matrix that has a recipe: its file, by number, where the recipe's parts begin there, and its address. */
export interface Source {
  readonly recipe: PackRecipe;
  readonly file: number;
  readonly begin: readonly number[];
  readonly to: number;
}

/** Rows [first, end) of a source; without a source, bytes of memory to be written to. */
export interface Unit {
  readonly source: number | undefined;
  readonly first: number;
  readonly end: number;
}

/** What a thread gets. */
export interface Work {
  readonly memory: WebAssembly.Memory;
  readonly state: Int32Array;
  readonly words: typeof WORDS;
  readonly units: readonly Unit[];
  readonly sources: readonly Source[];
  readonly files: readonly (FileId & { readonly fd: number })[];
  /** The thread's number, and the address of memory of its own. */
  readonly thread: number;
  readonly staging: number;
}

/** The most threads that pack: more of them gain nothing, they wait for memory. */
export const MOST_THREADS = 3;
/** Words that all threads share: the next unit, whether to stop, whether each thread is at work, whether each unit is done. */
export const WORDS = { next: 0, stop: 1, atWork: 2, done: 2 + MOST_THREADS } as const;

/**
 * Packs rows of a source. Threads get the text of this function and of the next ones, so they use nothing from outside themselves, and name no
 * inner function.
 *
 * @returns is it done? Not if the file has no such rows, or a scale is out of the contract
 */
export function packUnit(
  fs: FileSystem,
  { memory, sources, files, staging }: Pick<Work, 'memory' | 'sources' | 'files' | 'staging'>,
  { source: number, first: begin, end }: Unit,
  instances: Map<WebAssembly.Module, WebAssembly.Instance>,
): boolean {
  const source = sources[number!]!;
  const { rows, parts, kernels, calls, limit, scaleBytes } = source.recipe;
  const { fd, dev, ino } = files[source.file]!;
  const bytes = new Uint8Array(memory.buffer);
  // Some engines number a thread's files on their own.
  const stats = fs.fstatSync(fd);
  if (stats.dev !== dev || stats.ino !== ino) return false;
  bytes.fill(0, staging, staging + 16);
  for (let first = begin; first < end; first += rows) {
    const count = Math.min(rows, end - first);
    for (let i = 0; i < parts.length; i++) {
      const { at, rowBytes } = parts[i]!;
      const length = count * rowBytes;
      for (let done = 0; done < length; ) {
        const from = source.begin[i]! + first * rowBytes + done;
        const got = fs.readSync(fd, bytes, staging + at + done, length - done, from);
        if (got <= 0) return false;
        done += got;
      }
    }
    for (const { kernel, args } of calls) {
      const { id, module, from, to, toPanel, panels, largest } = kernels[kernel]!;
      if (!instances.has(module)) instances.set(module, new WebAssembly.Instance(module, { env: { memory } }));
      const own = args.slice();
      own[from]! += staging;
      own[to]! += source.to + (first / 16) * own[toPanel]!;
      own[panels] = count / 16;
      if (largest !== undefined) own[largest] = staging;
      (instances.get(module)!.exports[id] as (...args: number[]) => void)(...own);
    }
  }
  const largest = new DataView(memory.buffer, staging, 16);
  for (let i = 0; i < 16; i += scaleBytes)
    if ((scaleBytes === 4 ? largest.getUint32(i, true) : largest.getUint16(i, true)) >= limit) return false;
  return true;
}

/** Packs units until there are no more, or it has to stop. */
function packUnits(pack: typeof packUnit, given: Work): void {
  const { memory, state, words, units, thread } = given;
  // biome-ignore lint/suspicious/noExplicitAny: Node's modules, without their types
  const fs = (globalThis as any).process.getBuiltinModule('node:fs');
  const bytes = new Uint8Array(memory.buffer);
  const instances = new Map<WebAssembly.Module, WebAssembly.Instance>();
  // In this order: who stops it looks whether it is at work.
  Atomics.store(state, words.atWork + thread, 1);
  for (;;) {
    const at = Atomics.load(state, words.stop) ? units.length : Atomics.add(state, words.next, 1);
    const unit = units[at];
    if (!unit) break;
    if (unit.source !== undefined) {
      try {
        if (!pack(fs, given, unit, instances)) continue;
      } catch {
        break; // the main thread finds out why: engines would report what is thrown here
      }
    } else for (let byte = unit.first; byte < unit.end; byte += 4096) bytes[byte] = 0; // all of it, engines write one by one
    Atomics.store(state, words.done + at, 1);
  }
  Atomics.store(state, words.atWork + thread, 0);
}

/** What a thread gets that touches pages. */
export interface Touching {
  readonly memory: WebAssembly.Memory;
  /** Whether to stop, and the next word that nobody has touched. */
  readonly state: Int32Array;
}

/** Adds nothing to a word of each page, so that it is there: whoever else writes to memory meanwhile does not notice. */
function touchPages({ memory, state }: Touching): void {
  const words = new Int32Array(memory.buffer);
  const [block, page] = [2 ** 19, 1024];
  for (let begin = 0; (begin = Atomics.add(state, 1, block)) < words.length; )
    for (let at = begin; at < Math.min(begin + block, words.length); at += page) {
      if (Atomics.load(state, 0) !== 0) return;
      Atomics.add(words, at, 0);
    }
}

/** The text of a function that gets {@link Touching}. */
export const touchCode = (): string => `(${touchPages})`;

/** What a thread runs that does nothing else: it waits for {@link Work}, once. */
function waitForWork(pack: (given: Work) => void): void {
  // biome-ignore lint/suspicious/noExplicitAny: see above
  const port = (globalThis as any).process.getBuiltinModule('node:worker_threads').parentPort;
  port.once('message', (given: Work) => {
    pack(given);
    port.postMessage(0);
    port.close?.(); // Deno's cannot
  });
}

/** The text of a function that gets {@link Work}. */
export const packCode = (): string => `((given) => (${packUnits})(${packUnit}, given))`;

/** The text of a thread of its own. */
export const threadCode = (): string => `(${waitForWork})(${packCode()})`;
