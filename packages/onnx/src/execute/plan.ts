/**
 * A claimed region planned for the sizes that it depends on: a program, run many times. Values that outlive the region
 * have places of their own, and later plans are made around them. Everything else lies in one block that all programs
 * share.
 */

import {
  type ArenaHandle,
  type AttentionRun,
  attentionWork,
  type DecompositionOptions,
  type KvCache,
  type KvType,
  type PreparedWeights,
} from '@msd/core';
import type { OpSpec } from '@msd/core/nn';
import { byteLength, type Device, Program, type Slot as ProgramSlot, type Step } from '@msd/core/program';
import { countOf } from '../dims.ts';
import type { TypedGraph } from '../ir/infer.ts';
import type { Concrete, Info } from '../ir/info.ts';
import { fetched } from '../ops/late.ts';
import type { AttentionStep, Part, Slot } from '../ops/lowering.ts';
import type { RegionCode } from '../plan/code.ts';
import { draftRegion } from '../plan/draft.ts';
import { type Fused, fuse, type ProductsStep, readsOf, writesOf } from '../plan/fuse.ts';
import { type Delivery, deliver, deliveredProducts } from './delivery.ts';
import type { Parts } from './families.ts';
import type { KvKeeper } from './kv/keeper.ts';
import { type Block, Layout, type Place, type Space } from './memory.ts';
import type { Residents } from './residents.ts';

/** A value on the device that later regions may need. */
export interface Live {
  readonly slot: Slot;
  readonly handle: ArenaHandle;
  /** Absent: it lies in memory of its own. */
  readonly place: Place | undefined;
}

/** What making plans needs. */
export interface Workshop {
  readonly parts: Pick<Parts, 'control' | 'keepPositions' | 'Experts' | 'Recurrent'>;
  readonly typed: TypedGraph;
  readonly device: Device<ArenaHandle, PreparedWeights>;
  readonly residents: Residents;
  /** Of values that regions hand to each other. */
  readonly space: Space;
  /** Of values inside a region. */
  readonly block: Block;
  /** How activations become integers. */
  readonly split: DecompositionOptions;
  readonly kv: {
    readonly keeper: KvKeeper;
    readonly type: KvType;
    /** Tensors of `present` may be made without their elements. */
    readonly isLazy: boolean;
  };
}

/** A step of a plan that is no call of the device. */
export type JsStep = Extract<Fused['step'], { kind: 'upload' | 'host' | 'rows' | 'computed' }>;

/** Makes the JavaScript functions of a plan. */
export interface Scripts {
  /** @param at where its result lies */
  script(step: JsStep, at: () => ArenaHandle): () => void;
  /** @param where for messages */
  attention(step: AttentionStep, where: string): () => AttentionRun<KvCache>;
}

/** What plans start from: values that lie on the device before them. */
export interface Parent {
  readonly live: ReadonlyMap<string, Live>;
}

export interface Plan extends Parent {
  /** Sizes and elements that it was made for. */
  readonly key: readonly number[];
  /** The plan of the regions before, or what a body holds for all passes. */
  readonly parent: Parent | undefined;
  readonly program: Program<ArenaHandle>;
  /** Names of the nodes that each step stands for; of products, those of each one. */
  readonly nodes: readonly (readonly (readonly string[])[])[];
  /** The number of keys of attentions in the last run, by step. */
  readonly keys: readonly (number | undefined)[];
  /** Values on the device after the region, by name. */
  readonly live: ReadonlyMap<string, Live>;
  /** Outputs that are the same in every run of this plan. */
  readonly known: ReadonlyMap<string, Concrete>;
  /** Outputs that a run leaves in arrays. */
  readonly delivered: ReadonlyMap<string, Delivery>;
}

/**
 * @param infos of the region's inputs, as far as the plan depends on them
 * @param ends values that nobody needs after this region
 */
