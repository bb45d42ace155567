/**
 * Experts of a plan: in every run JavaScript reads the scores, gathers the rows of each chosen expert, and adds up the
 * results. Every multiplication is a call of the device; calls are bound once for each expert and number of rows.
 */

import type { ArenaHandle } from '@msd/core';
import { elementwiseOnWasm as elementwise, softmaxOnWasm as softmax } from '@msd/core/nn';
import type { Call } from '@msd/core/program';
import { countOf } from '../dims.ts';
import { Expression } from '../ops/expression.ts';
import { type ExpertsStep, roomOf, type Slot } from '../ops/lowering.ts';
import { Places } from './places.ts';
import type { Workshop } from './plan.ts';

/** Experts with a smaller weight are left out. */
const LEAST = 1e-8;
/** Calls that are kept beside those of one row, for each expert. */
const MOST_CALLS = 8;

export class Experts {
  /** Ids of kernels that an expert's calls take, once there was one. */
  readonly kernels: string[] = [];
  readonly #shop: Pick<Workshop, 'device' | 'residents' | 'split'>;
  readonly #step: ExpertsStep;
  readonly #handleOf: (slot: Slot) => ArenaHandle;
  readonly #at: Places;
  readonly #M: number;
  readonly #hidden: number;
  /** By place: the expert that a row was given to, k for each row. */
  readonly #chosen: Int32Array;
  /** Rows' places by expert, and how many of each are before. */
  readonly #places: Int32Array;
  readonly #begins: Int32Array;
  #softmax: Call<ArenaHandle> | undefined;
  /** By expert, of one row; by expert and number of rows. */
  #single: (readonly Call<ArenaHandle>[] | undefined)[] = [];
  readonly #calls = new Map<number, readonly Call<ArenaHandle>[]>();

  constructor(
    shop: Pick<Workshop, 'device' | 'residents' | 'split'>,
    step: ExpertsStep,
    handleOf: (slot: Slot) => ArenaHandle,
  ) {
    this.#shop = shop;
    this.#step = step;
    this.#handleOf = handleOf;
    const { x, scores, weights, upBias, downBias, y } = step;
    this.#at = new Places([x, scores, y, ...roomOf(step), weights?.slot, upBias, downBias], handleOf);
    this.#hidden = step.x.dims.at(-1)!;
    this.#M = countOf(step.x.dims) / this.#hidden;
    this.#chosen = new Int32Array(this.#M * step.k);
    this.#places = new Int32Array(this.#M * step.k);
    this.#begins = new Int32Array(step.experts.length + 1);
  }

