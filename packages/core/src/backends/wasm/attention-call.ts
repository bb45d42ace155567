/**
 * Bound attention. Kernels read from words in scratch what a run has to do, since the pages of the cache change with
 * every key.
 *
 *   scratch   words | bias, mask that JavaScript has | a row of append of each thread | tasks of each thread
 */
import { appendSpec } from '../../attention/append.wasm.ts';
import { attendSpec } from '../../attention/attend.wasm.ts';
import { type KvType, PAGE_KEYS, type ResolvedKvShape } from '../../attention/contract.ts';
import { PER_CHANNEL } from '../../attention/integers.wasm.ts';
import { LINE, paddedHead, paddedValue } from '../../attention/page.ts';
import { type Tiling, taskScratch, tilingFor } from '../../attention/scratch.ts';
import { roundUp } from '../../formats/layout.ts';
import { kernelCall } from '../../kernel-spec.ts';
import { whole } from '../../plan/cut.ts';
import type { ArenaHandle } from '../arena.ts';
import { arenaHandle } from '../arguments.ts';
import { checkAttentionOperands, checkOutApart, type ResolvedRun, resolveRun } from '../attention-arguments.ts';
import type { AttentionSpec, AttentionWork, BoundWork } from '../device.ts';
import { APPEND_BYTE, ATTEND_BYTE, AttentionWords, type RunPlaces } from './attention-words.ts';
import { BoundKernel } from './bound-kernel.ts';
import { Runtime } from './runtime.ts';

type Run = ResolvedRun<ArenaHandle>;
/** Scratch grows by so many pages at a time, so that it seldom grows. */
const PAGE_STEP = 16;
/** A key's softmax takes as long as so many multiplications. */
const KEY_MACS = 48;
/** So does an element that becomes an integer in the cache. */
const ELEMENT_MACS = 16;

/** Kernels of one type of cache. */
interface Kernels {
  readonly append: BoundKernel;
  readonly alone: BoundKernel;
  readonly shared: BoundKernel;
}

/** What the places in scratch were computed for. */
interface Settled {
  readonly shape: ResolvedKvShape;
  readonly pages: number;
  readonly threads: number;
  readonly biasBytes: number;
  readonly maskBytes: number;
  readonly generation: number;
  readonly places: RunPlaces;
}

export const attentionSpec: AttentionSpec = {
  wasm(runtime, work, operands) {
    if (!(runtime instanceof Runtime)) throw new TypeError('attention: expected the runtime of a WASM device.');
    return new AttentionCall(runtime, work, checkAttentionOperands(work, operands, arenaHandle));
  },
};

class AttentionCall implements BoundWork<ArenaHandle> {
  readonly byteLengths: readonly number[];
  readonly #runtime: Runtime;
  readonly #work: AttentionWork;
  readonly #addresses: number[];
  readonly #words: AttentionWords;
  readonly #tiling: Tiling;
  readonly #tasks: number;
  /** By type of the cache, which a run passes. Made for a number of threads. */
  #kernels: Partial<Record<KvType, Kernels>> = {};
  #threads = 0;
  #settled: Settled | undefined;
  /** Since operands were looked at last. */
  #hasMoved = true;
  /** Do the words describe a bias or a mask? */
  #hasScores = false;
  #memory = new Int32Array(0);

  constructor(runtime: Runtime, work: AttentionWork, byteLengths: readonly number[]) {
    const { op } = work;
    this.#runtime = runtime;
    this.#work = work;
    this.byteLengths = byteLengths;
    this.#addresses = byteLengths.map(() => 0);
    this.#tiling = tilingFor(op, runtime.threads);
    this.#tasks = op.batch * op.kvHeads * this.#tiling.tasks;
    this.#words = new AttentionWords(op, this.#tiling);
  }

