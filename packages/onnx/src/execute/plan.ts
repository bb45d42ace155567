/**
 * A claimed region bound to addresses: made once for the sizes that it depends on, run many times. Values that outlive the region
 * keep their places, so what is planned after it is planned around them.
 */
import type { ArenaHandle, PlanOptions, PreparedWeights } from '@msd/core';
import { byteLength, type Call, type Device, elementCount } from '@msd/core/program';
import type { TypedGraph } from '../ir/infer.ts';
import type { Concrete, Info } from '../ir/info.ts';
import type { Slot } from '../ops/lowering.ts';
import type { RegionCode } from '../plan/code.ts';
import { draftRegion } from '../plan/draft.ts';
import { type Fused, fuse, type ProductsStep, readsOf, writesOf } from '../plan/fuse.ts';
import { Layout, type Place, type Space } from './memory.ts';
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
  readonly space: Space;
  /** How activations become integers. */
  readonly split: PlanOptions;
}

/** A step of a plan that is no call of the device. */
export type JsStep = Extract<Fused['step'], { kind: 'upload' | 'host' | 'rows' }>;

export interface BoundStep {
  /** One of the two. */
  readonly call: Call<ArenaHandle> | undefined;
  readonly js: { readonly step: JsStep; readonly handle: ArenaHandle | undefined } | undefined;
  readonly nodes: readonly string[];
}

export interface Plan {
  /** Sizes and elements that it was made for. */
  readonly key: readonly number[];
  /** The plan of the regions before. */
  readonly parent: Plan | undefined;
  readonly steps: readonly BoundStep[];
  /** What lies on the device after the region, by name. */
  readonly live: ReadonlyMap<string, Live>;
  /** Outputs that are the same in every run of this plan. */
  readonly known: ReadonlyMap<string, Concrete>;
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
  parent: Plan | undefined,
  ends: ReadonlySet<string>,
): Plan {
  const { typed, residents } = shop;
  const before = parent?.live ?? new Map<string, Live>();
  const handles = new Map<Slot, ArenaHandle>();
  const outside = new Map<string, Slot>();
  for (const [name, { slot, handle }] of [...residents.values, ...before]) {
    outside.set(name, slot);
    handles.set(slot.root, handle);
  }
  const draft = draftRegion(typed, code, infos, outside);
  const steps = fuse(draft.steps, (matrix) => residents.matrix(matrix).K);
  const places = placeValues(shop, steps, [...draft.slots.values()], before, handles);
  const bound = steps.map((step) => bindStep(shop, step, handles));
  const live = new Map<string, Live>();
  for (const [name, value] of before) if (!ends.has(name)) live.set(name, value);
  for (const [name, slot] of draft.slots)
    live.set(name, { slot, handle: handles.get(slot.root)!, place: places.get(slot.root) });
  return { key, parent, steps: bound, live, known: draft.known };
}

/** Gives every value of the region a place for as long as it lives. */
function placeValues(
  { space }: Workshop,
  steps: readonly Fused[],
  leaving: readonly Slot[],
  before: ReadonlyMap<string, Live>,
  handles: Map<Slot, ArenaHandle>,
): Map<Slot, Place> {
  const places = new Map<Slot, Place>();
  for (const { slot, place } of before.values()) if (place) places.set(slot.root, place);
  const layout = new Layout(space, [...new Set(places.values())]);
  const lastUse = new Map<Slot, number>();
  for (const [i, { step }] of steps.entries())
    for (const slot of [...readsOf(step), ...writesOf(step)]) lastUse.set(slot.root, i);
  for (const slot of leaving) lastUse.set(slot.root, Number.POSITIVE_INFINITY);
  const own = new Set<Slot>();
  for (const [i, { step }] of steps.entries()) {
    const touched = [...readsOf(step), ...writesOf(step)].map(({ root }) => root);
    for (const root of writesOf(step).map((slot) => slot.root)) {
      if (handles.has(root)) continue;
      const bytes = byteLength(root);
      const taken = inPlace(
        step,
        root,
        (input) => own.has(input) && lastUse.get(input) === i && byteLength(input) === bytes,
      );
      const place = taken ? places.get(taken)! : layout.place(bytes);
      if (taken) own.delete(taken);
      own.add(root);
      places.set(root, place);
      handles.set(root, space.at(place, bytes));
    }
    for (const root of touched)
      if (own.has(root) && lastUse.get(root) === i) {
        own.delete(root);
        layout.free(places.get(root)!);
      }
  }
  return places;
}

/** The operand whose place a result may take over. */
function inPlace(step: Fused['step'], result: Slot, isFree: (input: Slot) => boolean): Slot | undefined {
  if (step.kind !== 'op' || !step.spec.inPlace) return undefined;
  const output = step.outputs.findIndex(({ root }) => root === result);
  for (const [i, input] of step.inputs.entries()) {
    const others = step.inputs.some((other, j) => j !== i && other?.root === input?.root);
    if (input && !others && isFree(input.root) && step.spec.inPlace(step.op as never, output, i)) return input.root;
  }
  return undefined;
}

function bindStep(
  { device, residents, split }: Workshop,
  { step, nodes }: Fused,
  handles: ReadonlyMap<Slot, ArenaHandle>,
): BoundStep {
  const at = (slot: Slot | undefined): ArenaHandle | undefined => slot && handles.get(slot.root);
  if (step.kind === 'upload' || step.kind === 'host' || step.kind === 'rows') {
    const handle = step.kind === 'upload' ? at(step.to) : step.kind === 'rows' ? at(step.y) : undefined;
    return { call: undefined, js: { step, handle }, nodes };
  }
  if (step.kind === 'products') return { call: bindProducts(device, residents, split, step, at), js: undefined, nodes };
  const operands = [...step.inputs, ...step.outputs].map(at);
  const call = device.bind({ kind: 'op', spec: step.spec, op: step.op as never, inputs: step.inputs }, operands);
  return { call, js: undefined, nodes };
}

function bindProducts(
  device: Workshop['device'],
  residents: Residents,
  split: PlanOptions,
  { x, each }: ProductsStep,
  at: (slot: Slot | undefined) => ArenaHandle | undefined,
): Call<ArenaHandle> | undefined {
  const matrices = each.map(({ matrix }) => residents.matrix(matrix));
  const M = elementCount(x.dims) / matrices[0]!.K;
  if (M === 0) return undefined;
  const operands = [at(x), ...each.flatMap(({ bias, multiply, residual, y }) => [bias, multiply, residual, y].map(at))];
  const ends = each.map(({ activation }) => ({ activation }));
  return device.bind({ kind: 'product', matrices, M, each: ends, ...split }, operands);
}
