/** A kernel call with its arguments, run any number of times: on one thread, or in chunks on all of them. */
import type { KernelCall } from '../../kernel-spec.ts';
import { Job, type Shared } from '../../threads/job.ts';
import type { Kernel } from './kernels.ts';
import type { Runtime } from './runtime.ts';
import type { TrialShape } from './stream-trial.ts';

/** Kernels that do the same, of which the fastest one is to be found. */
export interface Rivals {
  readonly shape: TrialShape;
  /** In the trial's order. */
  readonly calls: readonly KernelCall[];
}

export class BoundKernel implements Shared {
  readonly job: Job;
  readonly next: BoundKernel | undefined;
  readonly #runtime: Runtime;
  #call: KernelCall;
  #kernel: Kernel | undefined;
  /** Of the memory that `#kernel` works on. */
  #generation = -1;
  readonly find = (): Kernel => this.#current();
  /** Until the fastest one is known. */
  #rivals: Rivals | undefined;

  /**
   * @param chunks table of where they lie, see plan/cut.ts
   * @param parts arguments of each part that chunks are of, where they are more than one
   * @param rivals of the kernel that it begins with
   * @param next goes on with each chunk, and is placed and run with this one; of the same chunks
   */
  constructor(
    runtime: Runtime,
    call: KernelCall,
    chunks: Int32Array,
    parts: readonly KernelCall['args'][] = [call.args],
    rivals?: Rivals,
    next?: BoundKernel,
  ) {
    this.#runtime = runtime;
    this.#call = call;
    this.job = new Job(parts, chunks);
    this.next = next;
    this.#rivals = rivals;
  }

  get id(): string {
    return this.#call.id;
  }

  /** Do threads share it? */
  get isShared(): boolean {
    return this.job.chunks > 1;
  }

  /** Says where everything of a part lies. @param addresses by operand */
  place(addresses: readonly number[], scratch?: number, part?: number): void {
    this.job.place(addresses, scratch, part);
    this.next?.place(addresses);
  }

  /**
   * @param repeatable may a chunk be computed twice? Not if the kernel changes what it reads
   * @param meanwhile work that only the calling thread can do, and that is independent of the kernel: done first, while
   * others begin
   * @returns false if a worker was lost in a chunk that may not be repeated: compute everything again that this kernel
   * reads
   */
  run(repeatable: boolean, meanwhile?: () => void): boolean {
    if (this.#rivals && !meanwhile) return this.#compare(this.#rivals, repeatable);
    return this.#run(repeatable, meanwhile);
  }

  /** Runs the kernel whose turn it is, and times it. */
  #compare({ shape, calls }: Rivals, repeatable: boolean): boolean {
    const call = calls[shape.turn];
    if (call !== this.#call) this.#kernel = undefined;
    this.#call = call;
    if (shape.trial.chosen !== undefined) {
      this.#rivals = undefined;
      return this.#run(repeatable);
    }
    this.#current();
    const start = performance.now();
    const isDone = this.#run(repeatable);
    shape.add(performance.now() - start);
    return isDone;
  }

  #run(repeatable: boolean, meanwhile?: () => void): boolean {
    const { job } = this;
    if (job.chunks > 1) return this.#runtime.team.run(this, this.#runtime.leave, repeatable, meanwhile);
    meanwhile?.();
    if (job.chunks === 1) this.#current()(...job.whole);
    this.next?.run(true);
    return true;
  }

  /** Emits and compiles the kernel if that was not done yet, and asks the engine to optimise it: the first run waits for that. */
  warmUp(): void {
    this.#runtime.kernels.get(this.#call);
  }

  #current(): Kernel {
    const { kernels } = this.#runtime;
    if (!this.#kernel || this.#generation !== kernels.generation) {
      this.#kernel = kernels.get(this.#call);
      this.#generation = kernels.generation;
      kernels.settle(this.#call);
    }
    return this.#kernel;
  }
}
