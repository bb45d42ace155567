/**
 * Attention, bound. Kernels read in words of scratch what a run has to do: where the cache's pages are changes with every key.
 *
 *   scratch   words of append and attend | sequences | slopes | bias, mask that JavaScript has | a row of append | tasks of threads
 */
import { appendSpec } from '../../attention/append.wasm.ts';
import { attendSpec } from '../../attention/attend.wasm.ts';
import { type HeadStrides, type KvType, PAGE_KEYS, type ScoreDims } from '../../attention/contract.ts';
import { paddedHead, paddedValue, pageLayout } from '../../attention/page.ts';
import { type TaskScratch, taskScratch, tileRowsFor } from '../../attention/scratch.ts';
import { ADDED, APPEND, SEQUENCE, setWords, WORK } from '../../attention/work.ts';
import { kernelCall } from '../../kernel-spec.ts';
import { cutShared } from '../../plan/choose.ts';
import { chunkTable, uncut } from '../../plan/cut.ts';
import type { ArenaHandle } from '../arena.ts';
import { arenaHandle } from '../arguments.ts';
import {
  ATTENTION_OPERANDS,
  checkAttentionOperands,
  checkOutApart,
  OUT_OPERAND,
  type ResolvedRun,
  resolveRun,
} from '../attention-arguments.ts';
import type { AttentionSpec, AttentionWork, BoundWork } from '../device.ts';
import { BoundKernel, whole } from './bound-kernel.ts';
import { Runtime } from './runtime.ts';

type Run = ResolvedRun<ArenaHandle>;
const [Q, K, V, SINKS, BIAS, MASK] = ATTENTION_OPERANDS.keys();
const LINE = 64;
const up = (bytes: number) => Math.ceil(bytes / LINE) * LINE;
/** Scratch grows by so many pages at a time: seldom. */
const PAGE_STEP = 16;
/** A key's softmax takes as long as so many multiplications. */
const KEY_MACS = 48;

/** Kernels of one type of cache. */
interface Kernels {
  readonly append: BoundKernel;
  readonly alone: BoundKernel;
  readonly shared: BoundKernel;
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
  readonly #tileRows: number;
  readonly #tasks: number;
  /** By type of the cache: a run brings it. Made for so many threads. */
  #kernels: Partial<Record<KvType, Kernels>> = {};
  #threads = 0;

  constructor(runtime: Runtime, work: AttentionWork, byteLengths: readonly number[]) {
    const { op } = work;
    this.#runtime = runtime;
    this.#work = work;
    this.byteLengths = byteLengths;
    this.#addresses = byteLengths.map(() => 0);
    this.#tileRows = tileRowsFor(op);
    this.#tasks = op.batch * op.kvHeads * Math.ceil(op.rows / this.#tileRows);
  }

