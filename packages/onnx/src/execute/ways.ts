/** Ways through a graph, as schedules: one for all outputs, and those for subsets of them that runs asked for. */
import type { Body } from './control/body.ts';
import type { KvKeeper } from './kv/keeper.ts';
import type { Space } from './memory.ts';
import type { PassedValue } from './passed.ts';
import type { Plan, Workshop } from './plan.ts';
import { makeSchedule, type RegionPlan, type Schedule, Slots } from './schedule.ts';

/** One way through a model. */
export interface CutVariant {
  readonly shop: Workshop;
  readonly plan: RegionPlan;
  /** Outputs that no region makes. */
  readonly passed: ReadonlyMap<string, PassedValue>;
  /** Outputs of a body that are others under a second name. */
  readonly same: ReadonlyMap<string, string>;
  /** The branches on it. */
  readonly taken: readonly string[];
}

/** A variant with what it runs. */
export interface Way {
  readonly variant: CutVariant;
  /** For all outputs. */
  readonly all: Schedule;
  /** For subsets of them, by their names. */
  readonly schedules: Map<string, Schedule>;
}

export const schedulesOf = ({ all, schedules }: Way): readonly Schedule[] => [all, ...schedules.values()];

/** Bodies of control flow on ways, those in bodies among them. */
export function bodiesOn(ways: readonly Way[]): ReadonlySet<Body> {
  const found = new Set<Body>();
  for (const { steps } of ways.flatMap(schedulesOf))
    for (const step of steps)
      for (const { body } of step.kind === 'control' ? step.control.bodies : []) {
        found.add(body);
        for (const inner of bodiesOn(body.ways)) found.add(inner);
      }
  return found;
}

/** Shapes that plans are kept for. Beyond, all are made anew: a server that meets every length must not grow. */
const MAX_PLANS = 16;

/** Ways of a session, planned for one token as far as that can be known. */
export interface PlannedWays {
  readonly slots: Slots;
  readonly ways: readonly Way[];
}

/** @param inputs names, which get the first slots */
export function planWays(
  variants: readonly CutVariant[],
  inputs: readonly string[],
  outputs: Iterable<string>,
): PlannedWays {
  const slots = new Slots();
  for (const name of inputs) slots.of(name);
  const ways = makeWays(variants, slots, new Set(outputs));
  for (const { all } of ways) prepare(all);
  return { slots, ways };
}

export function makeWays(variants: readonly CutVariant[], slots: Slots, outputs: ReadonlySet<string>): Way[] {
  return variants.map((variant) => ({
    variant,
    all: makeSchedule(variant.plan, slots, outputs, variant.shop),
    schedules: new Map<string, Schedule>(),
  }));
}

/** Drops plans that have become too many, or whose memory is scattered. */
export function tidy(ways: readonly Way[], space: Space, keeper: KvKeeper): void {
  if (!space.isScattered && !ways.some(hasMany)) return;
  for (const { steps } of ways.flatMap(schedulesOf))
    for (const step of steps) if (step.kind === 'claimed') step.region.forget();
  space.clear();
  keeper.clearScratch();
}

/** Drops plans but for those of the last run, in bodies, too. */
export function forgetButLast(ways: readonly Way[]): void {
  for (const { steps } of [...ways, ...[...bodiesOn(ways)].flatMap((body) => body.ways)].flatMap(schedulesOf))
    for (const step of steps) if (step.kind === 'claimed') step.region.forgetButLast();
}

/** Does a region have more plans than are kept? Asked in every run: it makes no list. */
function hasMany({ all, schedules }: Way): boolean {
  if (isOver(all)) return true;
  for (const schedule of schedules.values()) if (isOver(schedule)) return true;
  return false;
}

function isOver({ steps }: Schedule): boolean {
  for (const step of steps) if (step.kind === 'claimed' && step.region.planCount > MAX_PLANS) return true;
  return false;
}

/** Plans the run of one token, as far as the sizes are known: the first real run finds its kernels warm. */
export function prepare({ steps }: Schedule): void {
  let plan: Plan | undefined;
  for (const step of steps) {
    if (step.kind !== 'claimed') continue;
    try {
      plan = step.region.prepare(plan);
    } catch (error) {
      // Sizes of 1 that cannot be: a run will have others.
      if (!(error instanceof RangeError)) throw error;
      return;
    }
    if (!plan) return;
  }
}
