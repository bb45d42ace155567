/**
 * Joins steps, without changing a bit:
 *
 *   ends       a bias, an activation, a gate, a residual that follows a product becomes its end
 *   chains     elementwise steps whose result goes to another one alone become one expression
 *   products   of one x are decomposed once
 */

import type { ActivationId } from '@msd/core';
import type { Elementwise, FunctionId } from '@msd/core/nn';
import { sameNumbers } from '../dims.ts';
import {
  cellReads,
  lastCellOf,
  type OpStep,
  type ProductStep,
  recurrentRoom,
  roomOf,
  type Slot,
} from '../ops/lowering.ts';
import type { Planned } from './draft.ts';

/** Products of one x, in an order in which a later one may take an earlier one's result. */
export interface ProductsStep {
  readonly kind: 'products';
  readonly x: Slot;
  readonly each: readonly ProductStep[];
  /** Names of the nodes behind each. */
  readonly nodes: readonly (readonly string[])[];
}

type Fusable = Planned['step'] | ProductsStep;

export interface Fused {
  readonly step: Exclude<Fusable, ProductStep>;
  readonly nodes: readonly string[];
}

const present = (slots: readonly (Slot | undefined)[]): Slot[] => slots.filter((slot) => slot !== undefined);

/** Slots that a step reads. */
export function readsOf(step: Fusable): readonly Slot[] {
  switch (step.kind) {
    case 'product':
      return present([step.x, step.bias, step.multiply, step.residual]);
    case 'products':
      return [step.x, ...step.each.flatMap(({ bias, multiply, residual }) => present([bias, multiply, residual]))];
    case 'op':
      return present(step.inputs);
    case 'attention':
      return present([step.q.slot, step.k?.slot, step.v?.slot, step.sinks, step.bias, step.mask]);
    case 'experts':
      return present([step.x, step.scores, step.weights?.slot, step.upBias, step.downBias]);
    case 'recurrent':
      return present([step.x, step.bias, step.lengths, step.initialH, cellReads(step)]);
    default:
      return [];
  }
}

/** Slots that a step writes. */
export function writesOf(step: Fusable): readonly Slot[] {
  switch (step.kind) {
    case 'product':
    case 'rows':
    case 'attention':
      return [step.y];
    case 'products':
      return step.each.map(({ y }) => y);
    case 'op':
      return step.outputs;
    case 'experts':
      return [step.y, ...roomOf(step)];
    case 'recurrent':
      return present([step.y, step.lastH, lastCellOf(step), ...recurrentRoom(step)]);
    case 'upload':
    case 'computed':
      return [step.to];
    default:
      return [];
  }
}

/**
 * @param leaving slots that are needed after the steps
 * @param widthOf K of a matrix
 */
export function fuse(steps: readonly Planned[], leaving: Iterable<Slot>, widthOf: (matrix: string) => number): Fused[] {
  const uses = new Map<Slot, number>();
  const use = ({ root }: Slot): void => void uses.set(root, (uses.get(root) ?? 0) + 1);
  for (const { step } of steps) readsOf(step).forEach(use);
  for (const slot of leaving) use(slot);
  const isUsedOnce = ({ root }: Slot): boolean => uses.get(root) === 1;
  return groupProducts(joinChains(takeEnds(steps, isUsedOnce), isUsedOnce), widthOf);
}

const isAlike = (a: Slot, b: Slot): boolean => sameNumbers(a.dims, b.dims);

const isExpression = ({ spec }: OpStep): boolean => spec === 'elementwise' || spec.name === 'elementwise';

/** A step that is one elementwise expression with one result. */
export function expressionOf({
  step,
}: {
  readonly step: Fusable;
}): (OpStep & { readonly op: Elementwise }) | undefined {
  const isOne = step.kind === 'op' && step.outputs.length === 1 && isExpression(step);
  return isOne ? (step as OpStep & { readonly op: Elementwise }) : undefined;
}

const ACTIVATIONS: Readonly<Partial<Record<FunctionId, ActivationId>>> = {
  Relu: 'relu',
  Silu: 'silu',
  Gelu: 'gelu',
  GeluTanh: 'gelu_tanh',
  Sigmoid: 'sigmoid',
  Tanh: 'tanh',
};

/**
 * The product with a step as its end, `undefined` if it cannot be one. An end is activation(x·W + bias) · multiply + residual:
 * what comes later in it cannot come before.
 */
function withEnd(product: ProductStep, step: OpStep & { readonly op: Elementwise }): ProductStep | undefined {
  const { nodes } = step.op;
  const [{ fn } = { fn: undefined }] = nodes;
  const [y] = step.outputs as readonly [Slot];
  if (nodes.length !== 1 || !fn || !step.inputs.every((slot) => slot)) return undefined;
  const { activation, bias, multiply, residual } = product;
  const isResult = (slot: Slot | undefined): boolean => slot?.root === product.y.root && isAlike(slot, product.y);
  const inputs = step.inputs as readonly Slot[];
  if (inputs.length === 1) {
    const id = ACTIVATIONS[fn];
    return id && isResult(inputs[0]) && !activation && !multiply && !residual
      ? { ...product, activation: id, y }
      : undefined;
  }
  const other = isResult(inputs[0]) ? inputs[1] : isResult(inputs[1]) ? inputs[0] : undefined;
  if (inputs.length !== 2 || !other || isResult(other) || residual || !isAlike(product.y, y)) return undefined;
  if (fn === 'Mul' && !multiply && isAlike(other, y)) return { ...product, multiply: other, y };
  if (fn !== 'Add') return undefined;
  const isRow = other.dims.every((dim, i) => dim === (i === other.dims.length - 1 ? y.dims.at(-1) : 1));
  if (isRow && other.dims.length > 0 && !bias && !activation && !multiply) return { ...product, bias: other, y };
  return isAlike(other, y) ? { ...product, residual: other, y } : undefined;
}

