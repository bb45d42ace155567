/** What MSD does in one run: what @msd/core/theory is asked about. */
import type { CachedAttention, StepWork } from '@msd/core/theory';
import { type Products, type Sizes, unitWork } from '../plan/unit-work.ts';
import type { Unit } from '../plan/units.ts';

/** Attentions of one kind. */
export interface WorkAttention extends CachedAttention {
  readonly count: number;
}

/** Steps of one kind that are neither. */
export interface WorkStep extends StepWork {
  readonly count: number;
}

export interface ClaimedWork {
  /** Products of one kind, with packed weights. */
  readonly products: readonly Products[];
  readonly attentions: readonly WorkAttention[];
  readonly steps: readonly WorkStep[];
}

/**
 * What is alike together. Bodies of control flow are not looked into.
 *
 * @param units of claimed regions, on the device
 * @param written elements of their outputs
 */
export function claimedWork(units: readonly Unit[], sizes: Sizes, written: (unit: Unit) => number): ClaimedWork {
  const all = units.map((unit) => unitWork(unit.match!, sizes, written(unit)));
  return {
    products: alike(all.flatMap(({ products }) => products)),
    attentions: alike(all.flatMap(({ attention }) => (attention ? { count: 1, ...attention } : []))),
    steps: alike(all.flatMap(({ step }) => (step ? { count: 1, ...step } : []))),
  };
}

function alike<W extends { readonly count: number }>(all: readonly W[]): W[] {
  const kinds = new Map<string, W>();
  for (const one of all) {
    const key = JSON.stringify({ ...one, count: 0 });
    kinds.set(key, { ...one, count: one.count + (kinds.get(key)?.count ?? 0) });
  }
  return [...kinds.values()];
}
