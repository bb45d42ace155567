/**
 * Threads of Node that pack matrices while the main thread types, plans and binds, which takes about as long. They read the file
 * themselves: rows are packed while they are in a core's cache, and whoever packs them waits for the system to give new memory its
 * pages. A matrix that JavaScript has a part in is the main thread's; threads only write to each page of its place, so that it is
 * there. The main thread packs, too, once it has nothing else to do, and whatever the threads leave.
 */
import type { ArenaHandle } from '@msd/core';
import type { PackKernels, PackRecipe, PackRecipes, ReservedRows } from '@msd/core/program';
import { builtin } from '../read/builtin.ts';
import type { ByteRange } from '../read/source.ts';
import type { TensorRef } from '../read/tensor.ts';
import type { Matrix } from '../weights/matrix.ts';

/** A matrix, and where it will lie packed. */
export interface Place extends Pick<ReservedRows, 'handle' | 'fill' | 'recipe'> {
  readonly matrix: Omit<Matrix, 'key' | 'fileBytes'>;
}

/** What packing needs, in the order of the places. */
export interface Packing {
  readonly places: readonly Place[];
  readonly kernels: PackKernels;
  readonly recipes: PackRecipes;
  /** `tensorRange`, handed over: this module, for Node alone, shares no code with what pages load. */
  rangeOf(tensor: TensorRef): ByteRange | undefined;
}

interface NodeWorker {
  on(event: 'message' | 'error' | 'exit', listener: () => void): void;
  postMessage(value: unknown): void;
  terminate(): Promise<unknown>;
  ref(): void;
  unref(): void;
}

interface Threads {
  readonly Worker: new (code: string, options: object) => NodeWorker;
}

interface System {
  availableParallelism(): number;
}

interface FileSystem {
  fstatSync(fd: number): FileId;
  readSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number;
}

/** What tells files apart. */
interface FileId {
  readonly dev: number;
  readonly ino: number;
}

/** More of them gain nothing: they wait for memory. */
const MOST_THREADS = 3;
/** Bytes of a file, or of memory, that a thread takes at a time. */
const UNIT_BYTES = 2 ** 20;
const PANEL = 16;

/** A matrix that has a recipe: its file, by number, where the recipe's parts begin there, and its address. */
interface Source {
  readonly recipe: PackRecipe;
  readonly file: number;
  readonly begin: readonly number[];
  readonly to: number;
}

/** Rows [first, end) of a source; without a source, bytes of memory to be written to. */
interface Unit {
  readonly source: number | undefined;
  readonly first: number;
  readonly end: number;
}

/** The first message of a thread, and the only one. */
interface Work {
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

/** Words that all threads share: the next unit, whether to stop, whether each thread is at work, whether each unit is done. */
const WORDS = { next: 0, stop: 1, atWork: 2, done: 2 + MOST_THREADS } as const;

/** A place's units, and how many of its rows are packed by them; 0: its pages are touched. */
interface Part {
  readonly begin: number;
  readonly end: number;
  readonly rows: number;
}

export class PackThreads {
  readonly #workers: { readonly worker: NodeWorker; isGone: boolean }[] = [];
  #waiting: (() => void)[] = [];
  #packing:
    | (Packing & Pick<Work, 'memory' | 'sources' | 'files'> & { readonly arena: ArenaHandle['arena'] })
    | undefined;
  readonly #units: (Unit & { readonly place: Place })[] = [];
  readonly #parts = new Map<Place, Part>();
  /** By shape: layers have the same ones. */
  readonly #recipes = new Map<string, PackRecipe | undefined>();
  #sources = 0;
  readonly #instances = new Map<WebAssembly.Module, WebAssembly.Instance>();
  /** Of each thread, and of the main thread. */
  #stagings: ArenaHandle[] = [];
  #state: Int32Array = new Int32Array(0);
  readonly #fs = builtin<FileSystem>('node:fs')!;

  /** Starts them, which takes some 30 ms of other cores. @returns `undefined` where there are no threads, or no core is free */
  static start(): PackThreads | undefined {
    const threads = builtin<Threads>('node:worker_threads');
    const free = (builtin<System>('node:os')?.availableParallelism() ?? 1) - 1;
    if (!threads || free < 1) return undefined;
    try {
      return new PackThreads(threads, Math.min(free, MOST_THREADS));
    } catch {
      return undefined; // where no thread may be started
    }
  }

