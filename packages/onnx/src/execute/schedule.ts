/**
 * From regions to steps over numbered slots, with everything that a run would otherwise look up decided beforehand. A
 * schedule belongs to one set of wanted outputs, and leaves out everything that they do not need.
 */
import type { OrtTensor } from '../ort.ts';
import type { Match } from '../passes/matcher.ts';
import { regionCode } from '../plan/code.ts';
import { ClaimedRegion } from './claimed.ts';
import type { RunnableControl } from './control/runner.ts';
import type { ForeignRegion } from './foreign.ts';
import type { Workshop } from './plan.ts';

/** One run of an ONNX Runtime session. */
export interface ForeignStep {
  readonly kind: 'foreign';
  readonly region: number;
  readonly run: ForeignRegion['run'];
  readonly inputs: readonly { readonly name: string; readonly slot: number }[];
  readonly constants: readonly { readonly name: string; readonly tensor: OrtTensor }[];
  readonly fetches: readonly string[];
  /** Slots of `fetches`. */
  readonly outputs: readonly number[];
}

export interface ClaimedStep {
  readonly kind: 'claimed';
  readonly region: ClaimedRegion;
  /** Index of the region. */
  readonly index: number;
  /** Slots that it may read. */
  readonly inputs: readonly number[];
}

/** Control flow whose bodies are planned. */
export interface ControlStep {
  readonly kind: 'control';
  readonly control: RunnableControl;
  readonly index: number;
  /** Slots that it reads; constants. */
  readonly given: readonly (number | OrtTensor)[];
  readonly inputs: readonly number[];
  /** Slots of its outputs; −1 for those that nobody needs. */
  readonly outputs: readonly number[];
}

/** What one run does. */
export interface Schedule {
  readonly steps: readonly (ClaimedStep | ForeignStep | ControlStep)[];
  /** Runs of ONNX Runtime among them; of bodies those of one pass. */
  readonly foreignRuns: number;
  /** Nothing in it has to be awaited. */
  readonly isSync: boolean;
  /** Slots that are read after something was waited for: by the first run of ONNX Runtime and all that follows. */
  readonly late: ReadonlySet<number>;
}

/** Regions in order of execution: what schedules are made from. */
export type RegionPlan = readonly (ForeignRegion | ControlRegion | { readonly matches: readonly Match[] })[];

/** A region that is control flow. */
export interface ControlRegion {
  readonly index: number;
  readonly control: RunnableControl;
  /** Names of values; constants. */
  readonly given: readonly (string | OrtTensor)[];
  /** Those of the node. */
  readonly outputs: readonly string[];
}

/** Numbers the values of a plan. */
export class Slots {
  readonly #slots = new Map<string, number>();

  /** The slot of a value; new names get the next number. */
  of(name: string): number {
    let slot = this.#slots.get(name);
    if (slot === undefined) {
      slot = this.#slots.size;
      this.#slots.set(name, slot);
    }
    return slot;
  }

  get size(): number {
    return this.#slots.size;
  }
}

/** Makes the schedule that computes some outputs. */
export function makeSchedule(
  regions: RegionPlan,
  slots: Slots,
  wanted: ReadonlySet<string>,
  shop: Workshop | undefined,
): Schedule {
  const needed = new Set(wanted);
  const used = new Set(wanted);
  const steps: (ClaimedStep | ForeignStep | ControlStep)[] = [];
  // Backwards: the first use met is the last one of a run.
  const endsAt = (names: readonly string[]): Set<string> => {
    const ends = new Set(names.filter((name) => !used.has(name)));
    for (const name of names) used.add(name);
    return ends;
  };
  for (const region of regions.toReversed()) {
    if ('session' in region) {
      const outputs = region.outputs.filter((output) => needed.has(output.value));
      if (outputs.length === 0) continue;
      for (const { value } of region.inputs) {
        needed.add(value);
        used.add(value);
      }
      steps.push({
        kind: 'foreign',
        region: region.index,
        run: region.run,
        inputs: region.inputs.map(({ name, value }) => ({ name, slot: slots.of(value) })),
        constants: region.constants,
        fetches: outputs.map((output) => output.name),
        outputs: outputs.map((output) => slots.of(output.value)),
      });
      continue;
    }
    if ('control' in region) {
      const { control, index, given, outputs } = region;
      if (!outputs.some((name) => needed.has(name))) continue;
      const names = given.filter((each) => typeof each === 'string');
      for (const name of names) {
        needed.add(name);
        used.add(name);
      }
      steps.push({
        kind: 'control',
        control,
        index,
        given: given.map((each) => (typeof each === 'string' ? slots.of(each) : each)),
        inputs: names.map((name) => slots.of(name)),
        outputs: outputs.map((name) => (needed.has(name) ? slots.of(name) : -1)),
      });
      continue;
    }
    const outputs = new Set(region.matches.flatMap((match) => match.outputs).filter((name) => needed.has(name)));
    const matches = neededMatches(region.matches, needed);
    if (matches.length === 0) continue;
    const code = regionCode(shop!.typed, matches, [...outputs]);
    for (const name of code.inputs) needed.add(name);
    const ends = endsAt(code.inputs);
    steps.push({
      kind: 'claimed',
      region: new ClaimedRegion(shop!, code, (name) => slots.of(name), ends),
      index: regions.indexOf(region),
      inputs: code.inputs.map((name) => slots.of(name)),
    });
  }
  steps.reverse();
  const late = new Set<number>();
  const first = steps.findIndex(({ kind }) => kind !== 'claimed');
  for (const step of first < 0 ? [] : steps.slice(first))
    for (const input of step.inputs) late.add(typeof input === 'number' ? input : input.slot);
  const foreignRuns = steps.reduce((sum, step) => sum + runsOf(step), 0);
  return { steps, foreignRuns, isSync: steps.every(({ kind }) => kind === 'claimed'), late };
}

/** Runs of ONNX Runtime that a step is: of a body with several ways, those of the longest. */
function runsOf(step: Schedule['steps'][number]): number {
  if (step.kind !== 'control') return step.kind === 'foreign' ? 1 : 0;
  const bodies = step.control.bodies.map(({ body }) => Math.max(...body.ways.map(({ all }) => all.foreignRuns)));
  return Math.max(...bodies);
}

/** Those of a region's matches that something needed depends on; `needed` grows by what they need. */
function neededMatches(matches: readonly Match[], needed: Set<string>): Match[] {
  const kept: Match[] = [];
  for (const match of matches.toReversed()) {
    if (!match.outputs.some((name) => name !== '' && needed.has(name))) continue;
    for (const name of match.inputs) if (name !== '') needed.add(name);
    kept.push(match);
  }
  return kept.reverse();
}