  get kernels(): string[] {
    return Object.values(this.#kernels).flatMap(({ append, alone }) => [append.id, alone.id]);
  }

  set(operand: number, { ptr }: ArenaHandle): void {
    this.#addresses[operand] = ptr;
  }

  prepare(): void {}

  run(): void {
    checkOutApart(this.byteLengths, this.#addresses);
    const { op } = this.#work;
    const run = resolveRun(this.#work, this.#runtime.pages);
    const { cache, past, counts } = run;
    if (op.newKeys > 0) cache.open(past, counts);
    const { lengths, shape } = cache;
    const keys = Math.max(...lengths);
    const kernels = this.#kernelsFor(shape.type);
    const threads = this.#isWorthSharing(keys) ? this.#runtime.threads : 1;
    const at = this.#tell(run, threads, keys);
    if (op.newKeys > 0) {
      kernels.append.place([at.append]);
      kernels.append.run(true);
    }
    if (this.#tasks === 0) return;
    const attend = threads > 1 ? kernels.shared : kernels.alone;
    attend.place([at.attend]);
    attend.run(true);
  }

  #isWorthSharing(keys: number): boolean {
    const { rows, heads, batch, headSize, valueSize } = this.#work.op;
    const { threads, team } = this.#runtime;
    const macs = batch * heads * rows * keys * (headSize + valueSize + KEY_MACS);
    return threads > 1 && cutShared(this.#tasks, macs / this.#tasks, threads, team.chunkMacs).size < this.#tasks;
  }

  #kernelsFor(type: KvType): Kernels {
    const runtime = this.#runtime;
    const { threads } = runtime;
    if (this.#threads !== threads) this.#kernels = {};
    this.#threads = threads;
    return (this.#kernels[type] ??= this.#bind(type));
  }

  #bind(type: KvType): Kernels {
    const runtime = this.#runtime;
    const { batch, kvHeads } = this.#work.op;
    const tasks = this.#tasks;
    const args = { work: { operand: 0 }, first: { perRow: 1 }, count: { rows: 1 }, thread: { perThread: 1 } };
    const attend = kernelCall(attendSpec, { type }, args);
    const chunks = cutShared(tasks, Number.MAX_SAFE_INTEGER / Math.max(1, tasks), runtime.threads);
    const kernels = {
      append: new BoundKernel(runtime, kernelCall(appendSpec, { type }, args), whole(batch * kvHeads)),
      alone: new BoundKernel(runtime, attend, whole(tasks)),
      shared: new BoundKernel(runtime, attend, chunkTable(chunks, uncut(1))),
    };
    kernels.append.warmUp();
    kernels.alone.warmUp();
    return kernels;
  }

  /** Writes what kernels read. @returns where */
  #tell(run: Run, threads: number, keys: number): { append: number; attend: number } {
    const { arena, scratch } = this.#runtime;
    const { op } = this.#work;
    const { batch, heads } = op;
    const { headSize, valueSize, type } = run.cache.shape;
    let end = 0;
    const place = (bytes: number) => {
      const at = end;
      end += up(bytes);
      return at;
    };
    const pages = PAGE_STEP * Math.ceil(keys / PAGE_KEYS / PAGE_STEP);
    const task = taskScratch(op, type, (this.#tileRows * heads) / op.kvHeads, pages);
    const integersAt = up(4 * (Math.max(paddedHead(headSize), paddedValue(valueSize)) + 16));
    const places = {
      append: place(4 * APPEND.length),
      attend: place(4 * WORK.length),
      added: place(4 * ADDED.length * batch),
      sequences: place(4 * SEQUENCE.length * batch),
      alibi: place(op.alibi ? 4 * heads : 0),
      bias: place(run.bias?.data.byteLength ?? 0),
      mask: place(run.mask?.data.byteLength ?? 0),
      row: place(2 * integersAt),
      tasks: place(threads * task.byteLength),
    };
    if (scratch.at('attention') === 0 || (scratch.sizes.attention ?? 0) < end) scratch.reserve({ attention: end });
    const base = scratch.at('attention');
    const words = new Int32Array(arena.memory.buffer, base, (places.row + LINE) / 4);
    run.past.forEach((past, b) => {
      const { lengths } = run.cache;
      setWords(words, places.added / 4 + ADDED.length * b, ADDED, { past, count: run.counts[b] });
      setWords(words, places.sequences / 4 + SEQUENCE.length * b, SEQUENCE, {
        position: run.positions[b],
        total: lengths[b],
        start: run.starts[b],
        count: run.queries[b],
      });
    });
    const at = { ...places };
    for (const name of Object.keys(at) as (keyof typeof at)[]) at[name] += base;
    this.#tellAppend(words, places.append / 4, run, at, integersAt);
    this.#tellAttend(words, places.attend / 4, run, at, task);
    if (op.alibi) {
      const slopes = new Float32Array(words.buffer, at.alibi, heads);
      for (let h = 0; h < heads; h++) slopes[h] = op.alibi[h] * Math.LOG2E;
    }
    if (run.bias) new Float32Array(words.buffer, at.bias, run.bias.data.length).set(run.bias.data);
    if (run.mask) new Uint8Array(words.buffer, at.mask, run.mask.data.length).set(run.mask.data);
    return at;
  }

  #tellAppend(
    words: Int32Array,
    index: number,
    { cache }: Run,
    at: { added: number; row: number },
    integersAt: number,
  ): void {
    const { op } = this.#work;
    if (op.newKeys === 0) return;
    const { shape } = cache;
    const [first, later] = [pageLayout(shape, 0), pageLayout(shape, 1)];
    setWords(words, index, APPEND, {
      ...strideWords('k', this.#addresses[K], op.k!),
      ...strideWords('v', this.#addresses[V], op.v!),
      kvHeads: op.kvHeads,
      headSize: op.headSize,
      valueSize: op.valueSize,
      ...tableOf(cache),
      sequences: at.added,
      findsFactors: shape.factors === undefined ? 1 : 0,
      rotarySize: shape.rotarySize,
      isInterleaved: shape.isInterleaved ? 1 : 0,
      firstV: first.v,
      firstVs: first.vs,
      firstKc: first.kc,
      firstIc: first.ic,
      v0: later.v,
      ks: later.ks,
      vs: later.vs,
      scratch: at.row,
      atIntegers: integersAt,
    });
  }

  #tellAttend(
    words: Int32Array,
    index: number,
    run: Run,
    at: { sequences: number; alibi: number; bias: number; mask: number; tasks: number },
    task: TaskScratch,
  ): void {
    const { op } = this.#work;
    const { rows, heads, kvHeads, headSize, softcap, scale = 1 / Math.sqrt(headSize) } = op;
    const addresses = this.#addresses;
    const { cache, bias, mask } = run;
    const [first, later] = [pageLayout(cache.shape, 0), pageLayout(cache.shape, 1)];
    const biasDims = bias?.dims ?? op.bias;
    const maskDims = mask?.dims ?? op.mask;
    setWords(words, index, WORK, {
      ...strideWords('q', addresses[Q], op.q),
      ...strideWords('out', addresses[OUT_OPERAND], op.out),
      rows,
      tileRows: this.#tileRows,
      tiles: Math.ceil(rows / this.#tileRows),
      groups: heads / kvHeads,
      kvHeads,
      headSize,
      valueSize: op.valueSize,
      scale: bitsOf(softcap === undefined ? scale * Math.LOG2E : scale / softcap),
      isCausal: run.isCausal ? 1 : 0,
      window: op.window,
      softcap: softcap === undefined ? 0 : bitsOf(softcap * Math.LOG2E),
      sinks: addresses[SINKS],
      alibi: op.alibi ? at.alibi : 0,
      ...(biasDims && scoreWords('bias', bias ? at.bias : addresses[BIAS], biasDims, 4)),
      ...(maskDims && scoreWords('mask', mask ? at.mask : addresses[MASK], maskDims, 1)),
      mayHide: biasDims || maskDims ? 1 : 0,
      ...tableOf(cache),
      sequences: at.sequences,
      firstV: first.v,
      firstVs: first.vs,
      firstKc: first.kc,
      v: later.v,
      ks: later.ks,
      vs: later.vs,
      scratch: at.tasks,
      scratchStride: task.byteLength,
      ...task,
    });
  }
}

const bits = new Int32Array(1);
const float = new Float32Array(bits.buffer);
function bitsOf(value: number): number {
  float[0] = value;
  return bits[0];
}

const strideWords = <N extends string>(name: N, at: number, { batch, row, head }: HeadStrides) =>
  ({ [name]: at, [`${name}Batch`]: 4 * batch, [`${name}Row`]: 4 * row, [`${name}Head`]: 4 * head }) as Record<
    N | `${N}Batch` | `${N}Row` | `${N}Head`,
    number
  >;

function scoreWords<N extends string>(name: N, at: number, dims: ScoreDims, bytes: number) {
  const [batch, heads, rows, keys] = dims;
  const step = (size: number, stride: number) => (size > 1 ? bytes * stride : 0);
  return {
    [name]: at,
    [`${name}Batch`]: step(batch, heads * rows * keys),
    [`${name}Head`]: step(heads, rows * keys),
    [`${name}Row`]: step(rows, keys),
    [`${name}Key`]: step(keys, 1),
  } as Record<N | `${N}Batch` | `${N}Head` | `${N}Row` | `${N}Key`, number>;
}

const tableOf = ({ table, capacity }: Run['cache']) => ({ table: table?.ptr ?? 0, tableRow: 4 * capacity });
