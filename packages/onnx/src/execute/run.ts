/**
 * Runs a schedule. Results of claimed regions stay on MSD's device until their last use. ONNX Runtime gets them as
 * views, which it copies before it does anything else; the caller gets copies in its own arrays.
 */
import { isNative, type OrtModule, type OrtRunOptions, type OrtTensor, usesProxy } from '../ort.ts';
import type { CopiedBytes } from '../report.ts';
import type { Watch } from './abort.ts';
import { fillTarget } from './bind.ts';
import type { ClaimedRegion, Values } from './claimed.ts';
import type { Running } from './control/body.ts';
import { fetchMissing } from './parts.ts';
import type { Parent, Plan, Workshop } from './plan.ts';
import type { Profile } from './profile.ts';
import { typedError } from './raw-errors.ts';
import type { ClaimedStep, ControlStep, ForeignStep, Schedule } from './schedule.ts';
import { copyOfTensor } from './snapshot.ts';
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
  readonly #path: string;
  readonly #values: Values;
  /** What the tensors of a run refer to whose elements lie in a cache. */
  #holder: object | undefined;

  /** @param path of the body that it runs, for messages: '' for the model itself */
  constructor(ort: OrtModule, shop: Workshop | undefined, slots: number, path = '') {
    this.#ort = ort;
    this.#shop = shop;
    this.#path = path;
    this.#values = new Array<Value | undefined>(slots).fill(undefined);
  }

  /** Begins a run. */
  begin(): void {
    this.copied = { intoOrt: 0, outOfOrt: 0, intoMsd: 0, outOfMsd: 0 };
    this.plans = [];
    this.#shop?.residents.backend.wake(); // while JavaScript looks at the inputs
    this.#holder = this.#shop?.kv.isLazy ? {} : undefined;
  }

  /** Puts an input into its slot. */
  feed(slot: number, value: Value): void {
    this.#values[slot] = value;
  }

  /** Ends a run: drops what it computed. */
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

  /** Runs a schedule without foreign steps, synchronously. @param before what lies on the device already */
  runSync(schedule: Schedule, before?: Parent): void {
    let plan = before;
    for (const step of schedule.steps) if (step.kind === 'claimed') plan = this.#claimed(step, plan);
  }

  /** Runs any schedule. @param watch of a run that somebody may stop @param profile is told what takes how long */
  async run(
    schedule: Schedule,
    options: OrtRunOptions,
    watch?: Watch,
    profile?: Profile,
    before?: Parent,
  ): Promise<void> {
    let plan = before;
    for (const step of schedule.steps) {
      const start = profile?.now() ?? 0;
      watch?.check();
      if (step.kind === 'foreign') await this.#foreign(step, options);
      else if (step.kind === 'control') await this.#control(step, { options, watch, profile, copied: this.copied });
      else {
        const isStepwise = watch !== undefined || profile !== undefined;
        try {
          plan = isStepwise ? await this.#stepByStep(step, plan, watch, profile) : this.#claimed(step, plan);
        } catch (error) {
          await fetchMissing(error);
          plan = await this.#stepByStep(step, plan, watch, profile);
        }
      }
      if (profile) {
        const [side, index] = step.kind === 'foreign' ? ['ort', step.region] : ['msd', step.index];
        profile.add('Session', `${side}_region_${this.#path}${index}`, start, {});
      }
    }
  }

  #claimed({ region }: ClaimedStep, parent: Parent | undefined): Plan {
    try {
      const plan = region.begin(this.#values, parent);
      plan.program.run();
      return this.#finished(region, plan);
    } catch (error) {
      throw typedError('run', error);
    } finally {
      region.forgetRun();
    }
  }

  #finished(region: ClaimedRegion, plan: Plan): Plan {
    region.finish(plan, this.copied);
    this.plans.push(plan);
    return plan;
  }

  async #stepByStep(
    { region }: ClaimedStep,
    parent: Parent | undefined,
    watch: Watch | undefined,
    profile: Profile | undefined,
  ): Promise<Plan> {
    try {
      const plan = region.begin(this.#values, parent);
      const { program, nodes } = plan;
      const kernels = profile && program.kernels;
      for (const [i, parts] of nodes.entries()) {
        const start = profile?.now() ?? 0;
        program.run(i, i + 1);
        const names = parts.flat();
        const args = { provider: 'MSD', nodes: names, kernels: kernels?.[i] ?? [] };
        profile?.add('Node', `${names[0] ?? 'step'}_kernel_time`, start, args);
        if (watch?.isDue) await watch.turn();
      }
      return this.#finished(region, plan);
    } catch (error) {
      throw typedError('run', error);
    } finally {
      region.forgetRun();
    }
  }

  async #control({ control, given, outputs }: ControlStep, running: Running): Promise<void> {
    const tensors = given.map((each) =>
      typeof each === 'number' ? tensorOf(this.#values[each]!, this.#ort, this.#shop?.device, this.#holder) : each,
    );
    let results: readonly OrtTensor[];
    try {
      results = await control.run(tensors, running);
    } catch (error) {
      throw typedError('run', error);
    }
    for (const { body } of control.bodies) this.plans.push(...body.plans);
    for (const [i, slot] of outputs.entries()) if (slot >= 0) this.#values[slot] = valueOfTensor(results[i]!);
  }

  async #foreign(step: ForeignStep, options: OrtRunOptions): Promise<void> {
    const { fetches } = step;
    const results = await step.run(() => this.#feedsOf(step), fetches, options);
    for (let i = 0; i < fetches.length; i++) {
      const tensor = results[fetches[i]!]!;
      this.copied.outOfOrt += byteLengthOf(tensor);
      this.#values[step.outputs[i]!] = valueOfTensor(tensor);
    }
  }

  #feedsOf(step: ForeignStep): Record<string, OrtTensor> {
    const copies = usesProxy(this.#ort) || isNative(this.#ort); // buffers are taken away, or read later: it gets its own
    const feeds: Record<string, OrtTensor> = Object.create(null); // any name, also __proto__
    for (const { name, slot } of step.inputs) {
      const tensor = viewOf(this.#values[slot]!, this.#ort, this.#shop?.device);
      this.copied.intoOrt += byteLengthOf(tensor);
      feeds[name] = copies ? copyOfTensor(this.#ort, tensor) : tensor;
    }
    for (const { name, tensor } of step.constants) {
      this.copied.intoOrt += byteLengthOf(tensor);
      feeds[name] = copies ? copyOfTensor(this.#ort, tensor) : tensor;
    }
    return feeds;
  }
}

function byteLengthOf({ data }: OrtTensor): number {
  return ArrayBuffer.isView(data) ? data.byteLength : 0;
}