  private constructor({ Worker }: Threads, count: number) {
    try {
      for (let i = 0; i < count; i++) {
        const each = {
          worker: new Worker(`(${work})(${packUnit})`, { eval: true, execArgv: [], name: 'msd pack' }),
          isGone: false,
        };
        const wake = (): void => {
          for (const go of this.#waiting.splice(0)) go();
        };
        const gone = (): void => {
          each.isGone = true;
          wake();
        };
        each.worker.on('message', wake);
        each.worker.on('error', gone);
        each.worker.on('exit', gone);
        each.worker.unref();
        this.#workers.push(each);
      }
    } catch (error) {
      for (const { worker } of this.#workers) void worker.terminate();
      throw error;
    }
  }

  /**
   * Begins to pack. From then on {@link end} has to be awaited before the memory, or a file, is given back.
   *
   * @param packing places in one arena whose memory can be shared
   */
  begin(packing: Packing): void {
    const { arena } = packing.places[0]!.handle;
    const { memory } = arena;
    // Once they have ended they begin nothing: creation decides again where a scale is out of the contract.
    if (!arena.shared || this.#packing || this.#workers.length === 0) return;
    const numbers = new Map<number, number>();
    const sources = packing.places.flatMap((place) => this.#divide(place, packing, numbers));
    const stagingBytes = sources.reduce((most, { recipe }) => Math.max(most, recipe.stagingBytes), 0);
    this.#stagings = [...this.#workers, undefined].map(() => arena.alloc(stagingBytes, 'rows to pack'));
    this.#state = new Int32Array(new SharedArrayBuffer(4 * (WORDS.done + this.#units.length)));
    const files = [...numbers.keys()].map((fd) => {
      const { dev, ino } = this.#fs.fstatSync(fd);
      return { fd, dev, ino };
    });
    this.#packing = { ...packing, arena, memory, sources, files };
    const units = this.#units.map(({ source, first, end }) => ({ source, first, end }));
    const common = { memory, sources, files, state: this.#state, words: WORDS, units };
    for (const [thread, { worker }] of this.#workers.entries())
      worker.postMessage({ ...common, thread, staging: this.#stagings[thread]!.ptr } satisfies Work);
  }

  /** Makes units of a place. @returns where its rows come from, if threads can pack them */
  #divide(place: Place, { recipes, rangeOf }: Packing, numbers: Map<number, number>): readonly Source[] {
    const { matrix, handle } = place;
    const begin = this.#units.length;
    const ranges = matrix.stored?.map(rangeOf) ?? [];
    const file = ranges[0]?.source;
    const isOneFile = file?.descriptor !== undefined && ranges.every((range) => range?.source === file);
    const found = isOneFile ? this.#recipeOf(place, recipes) : undefined;
    const isWhole = found?.parts.every(({ rowBytes }, i) => ranges[i]?.length === matrix.N * rowBytes);
    const recipe = isWhole ? found : undefined;
    const cut = (source: number | undefined, first: number, end: number, most: number): void => {
      for (; first < end; first += most) this.#units.push({ source, first, end: Math.min(first + most, end), place });
    };
    if (!recipe) {
      cut(undefined, handle.ptr, handle.ptr + handle.byteLength, UNIT_BYTES);
      this.#parts.set(place, { begin, end: this.#units.length, rows: 0 });
      return [];
    }
    // The last panel may be incomplete: it is the main thread's.
    const rows = matrix.N - (matrix.N % PANEL);
    const slabBytes = recipe.rows * recipe.parts[0].rowBytes;
    cut(this.#sources++, 0, rows, recipe.rows * Math.max(1, Math.floor(UNIT_BYTES / slabBytes)));
    this.#parts.set(place, { begin, end: this.#units.length, rows });
    const fd = file!.descriptor!;
    if (!numbers.has(fd)) numbers.set(fd, numbers.size);
    return [{ recipe, file: numbers.get(fd)!, begin: ranges.map((range) => range!.offset), to: handle.ptr }];
  }

  #recipeOf({ matrix, recipe }: Place, recipes: PackRecipes): PackRecipe | undefined {
    const { format, N, K, blockSize, scale, storedZeroPoints } = matrix;
    const shape = [format, N, K, blockSize, scale, storedZeroPoints].join();
    if (!this.#recipes.has(shape)) this.#recipes.set(shape, recipe(recipes));
    return this.#recipes.get(shape);
  }

  /**
   * Packs until a place is done, or the caller's to fill: from then on nobody else writes to it. Places are asked for in their order.
   *
   * @param turn called between units, of this place and of others
   * @returns is it packed?
   * @throws what filling a place throws, and what `turn` throws
   */
  async pack(place: Place, turn: () => Promise<void> | undefined): Promise<boolean> {
    const part = this.#parts.get(place);
    if (!this.#packing || !part) return false;
    const { arena, memory, kernels } = this.#packing;
    const { begin, end, rows } = part;
    const { matrix } = place;
    while (this.#isLeft(begin, end)) {
      const next = Atomics.add(this.#state, WORDS.next, 1);
      if (next < this.#units.length) this.#packUnit(next);
      else {
        // What threads leave, since they are gone or something is wrong with it.
        await this.#rest();
        for (let i = begin; i < end; i++) if (this.#isLeft(i, i + 1)) this.#packUnit(i);
      }
      await turn();
    }
    if (arena.memory !== memory) {
      // Rare: threads may have written to memory that another one has replaced.
      await this.end();
      return false;
    }
    if (rows > 0 && rows < matrix.N) place.fill(matrix.open(), kernels, { first: rows, end: matrix.N });
    return rows > 0;
  }

  #isLeft(begin: number, end: number): boolean {
    for (let i = begin; i < end; i++) if (Atomics.load(this.#state, WORDS.done + i) === 0) return true;
    return false;
  }

  #packUnit(i: number): void {
    const unit = this.#units[i]!;
    const { source, first, end, place } = unit;
    // What is only touched will be filled as a whole.
    if (source !== undefined && !this.#follow(unit))
      place.fill(place.matrix.open(), this.#packing!.kernels, { first, end }); // it knows what to say
    Atomics.store(this.#state, WORDS.done + i, 1);
  }

  /** @returns whether a unit could be packed by its recipe */
  #follow(unit: Unit): boolean {
    try {
      const staging = this.#stagings.at(-1)!.ptr;
      return packUnit(this.#fs, { ...this.#packing!, staging }, unit, this.#instances);
    } catch {
      return false;
    }
  }

  /** Waits until no thread is at work. Those that have not begun are not waited for. */
  async #rest(): Promise<void> {
    // Nothing else may keep the process alive meanwhile.
    for (const { worker } of this.#workers) worker.ref();
    while (this.#workers.some(({ isGone }, i) => !isGone && Atomics.load(this.#state, WORDS.atWork + i) !== 0))
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    for (const { worker } of this.#workers) worker.unref();
  }

  /** Stops, and waits for what is in progress. Nothing is packed from then on. */
  async end(): Promise<void> {
    if (this.#packing) {
      Atomics.store(this.#state, WORDS.stop, 1);
      await this.#rest();
      for (const staging of this.#stagings.splice(0)) this.#packing?.arena.free(staging);
    }
    this.#packing = undefined;
    for (const { worker } of this.#workers.splice(0)) void worker.terminate();
  }
}

/**
 * Packs rows of a source. Threads get the text of this function and of the next, so they use nothing from outside themselves, and name no
 * inner function.
 *
 * @returns is it done? Not if the file has no such rows, or a scale is out of the contract
 */
function packUnit(
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

function work(pack: typeof packUnit): void {
  // biome-ignore lint/suspicious/noExplicitAny: Node's modules, without their types
  const builtins = (globalThis as any).process.getBuiltinModule;
  const port = builtins('node:worker_threads').parentPort;
  port.once('message', (given: Work) => {
    const { memory, state, words, units, thread } = given;
    const fs = builtins('node:fs');
    const bytes = new Uint8Array(memory.buffer);
    const instances = new Map<WebAssembly.Module, WebAssembly.Instance>();
    // In this order: who stops it looks whether it is at work.
    Atomics.store(state, words.atWork + thread, 1);
    for (;;) {
      const at = Atomics.load(state, words.stop) ? units.length : Atomics.add(state, words.next, 1);
      const unit = units[at];
      if (!unit) break;
      if (unit.source !== undefined) {
        if (!pack(fs, given, unit, instances)) continue;
      } else for (let byte = unit.first; byte < unit.end; byte += 4096) bytes[byte] = 0; // all of it, engines write one by one
      Atomics.store(state, words.done + at, 1);
    }
    Atomics.store(state, words.atWork + thread, 0);
    port.postMessage(0);
    port.close();
  });
}
