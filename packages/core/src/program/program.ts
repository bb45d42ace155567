/**
 * A program: steps over values, planned once for the shapes at hand and run many times. It depends on no framework and
 * no device: steps are calls of a device, or JavaScript functions.
 *
 *   slots    typed values. Where they lie is planned: in one block, shared by what never lives at the same time
 *   steps    work with the slots that it reads and writes, or a function
 *   bind     gives the program its block; every call is bound to addresses then
 *   run      runs the calls in order. Nothing is allocated
 *
 * Programs that run one after the other (the regions of a session, one program per shape signature) may share a block of the
 * size of the largest one.
 */
import type { Call, Changes, Device, Work } from '../backends/device.ts';
import { mayReplace } from '../ops/op.ts';
import { type MemoryPlan, planMemory } from './memory-plan.ts';

/** A value of a program. */
export interface Slot<H> {
  readonly byteLength: number;
  /** The place of a slot that is not planned: weights, or values that outlive a run. */
  readonly at?: H | undefined;
  /** It is part of another slot, from a byte on: what Reshape makes of it. */
  readonly within?: { readonly slot: number; readonly begin: number } | undefined;
  /** The caller writes it before a run. */
  readonly isInput?: boolean | undefined;
  /** The caller reads it after a run. */
  readonly isOutput?: boolean | undefined;
}

/** Work of the device. `operands` are slots in the order of the work's operands; `undefined` for those that are absent. */
export interface WorkStep {
  readonly kind: 'work';
  readonly work: Work;
  readonly operands: readonly (number | undefined)[];
  /** Operands, by number, that it writes: all others are read. */
  readonly writes: readonly number[];
}

/** A function between calls: it fills a slot from a file, say. */
export interface ScriptStep {
  readonly kind: 'script';
  readonly run: () => void;
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  /** Ids of kernels that it runs, if any. */
  readonly kernels?: readonly string[] | undefined;
  /** What it computes, if it is such work: for forecasts of its time. */
  readonly work?: Work | undefined;
}

export type Step = WorkStep | ScriptStep;

export class Program<H> {
  readonly #device: Device<H>;
  readonly #slots: readonly Slot<H>[];
  readonly #steps: readonly Step[];
  readonly #plan: Placement;
  #handles: readonly H[] = [];
  #calls: readonly (Call<H> | (() => void))[] = [];
  /** By step: new places of its operands after the block was replaced, until the step has run. */
  #moved: (Readonly<Record<number, H>> | undefined)[] | undefined;

  /** Plans the memory; call `bind` next. Slots and steps belong to the program from then on. */
  constructor(device: Device<H>, slots: readonly Slot<H>[], steps: readonly Step[]) {
    this.#device = device;
    this.#slots = slots;
    this.#steps = steps;
    this.#plan = place(device, slots, steps);
  }

  /** Bytes of the block that `bind` takes. */
  get byteLength(): number {
    return this.#plan.byteLength;
  }

  /** Ids of the kernels of each step, once it is bound; for functions, the ids that they state. */
  get kernels(): readonly (readonly string[])[] {
    return this.#steps.map((step, i) => {
      const call = this.#calls[i];
      return step.kind === 'script' ? (step.kernels ?? []) : typeof call === 'object' ? call.kernels : [];
    });
  }

  /** What each step computes; `undefined` for functions that do not tell. */
  get works(): readonly (Work | undefined)[] {
    return this.#steps.map(({ work }) => work);
  }

  /**
   * Binds every call to its addresses. After the first time, another block costs little: steps get the new places of
   * their operands when they run.
   * @param block at least {@link byteLength} bytes; stays the caller's, and has to live as long as the program runs
   */
  bind(block: H): void {
    const device = this.#device;
    const placed: H[] = [];
    const handleOf = (index: number): H => {
      const { at, within, byteLength } = this.#slots[index];
      if (at !== undefined) return at;
      if (within) return device.part(handleOf(within.slot), within.begin, byteLength);
      return device.part(block, this.#plan.offsets[index], byteLength);
    };
    for (const index of this.#slots.keys()) placed.push(handleOf(index));
    const operandsOf = ({ operands }: WorkStep) =>
      operands.map((slot) => (slot === undefined ? undefined : placed[slot]));
    if (this.#handles.length === 0)
      this.#calls = this.#steps.map((step) =>
        step.kind === 'script' ? step.run : device.bind(step.work, operandsOf(step)),
      );
    else
      this.#moved = this.#steps.map((step) =>
        step.kind === 'script' ? undefined : (operandsOf(step) as Record<number, H>),
      );
    this.#handles = placed;
  }

  /** Where a slot lies. */
  handle(slot: number): H {
    return this.#handles[slot];
  }

  /** Runs steps [from, to); by default all. On a GPU, records them. */
  run(from = 0, to: number = this.#calls.length): void {
    const device = this.#device;
    let asked = from;
    for (let i = from; i < to; i++) {
      const call = this.#calls[i];
      if (typeof call === 'function') call();
      else {
        if (i >= asked && this.#isAhead(i)) asked = this.#ahead(i, to);
        device.run(call, this.#changesOf(i));
      }
    }
  }

  /**
   * Has the device do JavaScript's part of several attentions at once. One by one, between products whose weights flush the
   * caches, each would find none of its code and objects there.
   * @returns how far that went: functions may decide what attentions behind them are told
   */
  #ahead(from: number, to: number): number {
    const device = this.#device;
    let i = from;
    for (; i < to; i++) {
      const call = this.#calls[i];
      if (typeof call === 'function') break;
      if (this.#isAhead(i)) device.ahead?.(call, this.#changesOf(i));
    }
    return i;
  }

  #isAhead(index: number): boolean {
    const { work } = this.#steps[index];
    return work?.kind === 'attention' && work.isAlone === true;
  }

  /** New places of a step's operands, once. */
  #changesOf(step: number): Changes<H> | undefined {
    const moved = this.#moved;
    const operands = moved?.[step];
    if (!moved || !operands) return undefined;
    moved[step] = undefined;
    return { operands };
  }
}

