/**
 * Threads of Node that pack matrices while the main thread types, plans and binds, which takes about as long. They read the file
 * themselves: rows are packed while they are in a core's cache, and whoever packs them waits for the system to give new memory its
 * pages. A matrix that JavaScript has a part in is the main thread's; threads only write to each page of its place, so that it is
 * there. The main thread packs, too, once it has nothing else to do, and whatever the threads leave.
 */
import type { ArenaHandle, WasmBackend } from '@msd/core';
import type { PackKernels, PackRecipe, PackRecipes, ReservedRows, ThreadTask } from '@msd/core/program';
import { builtin } from '../read/builtin.ts';
import type { ModelRecord } from '../read/model.ts';
import type { ByteRange } from '../read/source.ts';
import type { TensorRef } from '../read/tensor.ts';
import type { Matrix } from '../weights/matrix.ts';
import {
  type FileSystem,
  MOST_THREADS,
  packCode,
  packUnit,
  type Source,
  type Touching,
  threadCode,
  touchCode,
  type Unit,
  WORDS,
  type Work,
} from './pack-work.ts';

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
  /** Lends threads of the backend: those are there already. */
  lend(task: ThreadTask): number;
}

interface OwnWorker {
  on(event: 'message' | 'error' | 'exit', listener: () => void): void;
  postMessage(work: Work): void;
  terminate(): unknown;
  unref(): void;
}

interface Threads {
  readonly Worker: new (code: string, options: object) => OwnWorker;
}

interface System {
  availableParallelism(): number;
}

/** Bytes of a file, or of memory, that a thread takes at a time. */
const UNIT_BYTES = 2 ** 20;
const PANEL = 16;

/**
 * Of matrices that will be packed with hardly a doubt: they take as much as in the file.
 *
 * @param lengthOf a tensor's bytes, handed over as `rangeOf` is
 */
function foreseenBytes({ initializers, nodes }: ModelRecord['graph'], lengthOf: (tensor: TensorRef) => number): number {
  const names = new Set(nodes.flatMap(({ opType, inputs }) => (opType === 'MatMulNBits' ? inputs.slice(1, 4) : [])));
  let bytes = 0;
  for (const tensor of initializers) if (names.has(tensor.name)) bytes += lengthOf(tensor);
  return bytes;
}

/** A place's units, and how many of its rows are packed by them; 0: its pages are touched. */
interface Part {
  readonly begin: number;
  readonly end: number;
  readonly rows: number;
}

export class PackThreads {
  readonly #own: OwnWorker[] = [];
  /** Has each thread packed, or is it gone? Those of its own first, then the backend's. */
  readonly #through: boolean[] = [];
  #waiting: (() => void)[] = [];
  #hasEnded = false;
  #early: WasmBackend | undefined;
  readonly #touching = new Int32Array(new SharedArrayBuffer(8));
  #packing:
    | (Packing & Pick<Work, 'memory' | 'sources' | 'files'> & { readonly arena: ArenaHandle['arena'] })
    | undefined;
  readonly #units: (Unit & { readonly place: Place })[] = [];
  readonly #parts = new Map<Place, Part>();
  /** By shape: layers have the same ones. */
  readonly #recipes = new Map<string, PackRecipe | undefined>();
  #sources = 0;
  readonly #instances = new Map<WebAssembly.Module, WebAssembly.Instance>();
  /** Of the main thread, and of each other. */
  #stagings: ArenaHandle[] = [];
  #state: Int32Array = new Int32Array(0);
  readonly #fs = builtin<FileSystem>('node:fs')!;

  /**
   * Starts those that the backend has not itself. Each takes 20 to 30 ms of other cores.
   *
   * @param threads of the backend
   * @returns `undefined` where there are no threads, or no core is free
   */
  static start(threads: number | 'auto'): PackThreads | undefined {
    const node = builtin<Threads>('node:worker_threads');
    const free = (builtin<System>('node:os')?.availableParallelism() ?? 1) - 1;
    if (!node || free < 1) return undefined;
    // 'auto' is one per core, and more than pack.
    const lent = threads === 'auto' ? free : threads - 1;
    try {
      return new PackThreads(node, Math.min(free, MOST_THREADS) - lent);
    } catch {
      return undefined; // where no thread may be started
    }
  }

