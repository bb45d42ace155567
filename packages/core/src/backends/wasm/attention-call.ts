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
  /** The next run, if it was told ahead; and of that or the last one: keys of its longest sequence, kernels, are they shared? */
  #told: Run | undefined;
  #keys = 0;
  #now: Kernels | undefined;
  #isShared = false;
  /** Since operands were looked at last. */
  #hasMoved = true;
  /** Do the words describe a bias or a mask? */
  #hasScores = false;
  #memory = new Int32Array(0);
  /** Of the memory that it shows. */
  #generation = -1;

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

  ahead(): void {
    const { op } = this.#work;
    const run = resolveRun(this.#work, this.#runtime.pages);
    const { cache, past, counts } = run;
    this.#keys = longest(run, op.newKeys);
    const now = this.#kernelsFor(cache.shape.type);
    if (this.#now !== now) this.#settled = undefined;
    this.#now = now;
    this.#isShared = this.#threads > 1 && this.#isWorthSharing();
    if (this.#hasMoved) this.#takeOperands();
    this.#settle(run);
    if (op.newKeys > 0) cache.open(past, counts); // from here on nothing fails
    this.#describe(run);
    this.#told = run;
  }

  run(): void {
    if (!this.#told) this.ahead();
    const run = this.#told!;
    this.#told = undefined;
    // Other calls may have made scratch larger.
    if (this.#settled!.generation !== this.#runtime.scratch.generation) {
      this.#settle(run);
      this.#describe(run);
    }
    this.#write(run);
    const { append, alone, shared } = this.#now!;
    if (this.#work.op.newKeys > 0) append.run(true);
    if (this.#tasks > 0) (this.#isShared ? shared : alone).run(true);
  }

  #takeOperands(): void {
    checkOutApart(this.byteLengths, this.#addresses);
    this.#words.place(this.#addresses);
    this.#hasMoved = false;
  }

  #isWorthSharing(): boolean {
    const { rows, heads, batch, headSize, valueSize } = this.#work.op;
    const macs = batch * heads * rows * this.#keys * (headSize + valueSize + KEY_MACS);
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
  #settle(run: Run): void {
    const { scratch } = this.#runtime;
    const { shape } = run.cache;
    const keys = this.#keys;
    const { window = keys } = this.#work.op;
    // A task's queries and their windows, wherever in a page they begin.
    const seen = run.isCausal ? Math.min(keys, window + this.#tiling.rows + PAGE_KEYS) : keys;
    const pages = roundUp(Math.ceil(seen / PAGE_KEYS), PAGE_STEP);
    const threads = this.#isShared || this.#now!.append.isShared ? this.#threads : 1;
    const biasBytes = run.bias ? run.bias.data.byteLength : 0;
    const maskBytes = run.mask ? run.mask.data.byteLength : 0;
    const have = this.#settled;
    if (
      !have ||
      !isLaidOutAs(have.shape, shape) ||
      have.pages < pages ||
      have.threads < threads ||
      have.biasBytes !== biasBytes ||
      have.maskBytes !== maskBytes ||
      have.generation !== scratch.generation
    )
      this.#settled = this.#plan(run, { shape, pages, threads, biasBytes, maskBytes });
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
    const { append, alone, shared } = this.#now!;
    append.place([places.image + APPEND_BYTE]);
    for (const attend of [alone, shared]) attend.place([places.image + ATTEND_BYTE]);
    this.#memory = new Int32Array(0); // it may be shorter than what there is now
    return { ...given, generation: scratch.generation, places };
  }

  /** Puts into the image what is new in every run. */
  #describe(run: Run): void {
    const { op } = this.#work;
    // A run without a bias or mask clears that of the run before.
    const hasScores = [run.bias, run.mask, op.bias, op.mask].some((each) => each !== undefined);
    if (hasScores || this.#hasScores) this.#words.scores(run, this.#addresses, this.#settled!.places);
    this.#hasScores = hasScores;
    this.#words.run(run);
  }

  /** Writes what kernels read. */
  #write({ bias, mask }: Run): void {
    const { arena, kernels } = this.#runtime;
    const { places } = this.#settled!;
    // Asking a memory for its buffer takes as long as the rest. A memory that grew has left the view empty, or keeps it good.
    if (this.#memory.length === 0 || this.#generation !== kernels.generation) {
      this.#memory = new Int32Array(arena.memory.buffer);
      this.#generation = kernels.generation;
    }
    const { buffer } = this.#memory;
    this.#memory.set(this.#words.image, places.image / 4);
    if (bias) new Float32Array(buffer, places.bias, bias.data.length).set(bias.data);
    if (mask) new Uint8Array(buffer, places.mask, mask.data.length).set(mask.data);
  }
}

/** Do words say the same of two caches? Each conversation has one of its own. Sizes are the op's, and a type has its own kernels. */
const isLaidOutAs = (a: ResolvedKvShape, b: ResolvedKvShape): boolean =>
  a === b ||
  (a.rotarySize === b.rotarySize &&
    a.isInterleaved === b.isInterleaved &&
    (a.factors === undefined) === (b.factors === undefined));

/** Keys of the longest sequence, new ones included. */
function longest({ cache, past, counts }: Run, newKeys: number): number {
  let most = 0;
  for (let b = 0; b < past.length; b++) most = Math.max(most, newKeys > 0 ? past[b] + counts[b] : cache.lengthOf(b));
  return most;
}
