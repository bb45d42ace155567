/**
 * A claimed region with all sizes known: steps over slots, in order. Nothing has an address yet.
 */

import type { DType } from '@msd/core/nn';
import { isCarried } from '../carried.ts';
import { BOOL, FLOAT32 } from '../data-types.ts';
import { countOf } from '../dims.ts';
import { describeNode } from '../ir/graph.ts';
import type { TypedGraph } from '../ir/infer.ts';
import { type Concrete, type Info, isKnown, type Symbols } from '../ir/info.ts';
import { OPERATORS } from '../ops/index.ts';
import type { Computation, Lowering, Slot, Step } from '../ops/lowering.ts';
import { concrete, operatorName } from '../ops/operator.ts';
import type { Match } from '../passes/matcher.ts';
import type { RegionCode } from './code.ts';

/** Puts a value of JavaScript into a slot: whatever `name` is in a run, or elements that are known already. */
export interface UploadStep {
  readonly kind: 'upload';
  readonly name: string;
  readonly known: Concrete | undefined;
  /** Looks at indices before they are used. */
  readonly check?: ((indices: Int32Array) => void) | undefined;
  readonly to: Slot;
}

/** Shape arithmetic that every run does anew. */
export interface HostStep {
  readonly kind: 'host';
  readonly match: Match;
  /** Operands that are known already. */
  readonly known: readonly (Info | undefined)[];
}

/** A step, and the names of the nodes that it stands for. */
export interface Planned {
  readonly step: Step | UploadStep | HostStep;
  readonly nodes: readonly string[];
}

export interface Draft {
  readonly steps: readonly Planned[];
  /** The outputs that lie on the device. */
  readonly slots: ReadonlyMap<string, Slot>;
  /** The outputs that shape arithmetic gave already: the same in every run of this plan. */
  readonly known: ReadonlyMap<string, Concrete>;
}

/** How an element type lies on the device. */
export function dtypeOf(elemType: number): DType {
  return elemType === FLOAT32 || isCarried(elemType) ? 'f32' : elemType === BOOL ? 'bool' : 'i32';
}

/**
 * @param infos of the inputs, as far as the plan depends on them.
 * @param outside slots of values that other regions left on the device, and of constants.
 */
export function draftRegion(
  typed: TypedGraph,
  code: RegionCode,
  infos: ReadonlyMap<string, Info>,
  outside: ReadonlyMap<string, Slot>,
): Draft {
  const late = new Set(code.matches.flatMap((match) => match.late ?? []));
  const draft = new Drafting(typed, code, infos, outside, late);
  for (const match of code.matches) {
    if (match.place === 'host') draft.host(match);
    else draft.device(match);
  }
  const slots = new Map<string, Slot>();
  const known = new Map<string, Concrete>();
  for (const name of code.outputs) {
    const slot = draft.slots.get(name);
    const info = draft.infos.get(name);
    if (slot) slots.set(name, slot);
    else if (isKnown(info?.data)) known.set(name, concrete(info, name));
  }
  return { steps: draft.steps, slots, known };
}

export function newSlot(dtype: DType, dims: readonly number[]): Slot {
  const slot = { dtype, dims, root: undefined as unknown as Slot };
  slot.root = slot;
  return slot;
}

class Drafting implements Lowering {
  readonly steps: Planned[] = [];
  readonly slots: Map<string, Slot>;
  readonly infos: Map<string, Info>;
  readonly #late: ReadonlySet<string>;
  /** By symbol. */
  readonly #sizes = new Map<string, number>();
  readonly #typed: TypedGraph;
  readonly #uploaded = new Set<string>();
  readonly #shared = new Map<string, object>();
  #nodes: readonly string[] = [];

  constructor(
    typed: TypedGraph,
    { inputs, symbols }: RegionCode,
    infos: ReadonlyMap<string, Info>,
    outside: ReadonlyMap<string, Slot>,
    late: ReadonlySet<string>,
  ) {
    this.#late = late;
    for (const [symbol, { name, axis }] of symbols) {
      const size = infos.get(name)?.dims?.[axis];
      if (typeof size === 'number') this.#sizes.set(symbol, size);
    }
    this.#typed = typed;
    this.infos = new Map(infos);
    // Of what a plan does not depend on, the type is all that is known.
    for (const name of inputs)
      if (!infos.has(name)) this.infos.set(name, { elemType: typed.infos.get(name)?.elemType ?? 0, dims: undefined });
    for (const name of typed.graph.constants.keys()) this.infos.set(name, typed.infos.get(name)!);
    this.slots = new Map(outside);
  }

