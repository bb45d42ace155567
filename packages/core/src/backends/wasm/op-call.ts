/** A bound op: its kernels are cut, its scratch is allocated, and a run only checks what has changed since. */
import { type KernelCall, MAX_ARGS } from '../../kernel-spec.ts';
import { byteLength, type TensorType } from '../../ops/op.ts';
import { whole } from '../../plan/cut.ts';
import type { ArenaHandle } from '../arena.ts';
import type { OpWork } from '../device.ts';
import { checkPlaces } from '../op-arguments.ts';
import { BoundKernel } from './bound-kernel.ts';
import type { Runtime } from './runtime.ts';

export class OpCall {
  /** Bytes of each operand: inputs, then outputs. 0: absent. */
  readonly byteLengths: readonly number[];
  readonly #runtime: Runtime;
  readonly #work: OpWork;
  readonly #outputs: readonly TensorType[];
  readonly #calls: readonly KernelCall[];
  readonly #scratchBytes: number;
  readonly #addresses: number[];
  #bound: readonly BoundKernel[] = [];
  /** Of the threads that calls are cut for, and the scratch that they were placed in. */
  #threads = 0;
  #scratchGeneration = -1;
  #isPlaced = false;
  /** Does an output lie where an input does? Then no chunk can be repeated, and one thread does all the work. */
  #isInPlace = false;

  /** Operands are absent until they are set. */
  constructor(runtime: Runtime, work: OpWork, outputs: readonly TensorType[]) {
    const { spec, op, inputs } = work;
    const { calls, scratchBytes } = spec.wasm(op, inputs, outputs);
    this.#runtime = runtime;
    this.#work = work;
    this.#outputs = outputs;
    this.#calls = calls;
    this.#scratchBytes = scratchBytes;
    this.byteLengths = [...inputs, ...outputs].map((type) => (type ? byteLength(type) : 0));
    this.#addresses = this.byteLengths.map(() => 0);
  }

  get kernels(): string[] {
    return [...new Set(this.#calls.map(({ id }) => id))];
  }

  set(operand: number, { ptr }: ArenaHandle): void {
    if (this.#addresses[operand] === ptr) return;
    this.#addresses[operand] = ptr;
    this.#isPlaced = false;
  }

  prepare(): void {
    this.#place();
    for (const kernel of this.#bound) kernel.warmUp();
  }

  run(): void {
    const { threads, scratch } = this.#runtime;
    if (!this.#isPlaced || this.#threads !== threads || this.#scratchGeneration !== scratch.generation) this.#place();
    const bound = this.#bound;
    for (let i = 0; i < bound.length; i++) if (!bound[i].run(false)) i = -1; // from the start: inputs are as they were
  }

  /** @throws {@link RangeError} for operands that may not share memory */
  #place(): void {
    const { threads, scratch } = this.#runtime;
    const isInPlace = checkPlaces(this.#work, this.#outputs, this.byteLengths, this.#addresses);
    if (this.#threads !== threads || this.#isInPlace !== isInPlace) {
      this.#isInPlace = isInPlace;
      this.#threads = threads;
      this.#bound = this.#calls.map(
        (call) => new BoundKernel(this.#runtime, call, chunksOf(this.#runtime, call, isInPlace)),
      );
    }
    scratch.reserve({ op: this.#bytesFor(threads) });
    const at = scratch.at('op');
    for (const kernel of this.#bound) kernel.place(this.#addresses, at);
    this.#scratchGeneration = scratch.generation;
    this.#isPlaced = true;
  }

  #bytesFor(threads: number): number {
    const perThread = this.#calls.flatMap(({ args }) => args.map((arg) => arg.perThread ?? 0));
    return this.#scratchBytes + (threads - 1) * Math.max(0, ...perThread);
  }
}

/** Cuts the rows of a call that threads share, unless one thread has to do all the work. */
function chunksOf({ cuts }: Runtime, { share, args }: KernelCall, isAlone: boolean): Int32Array {
  if (!share) return whole();
  const { rows, macsPerRow } = share;
  if (isAlone || args.length > MAX_ARGS) return whole(rows);
  return cuts.rows(rows, macsPerRow);
}

/** Do threads share any of its calls, if no output lies where an input does? */
export function isShared(runtime: Runtime, { spec, op, inputs }: OpWork): boolean {
  const { calls } = spec.wasm(op, inputs, spec.infer(op, inputs));
  return runtime.threads > 1 && calls.some((call) => chunksOf(runtime, call, false).length > whole().length);
}
