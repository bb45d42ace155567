/** Cells of recurrent layers: from the state before a position to the one after it. */
import type { ArenaHandle } from '@msd/core';
import { type Elementwise, elementwiseOnWasm as elementwise } from '@msd/core/nn';
import type { Call } from '@msd/core/program';
import { Expression } from '../ops/expression.ts';
import type { GruCellStep, LstmCellStep, RecurrentStep, Slot } from '../ops/lowering.ts';
import type { Places } from './places.ts';
import type { Workshop } from './plan.ts';

/** What a cell needs to bind its calls. */
export interface Making extends Pick<Workshop, 'device' | 'residents' | 'split'> {
  readonly handleOf: (slot: Slot) => ArenaHandle;
  readonly at: Places;
  readonly batch: number;
  readonly hidden: number;
}

export interface Cell {
  /** Binds its calls to where its slots lie. @returns ids of kernels that a direction takes */
  bind(): readonly string[];
  /** Makes the views that it reads and writes in this run. */
  look(): void;
  /** Begins a direction. */
  begin(d: number): void;
  /** Computes a position. @param from the product of x there, [batch, gates · hidden] */
  advance(d: number, from: Float32Array): void;
  /** Keeps the state of a sequence that has no such position. The layer keeps `h`. */
  keep(row: number): void;
  /** Sets the state of an empty sequence to 0. */
  clear(row: number): void;
  /** Ends the position. */
  commit(): void;
  end(d: number): void;
}

/** The initial state of a direction. */
export function stateOf(initial: Float32Array | undefined, d: number, to: Float32Array): void {
  if (initial) to.set(initial.subarray(d * to.length, (d + 1) * to.length));
  else to.fill(0);
}

/** Calls of cells. */
class Binder {
  readonly #making: Making;

  constructor(making: Making) {
    this.#making = making;
  }

  product(
    matrix: string,
    x: Slot,
    bias: ArenaHandle | undefined,
    residual: Slot | undefined,
    y: ArenaHandle,
  ): Call<ArenaHandle> {
    const { device, residents, split, batch, handleOf } = this.#making;
    const matrices = [residents.matrix(matrix)];
    const work = { kind: 'product' as const, matrices, M: batch, each: [{}], ...split };
    return device.bind(work, [handleOf(x), bias, undefined, residual && handleOf(residual), y]);
  }

  expression(op: Elementwise, operands: readonly ArenaHandle[]): Call<ArenaHandle> {
    const { device, batch, hidden } = this.#making;
    const type = { dtype: 'f32' as const, dims: [batch * hidden] };
    const inputs = new Array<typeof type>(operands.length - op.outputs.length).fill(type);
    return device.bind({ kind: 'op' as const, spec: elementwise as never, op: op as never, inputs }, operands);
  }

  /** One of the gates in [gates, batch, hidden], or some from it on. */
  gate(gates: Slot, gate: number, count = 1): ArenaHandle {
    const { device, batch, hidden, handleOf } = this.#making;
    const size = 4 * batch * hidden;
    return device.part(handleOf(gates), gate * size, count * size);
  }
}

/** From [batch, gates · hidden] to [gates, batch, hidden]. */
function spread(from: Float32Array, to: Float32Array, gates: number, batch: number, hidden: number): void {
  for (let i = 0; i < batch * gates; i++) {
    const at = ((i % gates) * batch + Math.floor(i / gates)) * hidden;
    to.set(from.subarray(i * hidden, (i + 1) * hidden), at);
  }
}

const LSTM_GATES = 4;

export class LstmCell implements Cell {
  readonly #making: Making;
  readonly #step: RecurrentStep;
  readonly #cell: LstmCellStep;
  #own: readonly Call<ArenaHandle>[] = [];
  #expression: Call<ArenaHandle> | undefined;
  #views: Readonly<Record<keyof LstmCellStep['room'] | 'lastC', Float32Array>> | undefined;
  #initialC: Float32Array | undefined;