  private constructor({ Worker }: Threads, count: number) {
    try {
      for (let i = 0; i < count; i++) {
        const worker = new Worker(threadCode(), { eval: true, execArgv: [], name: 'msd pack' });
        const isThrough = (): void => this.#isThrough(i);
        worker.on('message', isThrough);
        worker.on('error', isThrough);
        worker.on('exit', isThrough);
        worker.unref();
        this.#own.push(worker);
        this.#through.push(false);
      }
    } catch (error) {
      for (const worker of this.#own) void worker.terminate();
      throw error;
    }
  }

  #isThrough(thread: number): void {
    this.#through[thread] = true;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** Then they begin nothing: creation decides again where a scale is out of the contract. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /**
   * Has threads of a backend give its memory pages, while nobody knows yet what will lie where.
   *
   * @param lengthOf a tensor's bytes in its file; 0 if it does not say
   * @param create makes it, with room for so many bytes of packed weights
   */
  async foresee(
    graph: ModelRecord['graph'],
    lengthOf: (tensor: TensorRef) => number,
    create: (bytes: number) => Promise<WasmBackend>,
  ): Promise<void> {
    const bytes = foreseenBytes(graph, lengthOf);
    // If there is no memory, the error comes later, from who knows how much is needed.
    const backend = bytes > 0 ? await create(bytes).catch(() => undefined) : undefined;
    if (backend && !this.#hasEnded) this.touch(backend);
    else backend?.dispose();
  }

  /** @param backend disposed of at the end, unless it is taken */
  touch(backend: WasmBackend): void {
    this.#early = backend;
    const { memory } = backend.arena;
    const given = (): Touching => ({ memory, state: this.#touching });
    if (backend.arena.shared) backend.lend({ code: touchCode(), most: MOST_THREADS, given, ended: () => {} });
  }

  /**
   * @param bytes that it should have room for
   * @returns that backend, once: it is the caller's then. `undefined` if it has much less, or much more than will be used
   */
  take(bytes: number): WasmBackend | undefined {
    const backend = this.#early;
    this.#early = undefined;
    const share = (backend?.arena.byteLength ?? bytes) / bytes;
    if (share >= 1 / 2 && share <= 2) return backend;
    backend?.dispose();
    return undefined;
  }

  /**
   * Begins to pack. From then on {@link end} has to be awaited before the memory, or a file, is given back.
   *
   * @param packing places in one arena whose memory can be shared
   */
  begin(packing: Packing): void {
    const { arena } = packing.places[0]!.handle;
    const { memory } = arena;
    if (!arena.shared || this.#packing || this.#hasEnded) return;
    Atomics.store(this.#touching, 0, 1);
    const numbers = new Map<number, number>();
    const sources = packing.places.flatMap((place) => this.#divide(place, packing, numbers));
    const stagingBytes = sources.reduce((most, { recipe }) => Math.max(most, recipe.stagingBytes), 0);
    const staging = (): number => {
      const handle = arena.alloc(stagingBytes, 'rows to pack');
      this.#stagings.push(handle);
      return handle.ptr;
    };
    staging();
    this.#state = new Int32Array(new SharedArrayBuffer(4 * (WORDS.done + this.#units.length)));
    const files = [...numbers.keys()].map((fd) => {
      const { dev, ino } = this.#fs.fstatSync(fd);
      return { fd, dev, ino };
    });
    this.#packing = { ...packing, arena, memory, sources, files };
    const units = this.#units.map(({ source, first, end }) => ({ source, first, end }));
    const common = { memory, sources, files, state: this.#state, words: WORDS, units };
    const work = (thread: number): Work => ({ ...common, thread, staging: staging() });
    const own = this.#own.length;
    for (const [i, worker] of this.#own.entries()) worker.postMessage(work(i));
    const lent = packing.lend({
      code: packCode(),
      most: MOST_THREADS - own,
      given: (i) => work(own + i),
      ended: (i) => this.#isThrough(own + i),
    });
    for (let i = 0; i < lent; i++) this.#through.push(false);
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
      const staging = this.#stagings[0]!.ptr;
      return packUnit(this.#fs, { ...this.#packing!, staging }, unit, this.#instances);
    } catch {
      return false;
    }
  }

  /** Waits until no thread is at work. Those that have not begun are not waited for. */
  async #rest(): Promise<void> {
    // Threads keep no process alive, and nothing else may meanwhile.
    const alive = setInterval(() => {}, 2 ** 30);
    while (this.#through.some((isThrough, i) => !isThrough && Atomics.load(this.#state, WORDS.atWork + i) !== 0))
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    clearInterval(alive);
  }

  /** Stops, and waits for what is in progress. Nothing is packed from then on. */
  async end(): Promise<void> {
    this.#hasEnded = true;
    Atomics.store(this.#touching, 0, 1);
    this.#early?.dispose();
    this.#early = undefined;
    if (this.#packing) {
      Atomics.store(this.#state, WORDS.stop, 1);
      await this.#rest();
      for (const staging of this.#stagings.splice(0)) this.#packing?.arena.free(staging);
    }
    this.#packing = undefined;
    for (const worker of this.#own.splice(0)) void worker.terminate();
  }
}
