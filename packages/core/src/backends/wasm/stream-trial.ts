/**
 * How many streams of weights a kernel of one row reads where they lie beyond the caches. That depends on the CPU, its memory and who
 * else uses it, so kernels are timed while they are used: calls of the same shape, as layers have them, take them in turns until the sums
 * decide. They give the same bits.
 */
import type { GemmOptions } from '../../gemm/options.ts';

/** Bytes in use, of weights for the most part, from which on kernels are compared: caches may hold less than that. */
export const LARGE_BYTES = 2 ** 25;
/** Calls of a shape that are compared for each kernel. The slowest one does not count: it may have waited for a core, or for its code. */
const CALLS = 4;
/** Multiplications with each kernel that decide: three tokens of a decoder with 0.5B parameters. */
const ENOUGH_MACS = 2 ** 28;
/** Share of the first kernel's time that another one has to stay below. */
const CLEARLY = 0.97;

/** Kernels that do the same, the one to begin with first. */
export class StreamTrial {
  readonly kernels: readonly GemmOptions[];
  readonly #shapes = new Map<string, TrialShape>();
  readonly #times: number[];
  #macs = 0;
  #chosen: number | undefined;

  constructor(kernels: readonly GemmOptions[]) {
    this.kernels = kernels;
    this.#times = kernels.map(() => 0);
  }

  /** The fastest kernel, by number, once that is known. */
  get chosen(): number | undefined {
    return this.#chosen;
  }

  /** Calls of a shape. @param macs multiplications of each */
  shape(key: string, macs: number): TrialShape {
    let shape = this.#shapes.get(key);
    if (!shape) this.#shapes.set(key, (shape = new TrialShape(this, macs)));
    return shape;
  }

  /** @param times milliseconds with each kernel */
  add(times: readonly number[], macs: number): void {
    if (this.#chosen !== undefined) return;
    times.forEach((time, i) => {
      this.#times[i] += time;
    });
    this.#macs += macs;
    if (this.#macs < ENOUGH_MACS) return;
    const least = Math.min(...this.#times);
    this.#chosen = least < CLEARLY * this.#times[0] ? this.#times.indexOf(least) : 0;
  }
}

/** Calls of one shape in a trial. */
export class TrialShape {
  readonly trial: StreamTrial;
  readonly #macs: number;
  /** Of each kernel. */
  readonly #times: number[][];
  #turn = 0;

  constructor(trial: StreamTrial, macs: number) {
    this.trial = trial;
    this.#macs = macs;
    this.#times = trial.kernels.map(() => []);
  }

  /** Number of the kernel that the next call takes. */
  get turn(): number {
    return this.trial.chosen ?? this.#turn;
  }

  /** @param elapsed milliseconds of the call whose turn it was */
  add(elapsed: number): void {
    const times = this.#times;
    times[this.#turn].push(elapsed);
    this.#turn = (this.#turn + 1) % times.length;
    if (this.#turn > 0 || times[0].length < CALLS) return;
    const sums = times.map((of) => of.reduce((sum, time) => sum + time, 0) - Math.max(...of));
    for (const of of times) of.length = 0;
    this.trial.add(sums, (CALLS - 1) * this.#macs);
  }
}
