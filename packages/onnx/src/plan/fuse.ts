/** Puts steps together: products of the same x are decomposed once. */
import type { ProductStep, Slot } from '../ops/lowering.ts';
import type { Planned } from './draft.ts';

/** Products of one x, in an order in which a later one may take an earlier one's result. */
export interface ProductsStep {
  readonly kind: 'products';
  readonly x: Slot;
  readonly each: readonly ProductStep[];
}

export interface Fused {
  readonly step: Exclude<Planned['step'], ProductStep> | ProductsStep;
  readonly nodes: readonly string[];
}

/** Slots that a step reads. */
export function readsOf(step: Fused['step'] | ProductStep): readonly Slot[] {
  switch (step.kind) {
    case 'product':
      return present([step.x, step.bias, step.multiply, step.residual]);
    case 'products':
      return [step.x, ...step.each.flatMap(({ bias, multiply, residual }) => present([bias, multiply, residual]))];
    case 'op':
      return present(step.inputs);
    default:
      return [];
  }
}

/** Slots that a step writes. */
export function writesOf(step: Fused['step'] | ProductStep): readonly Slot[] {
  switch (step.kind) {
    case 'product':
    case 'rows':
      return [step.y];
    case 'products':
      return step.each.map(({ y }) => y);
    case 'op':
      return step.outputs;
    case 'upload':
      return [step.to];
    default:
      return [];
  }
}

const present = (slots: readonly (Slot | undefined)[]): Slot[] => slots.filter((slot) => slot !== undefined);

export function fuse(steps: readonly Planned[], widthOf: (matrix: string) => number): Fused[] {
  return groupProducts(steps, widthOf);
}

/** A product joins an earlier one of the same x if all that it needs is there by then. */
function groupProducts(steps: readonly Planned[], widthOf: (matrix: string) => number): Fused[] {
  const fused: Fused[] = [];
  const groups = new Map<Slot, { readonly at: number; readonly K: number }>();
  const writtenAt = new Map<Slot, number>();
  for (const { step, nodes } of steps) {
    if (step.kind !== 'product') {
      fused.push({ step, nodes });
      for (const slot of writesOf(step)) writtenAt.set(slot.root, fused.length - 1);
      continue;
    }
    const group = groups.get(step.x.root);
    const K = widthOf(step.matrix);
    const needs = present([step.bias, step.multiply, step.residual]);
    if (group?.K === K && needs.every((slot) => (writtenAt.get(slot.root) ?? -1) <= group.at)) {
      const before = fused[group.at]!;
      const { x, each } = before.step as ProductsStep;
      fused[group.at] = { step: { kind: 'products', x, each: [...each, step] }, nodes: [...before.nodes, ...nodes] };
      writtenAt.set(step.y.root, group.at);
    } else {
      fused.push({ step: { kind: 'products', x: step.x, each: [step] }, nodes });
      groups.set(step.x.root, { at: fused.length - 1, K });
      writtenAt.set(step.y.root, fused.length - 1);
    }
  }
  return fused;
}
