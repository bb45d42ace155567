/** A claimed region in a session: finds or makes the plan for a run's inputs, and runs it. */

import type { ArenaHandle, AttentionRun, KvCache } from '@msd/core';
import { FLOAT32 } from '../data-types.ts';
import { countOf, sameNumbers } from '../dims.ts';
import { describeNode, type GraphNode } from '../ir/graph.ts';
import type { Info } from '../ir/info.ts';
import { OPERATORS } from '../ops/index.ts';
import type { AttentionNow, AttentionStep, ComputedStep, Elements, LateAttention, RowsStep } from '../ops/lowering.ts';
import { concrete, operatorName } from '../ops/operator.ts';
import { NO_SYMBOLS } from '../ops/shape.ts';
import type { RegionCode } from '../plan/code.ts';
import type { HostStep, UploadStep } from '../plan/draft.ts';
import { attend, type RunValues } from './kv/attend.ts';
import { type JsStep, makePlan, type Parent, type Plan, type Workshop } from './plan.ts';
import { arrayOf, elementsOf, floatsOf, uploadOf, type Value, valueOfFloats, valueOfInfo } from './value.ts';

/** Values of a run by slot number. */
export type Values = (Value | undefined)[];

/** What a run leaves in a slot. */
interface Result {
  readonly slot: number;
  readonly value: () => Value;
}

export class ClaimedRegion {
  readonly #shop: Workshop;
  readonly #code: RegionCode;
  readonly #slotOf: (name: string) => number;
  readonly #ends: ReadonlySet<string>;
  readonly #sized: readonly number[];
  readonly #valued: readonly number[];
  readonly #outputs: readonly number[];
  /** The most recently used one first. */
  #plans: Plan[] = [];
  readonly #results = new WeakMap<Plan, readonly Result[]>();
  readonly #key: number[] = [];
  /** Values of the current run. */
  #values: Values = [];
  /** What attentions were told in the current run. */
  readonly #tellings = new Map<LateAttention, { readonly pastRows: number; readonly now: AttentionNow }>();
  /** Bytes that this run copied to the device. */
  #copied = 0;

  /** @param ends values that are not needed after this region */
  constructor(shop: Workshop, code: RegionCode, slotOf: (name: string) => number, ends: ReadonlySet<string>) {
    this.#shop = shop;
    this.#code = code;
    this.#slotOf = slotOf;
    this.#ends = ends;
    this.#sized = code.sized.map(slotOf);
    this.#valued = code.valued.map(slotOf);
    this.#outputs = code.outputs.map(slotOf);
  }

  /** How many plans there are. */
  get planCount(): number {
    return this.#plans.length;
  }

  /** Drops all plans: their memory is gone. */
  forget(): void {
    this.#plans = [];
  }

  /** Drops all but the plan of the last run. */
  forgetButLast(): void {
    this.#plans.length = Math.min(1, this.#plans.length);
  }

  /**
   * Begins a run: {@link finish} has to follow, after the plan's program has run, or has failed.
   * @param parent the plan of the claimed region before this one in the same run; for the first region of a body, the
   * values held for all passes
   */
  begin(values: Values, parent: Parent | undefined): Plan {
    this.#values = values;
    this.#copied = 0;
    const plan = this.#planFor(values, parent);
    this.#shop.block.bind(plan.program);
    return plan;
  }

  /** Drops what attentions were told in a run: it belongs to that run, and may be large. */
  forgetRun(): void {
    if (this.#tellings.size > 0) this.#tellings.clear();
  }

  /** Puts the results of a plan that has run into the values that it began with. */
  finish(plan: Plan, copied: { intoMsd: number }): void {
    copied.intoMsd += this.#copied;
    for (const { slot, value } of this.#resultsOf(plan)) this.#values[slot] = value();
  }

  /** Results of a plan, without those that its attentions have put there: most, of a decoder. */
  #resultsOf(plan: Plan): readonly Result[] {
    let results = this.#results.get(plan);
    if (!results) {
      results = this.#code.outputs.flatMap((name, i) => {
        const value = this.#resultOf(plan, name);
        return value ? { slot: this.#outputs[i]!, value } : [];
      });
      this.#results.set(plan, results);
    }
    return results;
  }