interface Placement {
  /** By slot; meaningless for slots that lie elsewhere. */
  readonly offsets: readonly number[];
  readonly byteLength: number;
}

/** Lifetimes of the slots, then their places. */
function place<H>(device: Device<H>, slots: readonly Slot<H>[], steps: readonly Step[]): Placement {
  const rootOf = (index: number): number => {
    const { within } = slots[index];
    return within ? rootOf(within.slot) : index;
  };
  const first = new Array<number>(slots.length).fill(Number.POSITIVE_INFINITY);
  const last = new Array<number>(slots.length).fill(-1);
  const meets = (slot: number, step: number) => {
    const root = rootOf(slot);
    first[root] = Math.min(first[root], step);
    last[root] = Math.max(last[root], step);
  };
  slots.forEach(({ isInput, isOutput }, slot) => {
    if (isInput) meets(slot, -1);
    if (isOutput) meets(slot, steps.length);
  });
  steps.forEach((step, i) => {
    for (const slot of usesOf(step)) meets(slot, i);
  });
  const apart = (work: Work) => work.kind === 'op' && device.isShared?.(work) === true;
  const shared = sharedPlaces(slots, steps, first, last, rootOf, apart);
  // A place is in use as long as any slot that shares it. Its owner comes before the others.
  const lives: { readonly byteLength: number; from: number; to: number }[] = [];
  const placeOf = slots.map(({ at, byteLength }, slot): number => {
    const owner = shared[slot];
    if (owner !== slot || at !== undefined || last[slot] < first[slot]) return -1;
    return lives.push({ byteLength, from: first[slot], to: last[slot] }) - 1;
  });
  shared.forEach((owner, slot) => {
    const life = lives[placeOf[owner]];
    if (!life || last[slot] < 0) return;
    life.from = Math.min(life.from, first[slot]);
    life.to = Math.max(life.to, last[slot]);
  });
  const plan: MemoryPlan = planMemory(lives);
  const offsets = shared.map((owner) => plan.offsets[placeOf[owner]] ?? 0);
  return { offsets, byteLength: plan.byteLength };
}

function usesOf(step: Step): number[] {
  const slots = step.kind === 'script' ? [...step.reads, ...step.writes] : step.operands;
  return slots.filter((slot) => slot !== undefined);
}

/**
 * For each slot the one whose place it takes: itself, or an input of the step that writes it, where the op works in place and
 * nobody needs that input afterwards.
 * @param apart work that has to have places of its own
 */
function sharedPlaces(
  slots: readonly Slot<unknown>[],
  steps: readonly Step[],
  first: readonly number[],
  last: readonly number[],
  rootOf: (slot: number) => number,
  apart: (work: Work) => boolean,
): number[] {
  const shared = [...slots.keys()];
  steps.forEach((step, i) => {
    if (step.kind === 'script' || apart(step.work)) return;
    const taken = new Set<number>(); // one output per input
    for (const operand of step.writes) {
      const output = step.operands[operand];
      if (output === undefined || slots[output].at !== undefined || slots[output].within || first[output] !== i)
        continue;
      const input = inPlaceOperands(step.work, operand).find((from) => {
        const slot = step.operands[from];
        if (slot === undefined || taken.has(slot)) return false;
        const isAlone = rootOf(slot) === slot && last[slot] === i && slots[slot].at === undefined;
        const isOnce = step.operands.filter((other) => other !== undefined && rootOf(other) === slot).length === 1;
        return isAlone && isOnce && slots[slot].byteLength === slots[output].byteLength;
      });
      if (input === undefined) continue;
      const slot = step.operands[input]!;
      taken.add(slot);
      shared[output] = shared[slot];
    }
  });
  return shared;
}

/** Operands in whose place a written operand may lie. */
function inPlaceOperands(work: Work, written: number): number[] {
  if (work.kind === 'op') {
    const { spec, op, inputs } = work;
    const outputs = spec.infer(op, inputs);
    return [...inputs.keys()].filter((input) => mayReplace(work, outputs, written - inputs.length, input));
  }
  if (work.kind === 'attention') return [];
  // Operands of a product: x, then bias, multiply, residual, out of each matrix. Its `out` may be its residual, or its multiply.
  return [written - 1, written - 2];
}