  run(): void {
    if (this.#at.hasMoved()) this.#rebind();
    const { device } = this.#shop;
    const { x, k, experts, room, y } = this.#step;
    const [M, hidden] = [this.#M, this.#hidden];
    this.#choose();
    this.#weigh();
    this.#at.floats(y).fill(0);
    for (let e = 0; e < experts.length; e++) {
      const [begin, end] = [this.#begins[e]!, this.#begins[e + 1]!];
      if (begin === end) continue;
      if (M > 1) {
        const [from, to] = [this.#at.floats(x), this.#at.floats(room.rows)];
        for (let i = begin; i < end; i++) {
          const at = Math.floor(this.#places[i]! / k) * hidden;
          to.set(from.subarray(at, at + hidden), (i - begin) * hidden);
        }
      }
      for (const call of this.#callsOf(e, end - begin)) device.run(call);
      // Only now: binding a call can make memory grow, which invalidates earlier views.
      const [from, to, weights] = [this.#at.floats(room.down), this.#at.floats(y), this.#at.floats(room.weights)];
      for (let i = begin; i < end; i++) {
        const place = this.#places[i]!;
        addTimes(to, Math.floor(place / k) * hidden, from, (i - begin) * hidden, hidden, weights[place]!);
      }
    }
  }

  /** Earlier calls cannot be used any more. */
  #rebind(): void {
    const { k, room } = this.#step;
    this.#calls.clear();
    this.#single = [];
    const type = { dtype: 'f32' as const, dims: [this.#M, k] };
    const weights = this.#handleOf(room.weights);
    const work = { kind: 'op' as const, spec: softmax as never, op: { kind: 'softmax' }, inputs: [type] };
    this.#softmax = this.#shop.device.bind(work, [weights, weights]);
  }

  /** The k largest scores of each row; of equal ones that of the later expert, as in ONNX Runtime. */
  #choose(): void {
    const { scores, k, experts, room } = this.#step;
    const [all, kept] = [this.#at.floats(scores), this.#at.floats(room.weights)];
    const E = experts.length;
    this.#begins.fill(0);
    for (let m = 0; m < this.#M; m++) {
      const first = m * k;
      for (let j = 0; j < k; j++) {
        let best = -1;
        for (let e = 0; e < E; e++) {
          if (best >= 0 && !(all[m * E + e]! >= all[m * E + best]!)) continue;
          if (!this.#isChosen(e, first, first + j)) best = e;
        }
        this.#chosen[first + j] = best;
        kept[first + j] = all[m * E + best]!;
        this.#begins[best + 1]!++;
      }
    }
    for (let e = 0; e < E; e++) this.#begins[e + 1]! += this.#begins[e]!;
    const next = this.#begins.slice();
    for (let place = 0; place < this.#chosen.length; place++) this.#places[next[this.#chosen[place]!]!++] = place;
  }

  /** The weight of each chosen expert, instead of its score. */
  #weigh(): void {
    const { k, experts, room, weights: given } = this.#step;
    if (!given) {
      this.#shop.device.run(this.#softmax!);
      return;
    }
    const [all, kept] = [this.#at.floats(given.slot), this.#at.floats(room.weights)];
    for (let begin = 0; begin < kept.length; begin += k) {
      let sum = 0;
      for (let i = begin; i < begin + k; i++) {
        kept[i] = all[(begin / k) * experts.length + this.#chosen[i]!]!;
        sum += kept[i]!;
      }
      const share = given.normalized ? (sum === 0 ? 0 : 1 / sum) : 1;
      // As in ONNX Runtime, negative weights count as 0.
      for (let i = begin; i < begin + k; i++) kept[i] = kept[i]! * share < LEAST ? 0 : kept[i]! * share;
    }
  }

  #isChosen(expert: number, begin: number, end: number): boolean {
    for (let i = begin; i < end; i++) if (this.#chosen[i] === expert) return true;
    return false;
  }

  #callsOf(expert: number, rows: number): readonly Call<ArenaHandle>[] {
    if (rows === 1) return (this.#single[expert] ??= this.#bind(expert, 1));
    const key = rows * this.#step.experts.length + expert;
    let calls = this.#calls.get(key);
    if (!calls) {
      if (this.#calls.size >= MOST_CALLS * this.#step.experts.length) this.#calls.clear();
      calls = this.#bind(expert, rows);
      this.#calls.set(key, calls);
    }
    return calls;
  }

  #bind(expert: number, rows: number): readonly Call<ArenaHandle>[] {
    const { device, residents, split } = this.#shop;
    const { x, experts, inner, activation, upBias, downBias, room } = this.#step;
    const { up, down } = experts[expert]!;
    const part = (slot: Slot, width: number, row = 0, count = rows) =>
      device.part(this.#handleOf(slot), 4 * row * width, 4 * count * width);
    const product = (from: ArenaHandle, keys: readonly string[], ends: readonly (ArenaHandle | undefined)[]) =>
      device.bind(
        {
          kind: 'product',
          matrices: keys.map((key) => residents.matrix(key)),
          M: rows,
          each: keys.map(() => (keys === up ? { activation } : {})),
          ...split,
        },
        [from, ...ends],
      );
    const outs = this.#step.gate ? room.up : [room.act];
    const calls = [
      product(
        part(this.#M === 1 ? x : room.rows, this.#hidden),
        up,
        outs.flatMap((slot, i) => {
          const bias = upBias && part(upBias, inner, expert * up.length + i, 1);
          return [bias, undefined, undefined, part(slot, inner)];
        }),
      ),
      ...this.#gated(rows, part),
      product(
        part(room.act, inner),
        [down],
        [downBias && part(downBias, this.#hidden, expert, 1), undefined, undefined, part(room.down, this.#hidden)],
      ),
    ];
    if (this.kernels.length === 0) this.kernels.push(...calls.flatMap(({ kernels }) => kernels));
    return calls;
  }

  /** The gated values, from gates g and values v. */
  #gated(rows: number, part: (slot: Slot, width: number) => ArenaHandle): Call<ArenaHandle>[] {
    const { gate, inner, room } = this.#step;
    if (!gate) return [];
    const expression = new Expression(2);
    const isLimited = Number.isFinite(gate.limit);
    const g = isLimited ? expression.add('Min', [0, expression.number(gate.limit)]) : 0;
    const v = isLimited
      ? expression.add('Clip', [1, expression.number(-gate.limit), expression.number(gate.limit)])
      : 1;
    const share = expression.add('Sigmoid', [expression.add('Mul', [g, expression.number(gate.alpha)])]);
    expression.add('Mul', [
      expression.add('Mul', [g, share]),
      expression.add('Add', [v, expression.number(gate.beta)]),
    ]);
    const type = { dtype: 'f32' as const, dims: [rows, inner] };
    const work = { kind: 'op' as const, spec: elementwise as never, op: expression.op, inputs: [type, type] };
    return [
      this.#shop.device.bind(
        work,
        [...room.up, room.act].map((slot) => part(slot, inner)),
      ),
    ];
  }
}

/** to += from · times */
function addTimes(to: Float32Array, at: number, from: Float32Array, begin: number, count: number, times: number): void {
  for (let i = 0; i < count; i++) to[at + i]! += from[begin + i]! * times;
}