  /** Shape arithmetic: done now if everything it needs is known, else left to the run. */
  host(match: Match): void {
    const [node] = match.nodes as [Match['nodes'][number]];
    const operator = OPERATORS.get(operatorName(node))!;
    const inputs = node.inputs.map((name) => (name === '' ? undefined : this.infos.get(name)));
    const results = operator.infer(this.#typed.view(node), inputs, OPEN);
    let known = true;
    for (const [i, name] of node.outputs.entries()) {
      if (name === '') continue;
      const info = this.#sizedInfo(name, results[i]);
      if (info) this.infos.set(name, info);
      known &&= isKnown(info?.data) && isKnown(info?.dims);
    }
    // Who looks at values in every run looks for them among those of the run.
    if (known && !node.outputs.some((name) => this.#late.has(name))) return;
    const complete = inputs.map((info) => (isKnown(info?.data) ? info : undefined));
    this.steps.push({ step: { kind: 'host', match, known: complete }, nodes: [node.name || describeNode(node)] });
  }

  /** Sizes that operands do not tell, but inputs of the graph. */
  #sizedInfo(name: string, info: Info | undefined): Info | undefined {
    const dims = info && isKnown(info.dims) ? undefined : this.#typed.infos.get(name)?.dims;
    const sizes = dims?.map((dim) => (typeof dim === 'number' ? dim : this.#sizes.get(dim)));
    return info && sizes && !sizes.includes(undefined) ? { ...info, dims: sizes as readonly number[] } : info;
  }

  device(match: Match): void {
    this.#nodes = match.nodes.map((node) => node.name || describeNode(node));
    match.lower!(this);
    // What lies in a cache has sizes that only a run knows.
    for (const name of match.caches ?? [])
      if (!this.infos.has(name)) this.infos.set(name, { elemType: FLOAT32, dims: undefined });
  }

  info(name: string): Concrete {
    return concrete(this.infos.get(name), `value '${name}'`);
  }

  slot(name: string): Slot {
    const known = this.slots.get(name);
    if (known) return known;
    const info = this.info(name);
    const slot = newSlot(dtypeOf(info.elemType), info.dims);
    this.slots.set(name, slot);
    this.#uploaded.add(name);
    this.steps.push({
      step: { kind: 'upload', name, known: info.data ? info : undefined, to: slot },
      nodes: this.#nodes,
    });
    return slot;
  }

  indices(name: string, check: (indices: Int32Array) => void): Slot {
    const known = this.slots.get(name);
    const info = this.info(name);
    // What the device computed stays there, and is not looked at.
    if (known && !this.#uploaded.has(name)) {
      for (const { step } of this.steps)
        if (step.kind === 'computed' && step.to === known.root) step.checks.push(check);
      return known;
    }
    const to = newSlot('i32', info.dims);
    this.steps.push({
      step: { kind: 'upload', name, known: info.data ? info : undefined, check, to },
      nodes: this.#nodes,
    });
    return to;
  }

  constant(info: Concrete): Slot {
    const to = newSlot(dtypeOf(info.elemType), info.dims);
    this.steps.push({ step: { kind: 'upload', name: '', known: info, to }, nodes: this.#nodes });
    return to;
  }

  computed(computation: Computation): Slot {
    const { key, dims, tables } = computation;
    return this.shared(key, () => {
      const to = newSlot(tables ? 'f32' : 'i32', dims);
      this.steps.push({ step: { kind: 'computed', ...computation, checks: [], to }, nodes: this.#nodes });
      return to;
    });
  }

  shared<T extends object>(key: string, make: () => T): T {
    let found = this.#shared.get(key) as T | undefined;
    if (!found) {
      found = make();
      this.#shared.set(key, found);
    }
    return found;
  }

  result(name: string, dtype: DType, dims: readonly number[]): Slot {
    const slot = newSlot(dtype, dims);
    this.#define(name, slot);
    return slot;
  }

  alias(name: string, of: Slot, dims: readonly number[]): void {
    this.#define(name, { dtype: of.dtype, dims, root: of.root });
  }

  #define(name: string, slot: Slot): void {
    if (name === '') return;
    this.slots.set(name, slot);
    this.infos.set(name, { elemType: this.#typed.infos.get(name)?.elemType ?? 0, dims: slot.dims });
  }

  step(step: Step): void {
    this.steps.push({ step, nodes: this.#nodes });
  }
}

/** While a plan is made, what only a run knows is simply not known. */
const OPEN: Symbols = {
  fresh: () => '?',
  sum: () => '?',
  rest: () => undefined,
  product: (sizes) => (isKnown(sizes) ? countOf(sizes) : '?'),
  factors: (size) => [size],
};