  get kernels(): string[] {
    return Object.values(this.#kernels).flatMap(({ append, alone }) => [append.id, alone.id]);
  }

  set(operand: number, { ptr }: ArenaHandle): void {
    if (this.#addresses[operand] === ptr) return;
    this.#addresses[operand] = ptr;
    this.#hasMoved = true;
  }

  /** Prepares what it needs, if the type of the caches is known. */
  prepare(): void {
    const { type } = this.#work;
    if (type) this.#kernelsFor(type);
  }

  run(): void {
    const { op } = this.#work;
    const runtime = this.#runtime;
    const run = resolveRun(this.#work, runtime.pages);
    const { cache, past, counts } = run;
    const keys = longest(run, op.newKeys);
    const { append, alone, shared } = this.#kernelsFor(cache.shape.type);
    const threads = this.#isWorthSharing(keys) ? runtime.threads : 1;
    if (this.#hasMoved) this.#takeOperands();
    const { places } = this.#settle(run, keys, append.isShared ? runtime.threads : threads);
    if (op.newKeys > 0) cache.open(past, counts); // from here on nothing fails
    this.#tell(run, places);
    if (op.newKeys > 0) {
      append.place([places.image + APPEND_BYTE]);
      append.run(true);
    }
    if (this.#tasks === 0) return;
    const attend = threads > 1 ? shared : alone;
    attend.place([places.image + ATTEND_BYTE]);
    attend.run(true);
  }

  #takeOperands(): void {
    checkOutApart(this.byteLengths, this.#addresses);
    this.#words.place(this.#addresses);
    this.#hasMoved = false;
  }

  #isWorthSharing(keys: number): boolean {
    const { rows, heads, batch, headSize, valueSize } = this.#work.op;
    const macs = batch * heads * rows * keys * (headSize + valueSize + KEY_MACS);
    return this.#runtime.cuts.isShared(this.#tasks, macs / this.#tasks);
  }

  #kernelsFor(type: KvType): Kernels {
    const { threads } = this.#runtime;
    if (this.#threads !== threads) this.#kernels = {};
    this.#threads = threads;
    return (this.#kernels[type] ??= this.#bind(type));
  }

  #bind(type: KvType): Kernels {
    const runtime = this.#runtime;
    const { cuts } = runtime;
    const { batch, kvHeads, newKeys, headSize, valueSize } = this.#work.op;
    const tasks = this.#tasks;
    const pairs = batch * kvHeads;
    const shared = (rows: number) => cuts.rows(rows, Number.MAX_SAFE_INTEGER / Math.max(1, rows));
    const isAppendShared = cuts.isShared(pairs, newKeys * (headSize + valueSize) * ELEMENT_MACS);
    const args = { work: { operand: 0 }, first: { perRow: 1 }, count: { rows: 1 }, thread: { perThread: 1 } };
    const carrier = type === 'int8' ? runtime.routes.cacheCarrier(PER_CHANNEL) : undefined;
    const attend = kernelCall(attendSpec, { type, carrier, unroll: runtime.routes.unroll() }, args);
    const append = kernelCall(appendSpec, { type }, args);
    const kernels = {
      append: new BoundKernel(runtime, append, isAppendShared ? shared(pairs) : whole(pairs)),
      alone: new BoundKernel(runtime, attend, whole(tasks)),
      shared: new BoundKernel(runtime, attend, shared(tasks)),
    };
    kernels.append.warmUp();
    kernels.alone.warmUp();
    return kernels;
  }

  /** Makes room in scratch, and says where everything is. */
  #settle(run: Run, keys: number, threads: number): Settled {
    const { scratch } = this.#runtime;
    const { shape } = run.cache;
    const { window = keys } = this.#work.op;
    // A task's queries and their windows, wherever in a page they begin.
    const seen = run.isCausal ? Math.min(keys, window + this.#tiling.rows + PAGE_KEYS) : keys;
    const pages = roundUp(Math.ceil(seen / PAGE_KEYS), PAGE_STEP);
    const biasBytes = run.bias ? run.bias.data.byteLength : 0;
    const maskBytes = run.mask ? run.mask.data.byteLength : 0;
    const have = this.#settled;
    if (
      !have ||
      have.shape !== shape ||
      have.pages < pages ||
      have.threads < threads ||
      have.biasBytes !== biasBytes ||
      have.maskBytes !== maskBytes ||
      have.generation !== scratch.generation
    )
      return (this.#settled = this.#plan(run, { shape, pages, threads, biasBytes, maskBytes }));
    return have;
  }

  #plan({ cache }: Run, given: Omit<Settled, 'generation' | 'places'>): Settled {
    const { scratch } = this.#runtime;
    const { op } = this.#work;
    const { headSize, valueSize, type } = cache.shape;
    const task = taskScratch(op, type, this.#tiling.rows * this.#tiling.heads, given.pages);
    const row = roundUp(4 * (Math.max(paddedHead(headSize), paddedValue(valueSize)) + LINE / 4), LINE);
    let end = 0;
    const place = (bytes: number) => {
      const at = end;
      end += roundUp(bytes, LINE);
      return at;
    };
    const offsets = {
      image: place(this.#words.image.byteLength),
      bias: place(given.biasBytes),
      mask: place(given.maskBytes),
      row: place(2 * row * given.threads),
      tasks: place(given.threads * task.byteLength),
    };
    scratch.reserve({ attention: end });
    const base = scratch.at('attention');
    const places: RunPlaces = {
      image: base + offsets.image,
      bias: base + offsets.bias,
      mask: base + offsets.mask,
      row: base + offsets.row,
      integersInRow: row,
      tasks: base + offsets.tasks,
    };
    this.#words.settle(cache.shape, places, task);
    return { ...given, generation: scratch.generation, places };
  }

  /** Writes what kernels read. */
  #tell(run: Run, places: RunPlaces): void {
    const { buffer } = this.#runtime.arena.memory;
    const { op } = this.#work;
    // A run without a bias or mask clears that of the run before.
    const hasScores = [run.bias, run.mask, op.bias, op.mask].some((each) => each !== undefined);
    if (hasScores || this.#hasScores) this.#words.scores(run, this.#addresses, places);
    this.#hasScores = hasScores;
    this.#words.run(run);
    if (this.#memory.buffer !== buffer) this.#memory = new Int32Array(buffer);
    this.#memory.set(this.#words.image, places.image / 4);
    if (run.bias) new Float32Array(buffer, places.bias, run.bias.data.length).set(run.bias.data);
    if (run.mask) new Uint8Array(buffer, places.mask, run.mask.data.length).set(run.mask.data);
  }
}

/** Keys of the longest sequence, new ones included. */
function longest({ cache, past, counts }: Run, newKeys: number): number {
  let most = 0;
  for (let b = 0; b < past.length; b++) most = Math.max(most, newKeys > 0 ? past[b] + counts[b] : cache.lengthOf(b));
  return most;
}
