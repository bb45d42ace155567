/**
 * From regions to steps over numbered slots, with everything that a run would otherwise look up decided beforehand. A
 * schedule belongs to one set of wanted outputs: what they do not need is left out.
 */
import type { ArenaHandle, PreparedWeights } from '@msd/core';
import type { OrtSession, OrtTensor } from '../ort.ts';
import type { ForeignRegion } from './foreign.ts';

/** One matmul. */
export interface MatmulStep {
  readonly kind: 'matmul';
  /** For errors. */
  readonly node: string;
  readonly weights: PreparedWeights;
  readonly K: number;
  readonly N: number;
  readonly x: number;
  readonly y: number;
  /** A resident bias, or the slot of a computed one. */
  readonly bias: ArenaHandle | number | undefined;
  /** The caller wants y itself: it goes to JavaScript memory instead of the arena. */
  readonly wanted: boolean;
  /** Slots whose last use this is. */
  readonly frees: readonly number[];
}

/** One run of an ONNX Runtime session. */
export interface ForeignStep {
  readonly kind: 'foreign';
  readonly region: number;
  readonly session: OrtSession;
  readonly inputs: readonly { readonly name: string; readonly slot: number }[];
  readonly constants: readonly { readonly name: string; readonly tensor: OrtTensor }[];
  readonly fetches: readonly string[];
  /** Slots of `fetches`. */
  readonly outputs: readonly number[];
  readonly frees: readonly number[];
}

/** What one run does. */
export interface Schedule {
  readonly steps: readonly (MatmulStep | ForeignStep)[];
  /** Runs of ONNX Runtime among them. */
  readonly foreignRuns: number;
}

/** A claimed node, reduced to what runs need: nothing here refers to the file's bytes. */
export interface ClaimedNode {
  /** For errors and the report. */
  readonly node: string;
  readonly prepared: PreparedWeights;
  readonly K: number;
  readonly N: number;
  readonly x: string;
  readonly y: string;
  /** A resident bias, or the name of a computed one. */
  readonly bias: ArenaHandle | string | undefined;
}

/** Regions in order of execution: what schedules are made from. */
export type Plan = readonly (ForeignRegion | { readonly nodes: readonly ClaimedNode[] })[];

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
export function makeSchedule(plan: Plan, slots: Slots, wanted: ReadonlySet<string>): Schedule {
  const needed = new Set(wanted);
  const lastUse = new Set<string>();
  const steps: (MatmulStep | ForeignStep)[] = [];
  // Backwards: the first use met is the last one of a run.
  const freesOf = (inputs: readonly string[]): number[] => {
    const frees: number[] = [];
    for (const name of inputs) {
      needed.add(name);
      if (!lastUse.has(name) && !wanted.has(name)) frees.push(slots.of(name));
      lastUse.add(name);
    }
    return frees;
  };
  for (const region of plan.toReversed()) {
    if ('session' in region) {
      const outputs = region.outputs.filter((output) => needed.has(output.value));
      if (outputs.length === 0) continue;
      steps.push({
        kind: 'foreign',
        region: region.index,
        session: region.session,
        inputs: region.inputs.map(({ name, value }) => ({ name, slot: slots.of(value) })),
        constants: region.constants,
        fetches: outputs.map((output) => output.name),
        outputs: outputs.map((output) => slots.of(output.value)),
        frees: freesOf(region.inputs.map((input) => input.value)),
      });
      continue;
    }
    for (const { node, prepared, K, N, x, y, bias } of region.nodes.toReversed()) {
      if (!needed.has(y)) continue;
      const computed = typeof bias === 'string' ? [bias] : [];
      steps.push({
        kind: 'matmul',
        node,
        weights: prepared,
        K,
        N,
        x: slots.of(x),
        y: slots.of(y),
        bias: typeof bias === 'string' ? slots.of(bias) : bias,
        wanted: wanted.has(y),
        frees: freesOf([x, ...computed]),
      });
    }
  }
  steps.reverse();
  return { steps, foreignRuns: steps.filter((step) => step.kind === 'foreign').length };
}