export function makePlan(
  shop: Workshop,
  code: RegionCode,
  infos: ReadonlyMap<string, Info>,
  key: readonly number[],
  parent: Parent | undefined,
  ends: ReadonlySet<string>,
  scripts: Scripts,
): Plan {
  const { typed, residents, space, device, parts } = shop;
  const before = parent?.live ?? new Map<string, Live>();
  const elsewhere = new Map<Slot, Live>();
  const outside = new Map<string, Slot>();
  for (const [name, value] of [...residents.values, ...before]) {
    outside.set(name, value.slot);
    elsewhere.set(value.slot.root, value);
  }
  const draft = draftRegion(typed, code, infos, outside);
  const ordered = parts.keepPositions?.(draft.steps, draft.slots.values()) ?? draft.steps;
  const fused = fuse(ordered, draft.slots.values(), (matrix) => residents.matrix(matrix).K);
  const layout = new Layout(space, new Set([...before.values()].flatMap(({ place }) => place ?? [])));
  const large = deliveredProducts(typed.graph, fused, draft.slots);
  for (const [name, { root }] of draft.slots) {
    if (elsewhere.has(root) || large.has(name)) continue;
    const place = layout.place(byteLength(root));
    elsewhere.set(root, { slot: root, handle: space.at(place, byteLength(root)), place });
  }
  const slots: ProgramSlot<ArenaHandle>[] = [];
  const numbers = new Map<Slot, number>();
  const numberOf = (slot: Slot): number => {
    const { root, begin = 0 } = slot;
    if (begin > 0) return partOf({ slot: root, begin });
    let number = numbers.get(root);
    if (number === undefined) {
      number = slots.length;
      numbers.set(root, number);
      slots.push({ byteLength: byteLength(root), at: elsewhere.get(root)?.handle });
    }
    return number;
  };
  const partOf = ({ slot, begin }: Part): number => {
    const whole = numberOf(slot);
    if (begin === 0) return whole;
    slots.push({
      byteLength: byteLength(slot.root) - 4 * begin,
      at: undefined,
      within: { slot: whole, begin: 4 * begin },
    });
    return slots.length - 1;
  };
  const steps: Step[] = [];
  const nodes: (readonly (readonly string[])[])[] = [];
  const keys: (number | undefined)[] = [];
  const delivered = new Map<string, Delivery>();
  const nameOf = new Map([...large].map(([name, step]) => [step as Fused['step'], name] as const));
  const isAlone = aloneOf(fused);
  for (const { step, nodes: names } of fused) {
    const isEmpty = writesOf(step).every((slot) => countOf(slot.dims) === 0);
    if (step.kind === 'attention') {
      const ask = scripts.attention(step, `node '${names[0]}'`);
      const at = steps.length;
      const run = (): AttentionRun<KvCache> => {
        const now = ask();
        keys[at] = (now.past?.[0] ?? 0) + step.op.newKeys;
        return now;
      };
      const work = attentionWork(step.op, run, shop.kv.type, isAlone(step));
      steps.push({ kind: 'work', work, operands: attentionOperands(step, numberOf, partOf), writes: [6] });
    } else if (step.kind === 'products' && nameOf.has(step)) {
      const name = nameOf.get(step)!;
      const { dims } = draft.slots.get(name)!;
      const made = deliver(residents, shop.split, step, dims, numberOf, (number) => program.handle(number));
      steps.push(made.step);
      delivered.set(name, made.delivery);
    } else if (step.kind === 'products' || step.kind === 'op') {
      if (isEmpty) continue;
      steps.push(step.kind === 'op' ? opStep(step, numberOf) : productsStep(shop, step, numberOf));
    } else if (step.kind === 'experts' || step.kind === 'recurrent') {
      if (isEmpty) continue;
      const [reads, writes] = [readsOf(step).map(numberOf), writesOf(step).map(numberOf)];
      const handleOf = (slot: Slot): ArenaHandle => program.handle(numberOf(slot));
      const script =
        step.kind === 'experts' ? new parts.Experts!(shop, step, handleOf) : new parts.Recurrent!(shop, step, handleOf);
      steps.push({ kind: 'script', run: () => script.run(), reads, writes, kernels: script.kernels });
    } else {
      const writes = writesOf(step).map(numberOf);
      const at = (): ArenaHandle => program.handle(writes[0]!);
      steps.push({ kind: 'script', run: scripts.script(step, at), reads: readsOf(step).map(numberOf), writes });
    }
    nodes.push(step.kind === 'products' ? step.nodes : [names]);
  }
  const program = new Program<ArenaHandle>(device as Device<ArenaHandle>, slots, steps);
  const live = new Map<string, Live>();
  for (const [name, value] of before) if (!ends.has(name)) live.set(name, value);
  for (const [name, slot] of draft.slots)
    if (!delivered.has(name)) live.set(name, { ...elsewhere.get(slot.root)!, slot });
  return { key, parent, program, nodes, keys, live, known: draft.known, delivered };
}

function opStep(
  { spec, op, inputs, outputs }: Extract<Fused['step'], { kind: 'op' }>,
  numberOf: (slot: Slot) => number,
): Step {
  const operands = [...inputs, ...outputs].map((slot) => slot && numberOf(slot));
  const known = spec === 'elementwise' ? (fetched(spec) as OpSpec<never>) : spec;
  const work = { kind: 'op' as const, spec: known, op: op as never, inputs };
  return { kind: 'work', work, operands, writes: outputs.map((_, i) => inputs.length + i) };
}

/** Finds out whether an attention's keys and values go on from a past that no other one of the region has to do with. */
function aloneOf(fused: readonly Fused[]): (step: AttentionStep) => boolean {
  const users = new Map<string, Set<AttentionStep>>();
  for (const { step } of fused) {
    if (step.kind !== 'attention' || !step.cache) continue;
    const { past, present } = step.cache;
    for (const name of [past.key, past.value, present.key, present.value])
      users.set(name, (users.get(name) ?? new Set()).add(step));
  }
  return ({ cache }) =>
    cache !== undefined &&
    [cache.past.key, cache.past.value].every((name) => name !== '' && users.get(name)?.size === 1);
}

function attentionOperands(
  { q, k, v, sinks, bias, mask, y }: AttentionStep,
  numberOf: (slot: Slot) => number,
  partOf: (part: Part) => number,
): (number | undefined)[] {
  return [
    ...[q, k, v].map((part) => part && partOf(part)),
    ...[sinks, bias, mask, y].map((slot) => slot && numberOf(slot)),
  ];
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
    M: countOf(x.dims) / matrices[0]!.K,
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
