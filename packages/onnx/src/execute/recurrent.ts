/**
 * Recurrent layers of a plan. What comes of x is one product for many positions; then JavaScript goes from position to position, each
 * a product with the last state and one expression. Calls are bound once: what changes with the position is copied, which takes
 * a fraction of the product.
 */

import type { ArenaHandle } from '@msd/core';
import { type Elementwise, elementwise } from '@msd/core/nn';
import type { Call } from '@msd/core/program';
import { Expression } from '../ops/expression.ts';
import { type RecurrentStep, recurrentRoom, type Slot } from '../ops/lowering.ts';
import type { Workshop } from './plan.ts';

type Shop = Pick<Workshop, 'device' | 'residents' | 'split'>;

interface Direction {
  /** With all rows of a strip, and of the one that is shorter. */
  readonly input: Call<ArenaHandle> | undefined;
  readonly rest: Call<ArenaHandle> | undefined;
  readonly own: Call<ArenaHandle>;
}

/** Where a run reads and writes. */
interface Views extends Readonly<Record<keyof RecurrentStep['room'], Float32Array>> {
  readonly initialH: Float32Array | undefined;
  readonly initialC: Float32Array | undefined;
  readonly y: Float32Array | undefined;
  readonly lastH: Float32Array;
  readonly lastC: Float32Array;
}

export class Recurrent {
  /** Ids of kernels that a direction's calls take, once there was a run. */
  readonly kernels: string[] = [];
  readonly #shop: Shop;
  readonly #step: RecurrentStep;
  readonly #handleOf: (slot: Slot) => ArenaHandle;
  readonly #positions: number;
  readonly #batch: number;
  /** Of x. */
  readonly #K: number;
  readonly #hidden: number;
  /** Of the sequences of a run, and the states before a position: only if lengths are told. */
  readonly #lengths: Int32Array;
  readonly #before: Float32Array;
  #handles: readonly ArenaHandle[] = [];
  #directions: readonly Direction[] = [];
  #cell: Call<ArenaHandle> | undefined;