/** A product with its end runs where the end ran: all that it needs is there by then. */
function takeEnds(steps: readonly Planned[], isUsedOnce: (slot: Slot) => boolean): Planned[] {
  const out: (Planned | undefined)[] = [];
  const madeAt = new Map<Slot, number>();
  for (const planned of steps) {
    const expression = expressionOf(planned);
    let result = planned;
    for (const slot of expression?.inputs ?? []) {
      const at = slot && isUsedOnce(slot) ? madeAt.get(slot.root) : undefined;
      const before = at === undefined ? undefined : out[at];
      const fused = before?.step.kind === 'product' ? withEnd(before.step, expression!) : undefined;
      if (!fused) continue;
      out[at!] = undefined;
      result = { step: fused, nodes: [...before!.nodes, ...planned.nodes] };
      break;
    }
    out.push(result);
    for (const slot of writesOf(result.step)) madeAt.set(slot.root, out.length - 1);
  }
  return out.filter((planned) => planned !== undefined);
}

/** Inputs of an expression beyond this make it slower than two. */
const MAX_INPUTS = 8;

function joinChains(steps: readonly Planned[], isUsedOnce: (slot: Slot) => boolean): Planned[] {
  const out: (Planned | undefined)[] = [];
  const madeAt = new Map<Slot, number>();
  for (const planned of steps) {
    let result = planned;
    for (let joined = true; joined; ) {
      joined = false;
      const expression = expressionOf(result);
      for (const slot of expression?.inputs ?? []) {
        const at = slot && isUsedOnce(slot) ? madeAt.get(slot.root) : undefined;
        const before = at === undefined ? undefined : out[at];
        const first = before && expressionOf(before);
        // What the first one makes has the sizes of the whole: nothing would be repeated.
        if (!first || !isAlike(slot!, first.outputs[0]!) || !isAlike(slot!, expression!.outputs[0]!)) continue;
        const step = join(first, expression!, slot!);
        if (step.inputs.length > MAX_INPUTS) continue;
        out[at!] = undefined;
        result = { step, nodes: [...before.nodes, ...result.nodes] };
        joined = true;
        break;
      }
    }
    out.push(result);
    for (const slot of writesOf(result.step)) madeAt.set(slot.root, out.length - 1);
  }
  return out.filter((planned) => planned !== undefined);
}

/** Two expressions as one: the second takes the first one's result as `via`. */
function join(
  first: OpStep & { readonly op: Elementwise },
  second: OpStep & { readonly op: Elementwise },
  via: Slot,
): OpStep {
  const inputs = [...first.inputs];
  for (const slot of second.inputs) if (slot !== via && !inputs.includes(slot)) inputs.push(slot);
  const base = inputs.length;
  const renumbered = (op: Elementwise, count: number, input: (i: number) => number, offset: number) =>
    op.nodes.map((node) => ({
      ...node,
      args: node.args.map((arg) => (arg < count ? input(arg) : base + offset + arg - count)),
    }));
  const resultOf = (op: Elementwise, count: number, offset: number, input: (i: number) => number): number => {
    const [output] = op.outputs as readonly [number];
    return output < count ? input(output) : base + offset + output - count;
  };
  const firstInput = (i: number): number => i;
  const joint = resultOf(first.op, first.inputs.length, 0, firstInput);
  const secondInput = (i: number): number => (second.inputs[i] === via ? joint : inputs.indexOf(second.inputs[i]));
  const offset = first.op.nodes.length;
  const nodes = [
    ...renumbered(first.op, first.inputs.length, firstInput, 0),
    ...renumbered(second.op, second.inputs.length, secondInput, offset),
  ];
  const op: Elementwise = { nodes, outputs: [resultOf(second.op, second.inputs.length, offset, secondInput)] };
  // Of one whose spec is known, the types are not only floats.
  const spec = second.spec === 'elementwise' ? first.spec : second.spec;
  return { ...second, spec, op, inputs };
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
      const products = before.step as ProductsStep;
      const joined = { ...products, each: [...products.each, step], nodes: [...products.nodes, nodes] };
      fused[group.at] = { step: joined, nodes: [...before.nodes, ...nodes] };
      writtenAt.set(step.y.root, group.at);
    } else {
      fused.push({ step: { kind: 'products', x: step.x, each: [step], nodes: [nodes] }, nodes });
      groups.set(step.x.root, { at: fused.length - 1, K });
      writtenAt.set(step.y.root, fused.length - 1);
    }
  }
  return fused;
}