  #resultOf(plan: Plan, name: string): (() => Value) | undefined {
    const [live, known, delivery] = [plan.live.get(name), plan.known.get(name), plan.delivered.get(name)];
    const { elemType } = this.#shop.typed.infos.get(name)!;
    if (delivery) return () => valueOfFloats(elemType, delivery.take(), delivery.dims);
    if (!live) return known && (() => valueOfInfo(known));
    const { handle } = live;
    const { dims, dtype } = live.slot;
    return () => ({ elemType, dims, handle, dtype, data: undefined, tensor: undefined });
  }

  /**
   * Makes the plan of a run with every open size 1 (one token), so that its kernels are compiled and warm. @returns
   * `undefined` if it depends on something that only a run can know
   */
  prepare(parent: Parent | undefined): Plan | undefined {
    const values: Values = [];
    for (const [i, name] of this.#code.sized.entries()) {
      const { elemType, dims } = this.#shop.typed.infos.get(name)!;
      if (!dims || this.#code.valued.includes(name)) return undefined;
      values[this.#sized[i]!] = valueOfInfo({ elemType, dims: dims.map((dim) => (typeof dim === 'number' ? dim : 1)) });
    }
    const plan = this.#planFor(values, parent);
    this.#shop.block.bind(plan.program);
    return plan;
  }

  #planFor(values: Values, parent: Parent | undefined): Plan {
    const key = this.#key;
    let length = 0;
    for (const slot of this.#sized) {
      const { dims } = values[slot]!;
      key[length++] = dims.length;
      for (const dim of dims) key[length++] = dim;
    }
    for (const slot of this.#valued)
      for (const element of elementsOf(values[slot]!, this.#shop.device)) key[length++] = element;
    key.length = length;
    const found = this.#plans.findIndex((plan) => plan.parent === parent && sameNumbers(plan.key, key));
    if (found === 0) return this.#plans[0]!;
    const plan = found > 0 ? this.#plans.splice(found, 1)[0]! : this.#make(values, parent, [...key]);
    this.#plans.unshift(plan);
    return plan;
  }

  #make(values: Values, parent: Parent | undefined, key: readonly number[]): Plan {
    const infos = new Map<string, Info>();
    for (const [i, name] of this.#code.sized.entries()) {
      const { elemType, dims } = values[this.#sized[i]!]!;
      infos.set(name, { elemType, dims });
    }
    for (const [i, name] of this.#code.valued.entries()) {
      const value = values[this.#valued[i]!]!;
      infos.set(name, { elemType: value.elemType, dims: value.dims, data: elementsOf(value, this.#shop.device) });
    }
    return makePlan(this.#shop, this.#code, infos, key, parent, this.#ends, this);
  }

  /** For plans: the function of a JavaScript step. */
  script(step: JsStep, at: () => ArenaHandle): () => void {
    if (step.kind === 'host') return this.#arithmetic(step);
    if (step.kind === 'rows') return this.#rows(step, at);
    if (step.kind === 'computed') return this.#computed(step, at);
    return this.#upload(step, at);
  }

  /** For plans: what attention is told in a run. */
  attention(step: AttentionStep, where: string): () => AttentionRun<KvCache> {
    const { kv } = this.#shop;
    return attend(step, kv.type, kv.keeper, this.#runValues, where);
  }

  readonly #runValues: RunValues = {
    slotOf: (name) => this.#slotOf(name),
    typeOf: (name) => this.#shop.typed.infos.get(name)?.elemType ?? FLOAT32,
    get: (slot) => this.#values[slot],
    set: (slot, value) => {
      this.#values[slot] = value;
    },
    told: (late, pastRows) => this.#told(late, pastRows),
    floats: (value) => {
      const floats = floatsOf(value, this.#shop.device);
      this.#copied += floats.byteLength;
      return floats;
    },
  };

  #elements(name: string): Elements {
    const { typed, device } = this.#shop;
    const value = this.#values[this.#slotOf(name)];
    return value ? arrayOf(value, device) : (concrete(typed.infos.get(name), `'${name}'`) as Elements);
  }

  #told(late: LateAttention, pastRows: number): AttentionNow {
    const before = this.#tellings.get(late);
    if (before?.pastRows === pastRows) return before.now;
    const now = late.at(
      late.needs.map((name) => this.#elements(name)),
      pastRows,
    );
    this.#tellings.set(late, { pastRows, now });
    return now;
  }

  #computed({ needs, tables, compute, checks, to }: ComputedStep, at: () => ArenaHandle): () => void {
    const { device, residents } = this.#shop;
    const readers = (tables ?? []).map((key) => residents.table(key));
    const out = tables ? new Float32Array(countOf(to.dims)) : new Int32Array(countOf(to.dims));
    let isChecked = false;
    return () => {
      const values = needs.map((name) => this.#elements(name));
      isChecked = compute(values, out, readers) === false && isChecked;
      if (!isChecked) for (const check of checks) check(out as Int32Array);
      isChecked = true;
      if (out.length > 0) device.write(at(), out);
      this.#copied += out.byteLength;
    };
  }

  #upload({ name, known, check }: UploadStep, at: () => ArenaHandle): () => void {
    const { device } = this.#shop;
    const slot = this.#slotOf(name);
    const value = known && valueOfInfo(known);
    return () => {
      const data = uploadOf(value ?? this.#values[slot]!, `'${name}'`);
      check?.(data as Int32Array);
      if (data.byteLength > 0) device.write(at(), data);
      this.#copied += data.byteLength;
    };
  }

  #arithmetic({ match, known }: HostStep): () => void {
    const [node] = match.nodes as [GraphNode];
    const { typed, device } = this.#shop;
    const name = operatorName(node);
    const operator = OPERATORS.get(name)!;
    const ofShape = name === 'Shape' || name === 'Size';
    const view = typed.view(node);
    const inputs = node.inputs.map((input) => (input === '' ? -1 : this.#slotOf(input)));
    const outputs = node.outputs.map((output) => (output === '' ? -1 : this.#slotOf(output)));
    const where = describeNode(node);
    return () => {
      const values = this.#values;
      const infos = inputs.map((slot, i) => {
        if (slot < 0 || known[i]) return known[i];
        const value = values[slot]!;
        const { elemType, dims } = value;
        return ofShape ? { elemType, dims } : { elemType, dims, data: elementsOf(value, device) };
      });
      const results = operator.infer(view, infos, NO_SYMBOLS);
      for (let i = 0; i < outputs.length; i++)
        if (outputs[i]! >= 0) values[outputs[i]!] = valueOfInfo(concrete(results[i], where));
    };
  }

  #rows({ table, indices, known }: RowsStep, at: () => ArenaHandle): () => void {
    const { device, residents } = this.#shop;
    const read = residents.table(table);
    const slot = this.#slotOf(indices);
    return () => {
      const handle = at();
      read(known ?? elementsOf(this.#values[slot]!, device), handle.arena.float32(handle));
      this.#copied += handle.byteLength;
    };
  }
}
