/** A bound call: its dispatches, which are described again when something that they bind is gone. */
import type { Call, Work } from '../device.ts';
import type { GpuBinding } from './api.ts';
import type { Dispatch } from './dispatch.ts';
import type { Live } from './live.ts';
import type { GpuWeights } from './weights.ts';

/** Checks where operands lie, and describes what runs on them. */
export type Describe = (operands: readonly (GpuBinding | undefined)[]) => readonly Dispatch[];

export class GpuCall implements Call<GpuBinding> {
  readonly work: Work<GpuWeights>;
  readonly live: Live;
  readonly #describe: Describe;
  #operands: readonly (GpuBinding | undefined)[];
  #dispatches: readonly Dispatch[];
  #epoch = 0;

  /** @param live whose buffers these are */
  constructor(work: Work<GpuWeights>, operands: readonly (GpuBinding | undefined)[], live: Live, describe: Describe) {
    this.work = work;
    this.live = live;
    this.#describe = describe;
    this.#operands = operands.slice();
    this.#dispatches = this.#described();
  }

  get operands(): readonly (GpuBinding | undefined)[] {
    return this.#operands;
  }

  get kernels(): readonly string[] {
    return this.#dispatches.map(({ id }) => id);
  }

  get dispatches(): readonly Dispatch[] {
    return this.#dispatches;
  }

  /** Is everything that it binds still there? */
  get isCurrent(): boolean {
    return this.#epoch === this.live.epoch;
  }

  renew(): void {
    this.#dispatches = this.#described();
  }

  /**
   * Puts operands elsewhere.
   * @throws {@link RangeError} for places that do not fit; the call has not changed then
   */
  change(changed: Readonly<Record<number, GpuBinding>>): void {
    const before = this.#operands;
    this.#operands = before.map((operand, i) => {
      if (operand === undefined && changed[i])
        throw new RangeError(`run: operand ${i} was absent when the call was bound, and must stay absent.`);
      return changed[i] ?? operand;
    });
    try {
      this.#dispatches = this.#described();
    } catch (error) {
      this.#operands = before;
      throw error;
    }
  }

  /** Describing may itself replace a working buffer that is too small: until it has not. */
  #described(): readonly Dispatch[] {
    for (;;) {
      const { epoch } = this.live;
      const dispatches = this.#describe(this.#operands);
      if (epoch !== this.live.epoch) continue;
      this.#epoch = epoch;
      return dispatches;
    }
  }
}
