/**
 * Runs a schedule. Results of claimed regions stay on MSD's device until their last use; what ONNX Runtime needs is handed over
 * as a view, which it copies before it does anything else; what the caller asked for is copied to arrays of its own.
 */
import { createOrtTensor, type OrtModule, type OrtRunOptions, type OrtTensor, usesProxy } from '../ort.ts';
import type { CopiedBytes } from '../report.ts';
import { fillTarget } from './bind.ts';
import type { Values } from './claimed.ts';
import { isOutOfMemory } from './fast-form.ts';
import { foreignError } from './foreign.ts';
import type { Plan, Workshop } from './plan.ts';
import type { ForeignStep, Schedule } from './schedule.ts';
import { fillFromDevice, tensorOf, type Value, valueOfTensor, viewOf } from './value.ts';

type Copied = { -readonly [Key in keyof CopiedBytes]: CopiedBytes[Key] };

/** Executes schedules over one device. Runs must not overlap: the session sees to that. */
export class Executor {
  /** Of the last run. */
  copied: Copied = { intoOrt: 0, outOfOrt: 0, intoMsd: 0, outOfMsd: 0 };
  /** Plans of the last run, in order. */
  plans: Plan[] = [];
  readonly #ort: OrtModule;
  readonly #shop: Workshop | undefined;
  readonly #values: Values;
  /** What the tensors of a run refer to whose elements lie in a cache. */
  #holder: object | undefined;

  constructor(ort: OrtModule, shop: Workshop | undefined, slots: number) {
    this.#ort = ort;
    this.#shop = shop;
    this.#values = new Array<Value | undefined>(slots).fill(undefined);
  }

  /** Begins a run. */
  begin(): void {
    this.copied = { intoOrt: 0, outOfOrt: 0, intoMsd: 0, outOfMsd: 0 };
    this.plans = [];
    this.#holder = this.#shop?.kv.isLazy ? {} : undefined;
  }

  /** Puts an input into its slot. */
  feed(slot: number, tensor: OrtTensor): void {
    this.#values[slot] = valueOfTensor(tensor);
  }

  /** Ends a run: lets go of what it computed. */
  end(): void {
    this.#values.fill(undefined);
    this.#shop?.kv.keeper.endRun(this.#holder);
    this.#holder = undefined;
  }

  /** A result, from its slot: in `target` if there is one. */
  take(name: string, slot: number, target: OrtTensor | undefined | null): OrtTensor {
    const value = this.#values[slot]!;
    this.copied.outOfMsd += (value.handle ?? value.floats)?.byteLength ?? 0;
    if (!target) return tensorOf(value, this.#ort, this.#shop?.device, this.#holder);
    if (value.handle) return fillFromDevice(name, target, value, this.#shop!.device);
    return fillTarget(name, target, viewOf(value, this.#ort, this.#shop?.device));
  }

  /** Runs a schedule without foreign steps, synchronously. */
  runSync(schedule: Schedule): void {
    let plan: Plan | undefined;
    for (const step of schedule.steps) if (step.kind === 'claimed') plan = this.#claimed(step.region, plan);
  }

  /** Runs any schedule. */
  async run(schedule: Schedule, options: OrtRunOptions): Promise<void> {
    let plan: Plan | undefined;
    for (const step of schedule.steps) {
      if (step.kind === 'claimed') plan = this.#claimed(step.region, plan);
      else await this.#foreign(step, options);
    }
  }

  #claimed(
    region: { run(values: Values, parent: Plan | undefined, copied: Copied): Plan },
    parent: Plan | undefined,
  ): Plan {
    const plan = region.run(this.#values, parent, this.copied);
    this.plans.push(plan);
    return plan;
  }

  async #foreign(step: ForeignStep, options: OrtRunOptions): Promise<void> {
    const { session, fetches } = step;
    let results: Readonly<Record<string, OrtTensor>>;
    try {
      results = await session.run(this.#feedsOf(step), fetches, options).catch(async (error: unknown) => {
        if (!session.spare || !isOutOfMemory(error)) throw error;
        return (await session.spare()).run(this.#feedsOf(step), fetches, options);
      });
    } catch (error) {
      throw foreignError(`region ${step.region}`, error);
    }
    for (let i = 0; i < fetches.length; i++) {
      const tensor = results[fetches[i]!]!;
      this.copied.outOfOrt += byteLengthOf(tensor);
      this.#values[step.outputs[i]!] = valueOfTensor(tensor);
    }
  }

  #feedsOf(step: ForeignStep): Record<string, OrtTensor> {
    const copies = usesProxy(this.#ort);
    const feeds: Record<string, OrtTensor> = {};
    for (const { name, slot } of step.inputs) {
      const tensor = viewOf(this.#values[slot]!, this.#ort, this.#shop?.device);
      this.copied.intoOrt += byteLengthOf(tensor);
      feeds[name] = copies ? this.#copyOf(tensor) : tensor;
    }
    for (const { name, tensor } of step.constants) {
      this.copied.intoOrt += byteLengthOf(tensor);
      feeds[name] = copies ? this.#copyOf(tensor) : tensor;
    }
    return feeds;
  }

  /** In proxy mode ONNX Runtime takes buffers away; it gets its own. */
  #copyOf(tensor: OrtTensor): OrtTensor {
    const { data } = tensor;
    if (!ArrayBuffer.isView(data)) return tensor;
    const copy = (data as Uint8Array).slice();
    return createOrtTensor(this.#ort, tensor.type, copy, tensor.dims);
  }
}

function byteLengthOf({ data }: OrtTensor): number {
  return ArrayBuffer.isView(data) ? data.byteLength : 0;
}
