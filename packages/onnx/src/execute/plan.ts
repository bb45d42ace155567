/**
 * A claimed region planned for the sizes that it depends on: a program, run many times. Values that outlive the region have places
 * of their own; what is planned after it is planned around them. Everything else lies in one block that all programs share.
 */
import type { ArenaHandle, PlanOptions, PreparedWeights } from '@msd/core';
import { byteLength, type Device, elementCount, Program, type Slot as ProgramSlot, type Step } from '@msd/core/program';
import type { TypedGraph } from '../ir/infer.ts';
import type { Concrete, Info } from '../ir/info.ts';
import type { Slot } from '../ops/lowering.ts';
import type { RegionCode } from '../plan/code.ts';
import { draftRegion } from '../plan/draft.ts';
import { type Fused, fuse, type ProductsStep, readsOf, writesOf } from '../plan/fuse.ts';
import { type Block, Layout, type Place, type Space } from './memory.ts';
import type { Residents } from './residents.ts';

/** A value on the device that later regions may need. */
export interface Live {
  readonly slot: Slot;
  readonly handle: ArenaHandle;
  /** Absent: it lies in memory of its own. */
  readonly place: Place | undefined;
}

/** What plans are made with. */
export interface Workshop {
  readonly typed: TypedGraph;
  readonly device: Device<ArenaHandle, PreparedWeights>;
  readonly residents: Residents;
  /** Of values that regions hand to each other. */
  readonly space: Space;
  /** Of values inside a region. */
  readonly block: Block;
  /** How activations become integers. */
  readonly split: PlanOptions;
}

/** A step of a plan that is no call of the device. */
export type JsStep = Extract<Fused['step'], { kind: 'upload' | 'host' | 'rows' }>;

export interface Plan {
  /** Sizes and elements that it was made for. */
  readonly key: readonly number[];
  /** The plan of the regions before. */
  readonly parent: Plan | undefined;
  readonly program: Program<ArenaHandle>;
  /** Names of the nodes that each step stands for; of products, those of each one. */
  readonly nodes: readonly (readonly (readonly string[])[])[];
  /** What lies on the device after the region, by name. */
  readonly live: ReadonlyMap<string, Live>;
  /** Outputs that are the same in every run of this plan. */
  readonly known: ReadonlyMap<string, Concrete>;
}

/**
 * @param infos of the region's inputs, as far as the plan depends on them
 * @param ends values that nobody needs after this region
 * @param script what a step of JavaScript does; `at` says where its result lies
 */
export function makePlan(
  shop: Workshop,
  code: RegionCode,
  infos: ReadonlyMap<string, Info>,
  key: readonly number[],
  parent: Plan | undefined,
  ends: ReadonlySet<string>,
  script: (step: JsStep, at: () => ArenaHandle) => () => void,
): Plan {
  const { typed, residents, space, device } = shop;
  const before = parent?.live ?? new Map<string, Live>();
  const elsewhere = new Map<Slot, Live>();
  const outside = new Map<string, Slot>();
  for (const [name, value] of [...residents.values, ...before]) {
    outside.set(name, value.slot);
    elsewhere.set(value.slot.root, value);
  }
  const draft = draftRegion(typed, code, infos, outside);
  const fused = fuse(draft.steps, draft.slots.values(), (matrix) => residents.matrix(matrix).K);
  const layout = new Layout(space, new Set([...before.values()].flatMap(({ place }) => place ?? [])));
  for (const { root } of draft.slots.values()) {
    if (elsewhere.has(root)) continue;
    const place = layout.place(byteLength(root));
    elsewhere.set(root, { slot: root, handle: space.at(place, byteLength(root)), place });
  }
  const slots: ProgramSlot<ArenaHandle>[] = [];
  const numbers = new Map<Slot, number>();
  const numberOf = ({ root }: Slot): number => {
    let number = numbers.get(root);
    if (number === undefined) {
      number = slots.length;
      numbers.set(root, number);
      slots.push({ byteLength: byteLength(root), at: elsewhere.get(root)?.handle });
    }
    return number;
  };
  const steps: Step[] = [];
  const nodes: (readonly (readonly string[])[])[] = [];
  for (const { step, nodes: names } of fused) {
    if (step.kind === 'products' || step.kind === 'op') {
      if (writesOf(step).every((slot) => elementCount(slot.dims) === 0)) continue;
      steps.push(step.kind === 'op' ? opStep(step, numberOf) : productsStep(shop, step, numberOf));
    } else {
      const writes = writesOf(step).map(numberOf);
      const at = (): ArenaHandle => program.handle(writes[0]!);
      steps.push({ kind: 'script', run: script(step, at), reads: readsOf(step).map(numberOf), writes });
    }
    nodes.push(step.kind === 'products' ? step.nodes : [names]);
  }
  const program = new Program<ArenaHandle>(device as Device<ArenaHandle>, slots, steps);
  const live = new Map<string, Live>();
  for (const [name, value] of before) if (!ends.has(name)) live.set(name, value);
  for (const [name, slot] of draft.slots) live.set(name, { ...elsewhere.get(slot.root)!, slot });
  return { key, parent, program, nodes, live, known: draft.known };
}

function opStep(
  { spec, op, inputs, outputs }: Extract<Fused['step'], { kind: 'op' }>,
  numberOf: (slot: Slot) => number,
): Step {
  const operands = [...inputs, ...outputs].map((slot) => slot && numberOf(slot));
  const work = { kind: 'op' as const, spec, op: op as never, inputs };
  return { kind: 'work', work, operands, writes: outputs.map((_, i) => inputs.length + i) };
}

function productsStep(
  { residents, split }: Workshop,
  { x, each }: ProductsStep,
  numberOf: (slot: Slot) => number,
): Step {
  const matrices = each.map(({ matrix }) => residents.matrix(matrix));
  const operands = [x, ...each.flatMap(({ bias, multiply, residual, y }) => [bias, multiply, residual, y])];
  const work = {
    kind: 'product' as const,
    matrices,
    M: elementCount(x.dims) / matrices[0]!.K,
    each: each.map(({ activation }) => ({ activation })),
    ...split,
  };
  return {
    kind: 'work',
    work,
    operands: operands.map((slot) => slot && numberOf(slot)),
    writes: each.map((_, i) => 4 * (i + 1)),
  };
}