  constructor(shop: Shop, step: RecurrentStep, handleOf: (slot: Slot) => ArenaHandle) {
    this.#shop = shop;
    this.#step = step;
    this.#handleOf = handleOf;
    [this.#positions, this.#batch, this.#K] = step.x.dims as readonly [number, number, number];
    this.#hidden = step.lastH.dims.at(-1)!;
    this.#lengths = new Int32Array(step.lengths ? this.#batch : 0);
    this.#before = new Float32Array(step.lengths ? this.#batch * this.#hidden : 0);
  }

  run(): void {
    this.#rebind();
    // Nothing is allocated while calls run, so views stay good.
    const { room, initialH, initialC, lengths, y, lastH, lastC } = this.#step;
    if (lengths) this.#shop.device.read(this.#handleOf(lengths), this.#lengths);
    const views: Views = {
      inputs: this.#floats(room.inputs),
      added: this.#floats(room.added),
      sums: this.#floats(room.sums),
      gates: this.#floats(room.gates),
      h: this.#floats(room.h),
      c: this.#floats(room.c),
      nextC: this.#floats(room.nextC),
      initialH: initialH && this.#floats(initialH),
      initialC: initialC && this.#floats(initialC),
      y: y && this.#floats(y),
      lastH: this.#floats(lastH),
      lastC: this.#floats(lastC),
    };
    for (const d of this.#step.directions.keys()) this.#runDirection(d, views);
  }

  #floats(slot: Slot): Float32Array {
    const handle = this.#handleOf(slot);
    return handle.arena.float32(handle);
  }

  #runDirection(d: number, views: Views): void {
    const { directions, strip } = this.#step;
    const { h, c, y, lastH, lastC } = views;
    const size = h.length;
    begin(views.initialH, d, h);
    begin(views.initialC, d, c);
    // As ONNX Runtime has it, a sequence of nothing leaves no state.
    for (let row = 0; row < this.#lengths.length; row++)
      if (this.#lengths[row] === 0)
        for (const state of [h, c]) state.fill(0, row * this.#hidden, (row + 1) * this.#hidden);
    const { isReversed } = directions[d]!;
    const strips = strip === 0 ? 0 : Math.ceil(this.#positions / strip);
    for (let i = 0; i < strips; i++) {
      const first = (isReversed ? strips - 1 - i : i) * strip;
      const end = Math.min(first + strip, this.#positions);
      this.#multiplyInputs(d, first, end);
      for (let j = 0; j < end - first; j++) {
        const t = isReversed ? end - 1 - j : first + j;
        if (this.#before.length > 0) this.#before.set(h);
        this.#advance(d, t - first, views);
        const at = (t * directions.length + d) * size;
        y?.set(h, at);
        this.#keepEnded(t, views, y?.subarray(at, at + size));
        c.set(views.nextC);
      }
    }
    lastH.set(h, d * size);
    lastC.set(c, d * size);
  }

  /** What comes of x at positions [begin, end). */
  #multiplyInputs(d: number, begin: number, end: number): void {
    const { device } = this.#shop;
    const { input, rest } = this.#directions[d]!;
    const row = 4 * this.#batch * this.#K;
    const x = device.part(this.#handleOf(this.#step.x), begin * row, (end - begin) * row);
    device.run((end - begin === this.#step.strip ? input : rest)!, { operands: { 0: x } });
  }

  /** From the state before a position of the strip to the one after it, whose cell is `nextC`. */
  #advance(d: number, at: number, { inputs, added, sums, gates }: Views): void {
    const { device } = this.#shop;
    const [batch, hidden] = [this.#batch, this.#hidden];
    const size = added.length;
    added.set(inputs.subarray(at * size, (at + 1) * size));
    device.run(this.#directions[d]!.own);
    if (batch > 1)
      for (let i = 0; i < batch * GATES; i++) {
        const to = ((i % GATES) * batch + Math.floor(i / GATES)) * hidden;
        gates.set(sums.subarray(i * hidden, (i + 1) * hidden), to);
      }
    device.run(this.#cell!);
  }

  /** Sequences that have no position `t` keep their states. */
  #keepEnded(t: number, { h, c, nextC }: Views, told: Float32Array | undefined): void {
    const hidden = this.#hidden;
    for (let row = 0; row < this.#lengths.length; row++) {
      if (t < this.#lengths[row]!) continue;
      const [from, to] = [row * hidden, (row + 1) * hidden];
      h.set(this.#before.subarray(from, to), from);
      nextC.set(c.subarray(from, to), from);
      told?.fill(0, from, to);
    }
  }

  /** A program that got another block lies elsewhere: its calls do, too. */
  #rebind(): void {
    const { x, bias, lastH, directions } = this.#step;
    const slots = [x, lastH, ...recurrentRoom(this.#step), ...(bias ? [bias] : [])];
    let isSame = this.#handles.length > 0;
    for (let i = 0; isSame && i < slots.length; i++) isSame = this.#handles[i] === this.#handleOf(slots[i]!);
    if (isSame) return;
    this.#handles = slots.map((slot) => this.#handleOf(slot));
    this.#directions = directions.map((_, d) => this.#bind(d));
    this.#cell = this.#bindCell();
    if (this.kernels.length > 0) return;
    const [{ input, own }] = this.#directions as readonly [Direction];
    this.kernels.push(...[input, own, this.#cell].flatMap((call) => call?.kernels ?? []));
  }

  #bind(d: number): Direction {
    const { device, residents, split } = this.#shop;
    const { x, bias, strip, directions, room } = this.#step;
    const [batch, width] = [this.#batch, GATES * this.#hidden];
    const product = (key: string, M: number, operands: readonly (ArenaHandle | undefined)[]) =>
      device.bind({ kind: 'product', matrices: [residents.matrix(key)], M, each: [{}], ...split }, operands);
    const { input, own } = directions[d]!;
    const biasPart = bias && device.part(this.#handleOf(bias), 4 * d * width, 4 * width);
    const inputCall = (positions: number) => {
      if (positions === 0) return undefined;
      const from = device.part(this.#handleOf(x), 0, 4 * positions * batch * this.#K);
      const to = device.part(this.#handleOf(room.inputs), 0, 4 * positions * batch * width);
      return product(input, positions * batch, [from, biasPart, undefined, undefined, to]);
    };
    return {
      input: inputCall(strip),
      rest: inputCall(strip === 0 ? 0 : this.#positions % strip),
      own: product(own, batch, [
        this.#handleOf(room.h),
        undefined,
        undefined,
        this.#handleOf(room.added),
        this.#handleOf(batch === 1 ? room.gates : room.sums),
      ]),
    };
  }

  #bindCell(): Call<ArenaHandle> {
    const { device } = this.#shop;
    const { gates, c, nextC, h } = this.#step.room;
    const size = this.#batch * this.#hidden;
    const type = { dtype: 'f32' as const, dims: [size] };
    const inputs = new Array<typeof type>(GATES + 1).fill(type);
    const work = { kind: 'op' as const, spec: elementwise as never, op: CELL, inputs };
    const parts = inputs.slice(1).map((_, gate) => device.part(this.#handleOf(gates), 4 * gate * size, 4 * size));
    return device.bind(work, [...parts, ...[c, nextC, h].map((slot) => this.#handleOf(slot))]);
  }
}

const GATES = 4;

/** The state that a direction begins with. */
function begin(initial: Float32Array | undefined, d: number, to: Float32Array): void {
  if (initial) to.set(initial.subarray(d * to.length, (d + 1) * to.length));
  else to.fill(0);
}

/** Of input, output and forget gate, what the cell may get, and the cell: the next cell, and what is told of it. */
const CELL: Elementwise = /* @__PURE__ */ cellExpression();

function cellExpression(): Elementwise {
  const to = new Expression(GATES + 1);
  const [input, output, forget] = [0, 1, 2].map((gate) => to.add('Sigmoid', [gate])) as [number, number, number];
  const gained = to.add('Mul', [input, to.add('Tanh', [3])]);
  const cell = to.add('Add', [to.add('Mul', [forget, 4]), gained]);
  const told = to.add('Mul', [output, to.add('Tanh', [cell])]);
  return { nodes: to.nodes, outputs: [cell, told] };
}