  constructor(making: Making, step: RecurrentStep, cell: LstmCellStep) {
    this.#making = making;
    this.#step = step;
    this.#cell = cell;
  }

  bind(): readonly string[] {
    const { batch, handleOf } = this.#making;
    const { added, sums, gates, c, nextC } = this.#cell.room;
    const { h } = this.#step.room;
    const to = new Binder(this.#making);
    this.#own = this.#step.directions.map(({ own: [matrix] }) =>
      to.product(matrix!, h, undefined, added, handleOf(batch === 1 ? gates : sums)),
    );
    const parts = [0, 1, 2, 3].map((gate) => to.gate(gates, gate));
    this.#expression = to.expression(LSTM, [...parts, ...[c, nextC, h].map((slot) => handleOf(slot))]);
    return [...this.#own[0]!.kernels, ...this.#expression.kernels];
  }

  look(): void {
    const { at } = this.#making;
    const { room, initialC, lastC } = this.#cell;
    this.#views = {
      added: at.floats(room.added),
      sums: at.floats(room.sums),
      gates: at.floats(room.gates),
      c: at.floats(room.c),
      nextC: at.floats(room.nextC),
      lastC: at.floats(lastC),
    };
    this.#initialC = initialC && at.floats(initialC);
  }

  begin(d: number): void {
    stateOf(this.#initialC, d, this.#views!.c);
  }

  advance(d: number, from: Float32Array): void {
    const { device, batch, hidden } = this.#making;
    const { added, sums, gates } = this.#views!;
    added.set(from);
    device.run(this.#own[d]!);
    if (batch > 1) spread(sums, gates, LSTM_GATES, batch, hidden);
    device.run(this.#expression!);
  }

  keep(row: number): void {
    const { hidden } = this.#making;
    const { c, nextC } = this.#views!;
    nextC.set(c.subarray(row * hidden, (row + 1) * hidden), row * hidden);
  }

  clear(row: number): void {
    const { hidden } = this.#making;
    this.#views!.c.fill(0, row * hidden, (row + 1) * hidden);
  }

  commit(): void {
    const { c, nextC } = this.#views!;
    c.set(nextC);
  }

  end(d: number): void {
    const { c, lastC } = this.#views!;
    lastC.set(c, d * c.length);
  }
}

/** From input, output and forget gate, the candidate and the cell: the next cell, and `h`. */
const LSTM: Elementwise = /* @__PURE__ */ lstmExpression();

function lstmExpression(): Elementwise {
  const to = new Expression(LSTM_GATES + 1);
  const [input, output, forget] = [0, 1, 2].map((gate) => to.add('Sigmoid', [gate])) as [number, number, number];
  const gained = to.add('Mul', [input, to.add('Tanh', [3])]);
  const cell = to.add('Add', [to.add('Mul', [forget, 4]), gained]);
  const told = to.add('Mul', [output, to.add('Tanh', [cell])]);
  return { nodes: to.nodes, outputs: [cell, told] };
}

const GRU_GATES = 3;

export class GruCell implements Cell {
  readonly #making: Making;
  readonly #step: RecurrentStep;
  readonly #cell: GruCellStep;
  /** Gates of the first product with the state. */
  readonly #first: number;
  #own: readonly (readonly [first: Call<ArenaHandle>, second: Call<ArenaHandle> | undefined])[] = [];
  #resets: Call<ArenaHandle> | undefined;
  #expression: Call<ArenaHandle> | undefined;
  #views: Readonly<Record<keyof GruCellStep['room'] | 'h', Float32Array>> | undefined;

  constructor(making: Making, step: RecurrentStep, cell: GruCellStep) {
    this.#making = making;
    this.#step = step;
    this.#cell = cell;
    this.#first = cell.resetsAfter ? GRU_GATES : GRU_GATES - 1;
  }

  bind(): readonly string[] {
    const { device, batch, hidden, handleOf } = this.#making;
    const { resetsAfter, bias, room } = this.#cell;
    const { added, sums, gates, candidate, reset, next } = room;
    const { h } = this.#step.room;
    const to = new Binder(this.#making);
    const size = 4 * GRU_GATES * hidden;
    const first = batch === 1 ? to.gate(gates, 0, this.#first) : handleOf(sums);
    this.#own = this.#step.directions.map(({ own: [matrix, other] }, d) => [
      to.product(matrix!, h, bias && device.part(handleOf(bias), d * size, size), added, first),
      other === undefined ? undefined : to.product(other, reset, undefined, candidate, to.gate(gates, 2)),
    ]);
    const [z, r, n] = [0, 1, 2].map((gate) => to.gate(gates, gate)) as [ArenaHandle, ArenaHandle, ArenaHandle];
    this.#resets = resetsAfter ? undefined : to.expression(RESET, [r, handleOf(h), handleOf(reset)]);
    this.#expression = resetsAfter
      ? to.expression(GRU_AFTER, [z, r, n, handleOf(candidate), handleOf(h), handleOf(next)])
      : to.expression(GRU, [z, n, handleOf(h), handleOf(next)]);
    const calls = [...this.#own[0]!, this.#resets, this.#expression];
    return calls.flatMap((call) => call?.kernels ?? []);
  }

  look(): void {
    const { at } = this.#making;
    const { added, sums, gates, candidate, reset, next } = this.#cell.room;
    this.#views = {
      added: at.floats(added),
      sums: at.floats(sums),
      gates: at.floats(gates),
      candidate: at.floats(candidate),
      reset: at.floats(reset),
      next: at.floats(next),
      h: at.floats(this.#step.room.h),
    };
    // If the reset comes after the candidate's product, the part of x is added later.
    this.#views.added.fill(0);
  }

  advance(d: number, from: Float32Array): void {
    const { device, batch, hidden } = this.#making;
    const { added, sums, gates, candidate, h, next } = this.#views!;
    const width = this.#first * hidden;
    for (let row = 0; row < batch; row++) {
      const [at, last] = [row * GRU_GATES * hidden, (row * GRU_GATES + 2) * hidden];
      added.set(from.subarray(at, last), row * width);
      candidate.set(from.subarray(last, last + hidden), row * hidden);
    }
    const [first, second] = this.#own[d]!;
    device.run(first);
    if (batch > 1) spread(sums, gates, this.#first, batch, hidden);
    if (second) {
      device.run(this.#resets!);
      device.run(second);
    }
    device.run(this.#expression!);
    h.set(next);
  }

  // Its only state is `h`.
  begin(): void {}
  keep(): void {}
  clear(): void {}
  commit(): void {}
  end(): void {}
}

/** The state times the reset gate. */
const RESET: Elementwise = /* @__PURE__ */ resetExpression();
/** The next state, from update gate, candidate and state. */
const GRU: Elementwise = /* @__PURE__ */ gruExpression(3, (to) => [0, to.add('Tanh', [1]), 2]);
/** The next state, from update and reset gate, the candidate's products of state and x, and the state. */
const GRU_AFTER: Elementwise = /* @__PURE__ */ gruExpression(5, (to) => {
  const left = to.add('Mul', [to.add('Sigmoid', [1]), 2]);
  return [0, to.add('Tanh', [to.add('Add', [3, left])]), 4];
});

function resetExpression(): Elementwise {
  const to = new Expression(2);
  return { outputs: [to.add('Mul', [to.add('Sigmoid', [0]), 1])], nodes: to.nodes };
}

function gruExpression(
  count: number,
  operands: (to: Expression) => readonly [update: number, candidate: number, state: number],
): Elementwise {
  const to = new Expression(count);
  const [update, candidate, state] = operands(to);
  const kept = to.add('Mul', [to.add('Sigmoid', [update]), to.add('Sub', [state, candidate])]);
  return { outputs: [to.add('Add', [candidate, kept])], nodes: to.nodes };
}
