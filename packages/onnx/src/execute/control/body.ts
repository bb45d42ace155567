/** A body of control flow in a run: a cut graph like a session's, run once for each pass, on memory of its own. */
import type { Choice } from '../../inline/branches.ts';
import type { OrtModule, OrtRunOptions, OrtTensor } from '../../ort.ts';
import type { CopiedBytes } from '../../report.ts';
import type { Watch } from '../abort.ts';
import { chooseVariant } from '../choose.ts';
import { keptOf } from '../kv/lazy.ts';
import { passedTensor } from '../passed.ts';
import type { Parent, Plan } from '../plan.ts';
import type { Profile } from '../profile.ts';
import { Executor } from '../run.ts';
import { type Schedule, Slots } from '../schedule.ts';
import { valueOfTensor } from '../value.ts';
import { type CutVariant, makeWays, prepare, tidy, type Way } from '../ways.ts';
import { Held } from './held.ts';

/** The context of a run. */
export interface Running {
  readonly options: OrtRunOptions;
  /** Of a run that somebody may stop. */
  readonly watch: Watch | undefined;
  readonly profile: Profile | undefined;
  /** Adds up what passes copied. */
  readonly copied: { -readonly [Key in keyof CopiedBytes]: CopiedBytes[Key] };
}

export interface BodyModel {
  readonly ort: OrtModule;
  /** In reports. */
  readonly path: string;
  /** They share everything but types. */
  readonly variants: readonly CutVariant[];
  readonly choice: Choice;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

export class Body {
  readonly ways: readonly Way[];
  readonly #model: BodyModel;
  readonly #executor: Executor;
  readonly #places: ReadonlyMap<string, number>;
  readonly #inputSlots: readonly number[];
  readonly #slots = new Slots();
  readonly #held: Held;
  /** Inputs that steps may read on the device. */
  readonly #onDevice: ReadonlySet<string>;
  #parent: Parent | undefined;

  constructor(model: BodyModel) {
    const { ort, path, inputs, outputs, variants } = model;
    this.#model = model;
    this.#places = new Map(inputs.map((name, i) => [name, i]));
    this.#inputSlots = inputs.map((name) => this.#slots.of(name));
    this.ways = makeWays(variants, this.#slots, new Set(outputs));
    this.#executor = new Executor(ort, this.shop, this.#slots.size, `${path}/`);
    this.#held = new Held(this.shop.device);
    const read = new Set(
      this.ways.flatMap(({ all }) => all.steps.flatMap((step) => (step.kind === 'claimed' ? step.inputs : []))),
    );
    this.#onDevice = new Set(inputs.filter((name) => read.has(this.#slots.of(name))));
    for (const { all } of this.ways) prepare(all);
  }

  /** Bytes of the values that all passes share. */
  get heldBytes(): number {
    return this.#held.byteLength;
  }

  /** Before the passes: takes the values that all passes get. @param given the last of the inputs */
  hold(given: readonly OrtTensor[]): void {
    const names = this.#model.inputs.slice(-given.length);
    const values = given.map((tensor, i) => [names[i]!, tensor] as const);
    // Values in a cache stay there.
    const read = values.filter(([name, tensor]) => this.#onDevice.has(name) && !keptOf(tensor));
    this.#parent = this.#held.put(new Map(read));
  }

  get shop(): CutVariant['shop'] {
    return this.#model.variants[0]!.shop;
  }

  /** Plans of the last pass, in order. */
  get plans(): readonly Plan[] {
    return this.#executor.plans;
  }

  /** Other tasks need a turn: see the keeper. */
  get isDue(): boolean {
    return this.shop.kv.keeper.isDue;
  }

  /**
   * One pass. A promise only if something has to be waited for.
   *
   * @param given in the order of the inputs
   * @returns in the order of the outputs; a value that is passed on is the same tensor
   */
  run(given: readonly OrtTensor[], running: Running): OrtTensor[] | Promise<OrtTensor[]> {
    const { choice } = this.#model;
    const { device, space, kv } = this.shop;
    const fed = (name: string): OrtTensor => given[this.#places.get(name)!]!;
    const way = this.ways[chooseVariant(choice, fed, device)]!;
    tidy(this.ways, space, kv.keeper);
    this.#executor.begin();
    for (const [i, tensor] of given.entries()) this.#executor.feed(this.#inputSlots[i]!, valueOfTensor(tensor));
    const { watch, profile } = running;
    if (!way.all.isSync || watch || profile) return this.#runLater(way, way.all, fed, running);
    try {
      this.#executor.runSync(way.all, this.#parent);
      return this.#collect(way, fed, running);
    } finally {
      this.#executor.end();
    }
  }

  async #runLater(
    way: Way,
    schedule: Schedule,
    fed: (name: string) => OrtTensor,
    running: Running,
  ): Promise<OrtTensor[]> {
    const { options, watch, profile } = running;
    try {
      await this.#executor.run(schedule, options, watch, profile, this.#parent);
      return this.#collect(way, fed, running);
    } finally {
      this.#executor.end();
    }
  }

  #collect({ variant: { passed, same } }: Way, fed: (name: string) => OrtTensor, { copied }: Running): OrtTensor[] {
    const { ort, outputs } = this.#model;
    const results = outputs.map((output) => {
      const name = same.get(output) ?? output;
      const value = passed.get(name);
      if (!value) return this.#executor.take(name, this.#slots.of(name), undefined);
      return value.input === undefined ? passedTensor(value, fed, ort) : fed(value.input);
    });
    for (const key of ['intoOrt', 'outOfOrt', 'intoMsd', 'outOfMsd'] as const)
      copied[key] += this.#executor.copied[key];
    return results;
  }
}
