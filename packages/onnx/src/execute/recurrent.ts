/**
 * Recurrent layers of a plan. The part of x is one product for many positions. Then JavaScript goes from position to
 * position: each is a product with the last state and an expression (cells.ts). Calls are bound once: what changes with
 * the position is copied, which takes a fraction of the product.
 */

import type { ArenaHandle } from '@msd/core';
import type { Call } from '@msd/core/program';
import { cellReads, lastCellOf, type RecurrentStep, recurrentRoom, type Slot } from '../ops/lowering.ts';
import { type Cell, GruCell, LstmCell, type Making, stateOf } from './cells.ts';
import { Places } from './places.ts';
import type { Workshop } from './plan.ts';

type Shop = Pick<Workshop, 'device' | 'residents' | 'split'>;

interface Direction {
  /** With all rows of a strip, and of the one that is shorter. */
  readonly input: Call<ArenaHandle> | undefined;
  readonly rest: Call<ArenaHandle> | undefined;
}

/** Where a run reads and writes. */
interface Views {
  readonly inputs: Float32Array;
  readonly h: Float32Array;
  readonly initialH: Float32Array | undefined;
  readonly y: Float32Array | undefined;
  readonly lastH: Float32Array;
}

export class Recurrent {
  /** Ids of kernels that a direction's calls take, once there was a run. */
  readonly kernels: string[] = [];
  readonly #making: Making;
  readonly #step: RecurrentStep;
  readonly #cell: Cell;
  readonly #positions: number;
  readonly #batch: number;
  /** Of x. */
  readonly #K: number;
  readonly #hidden: number;
  /** Of the sequences of a run, and the states before a position: only if lengths are told. */
  readonly #lengths: Int32Array;
  readonly #before: Float32Array;
  #directions: readonly Direction[] = [];

  constructor(shop: Shop, step: RecurrentStep, handleOf: (slot: Slot) => ArenaHandle) {
    const slots = [step.x, step.lastH, ...recurrentRoom(step), step.bias, cellReads(step), lastCellOf(step)];
    this.#step = step;
    [this.#positions, this.#batch, this.#K] = step.x.dims as readonly [number, number, number];
    this.#hidden = step.lastH.dims.at(-1)!;
    const at = new Places(slots, handleOf);
    this.#making = { ...shop, handleOf, at, batch: this.#batch, hidden: this.#hidden };
    const { cell } = step;
    this.#cell = cell.kind === 'LSTM' ? new LstmCell(this.#making, step, cell) : new GruCell(this.#making, step, cell);
    this.#lengths = new Int32Array(step.lengths ? this.#batch : 0);
    this.#before = new Float32Array(step.lengths ? this.#batch * this.#hidden : 0);
  }

  run(): void {
    const { at, device, handleOf } = this.#making;
    if (at.hasMoved()) this.#rebind();
    // Nothing is allocated while calls run, so views stay good.
    const { room, initialH, lengths, y, lastH, directions } = this.#step;
    if (lengths) device.read(handleOf(lengths), this.#lengths);
    this.#cell.look();
    const views: Views = {
      inputs: at.floats(room.inputs),
      h: at.floats(room.h),
      initialH: initialH && at.floats(initialH),
      y: y && at.floats(y),
      lastH: at.floats(lastH),
    };
    for (const d of directions.keys()) this.#runDirection(d, views);
  }

  #runDirection(d: number, { inputs, h, initialH, y, lastH }: Views): void {
    const { directions, strip } = this.#step;
    const [size, hidden] = [h.length, this.#hidden];
    stateOf(initialH, d, h);
    this.#cell.begin(d);
    // As in ONNX Runtime, an empty sequence has the state 0.
    for (let row = 0; row < this.#lengths.length; row++) {
      if (this.#lengths[row] !== 0) continue;
      h.fill(0, row * hidden, (row + 1) * hidden);
      this.#cell.clear(row);
    }
    const { isReversed } = directions[d]!;
    const width = inputs.length / Math.max(1, strip);
    const strips = strip === 0 ? 0 : Math.ceil(this.#positions / strip);
    for (let i = 0; i < strips; i++) {
      const first = (isReversed ? strips - 1 - i : i) * strip;
      const end = Math.min(first + strip, this.#positions);
      this.#multiplyInputs(d, first, end);
      for (let j = 0; j < end - first; j++) {
        const t = isReversed ? end - 1 - j : first + j;
        if (this.#before.length > 0) this.#before.set(h);
        this.#cell.advance(d, inputs.subarray((t - first) * width, (t - first + 1) * width));
        const at = (t * directions.length + d) * size;
        y?.set(h, at);
        this.#keepEnded(t, h, y?.subarray(at, at + size));
        this.#cell.commit();
      }
    }
    lastH.set(h, d * size);
    this.#cell.end(d);
  }

  /** The products of x at positions [begin, end). */
  #multiplyInputs(d: number, begin: number, end: number): void {
    const { device, handleOf } = this.#making;
    const { input, rest } = this.#directions[d]!;
    const row = 4 * this.#batch * this.#K;
    const x = device.part(handleOf(this.#step.x), begin * row, (end - begin) * row);
    device.run((end - begin === this.#step.strip ? input : rest)!, { operands: { 0: x } });
  }

  /** Sequences that have no position `t` keep their states. */
  #keepEnded(t: number, h: Float32Array, told: Float32Array | undefined): void {
    const hidden = this.#hidden;
    for (let row = 0; row < this.#lengths.length; row++) {
      if (t < this.#lengths[row]!) continue;
      const [from, to] = [row * hidden, (row + 1) * hidden];
      h.set(this.#before.subarray(from, to), from);
      this.#cell.keep(row);
      told?.fill(0, from, to);
    }
  }

  #rebind(): void {
    this.#directions = this.#step.directions.map((_, d) => this.#bind(d));
    const own = this.#cell.bind();
    if (this.kernels.length === 0) this.kernels.push(...(this.#directions[0]!.input?.kernels ?? []), ...own);
  }

  #bind(d: number): Direction {
    const { device, residents, split, handleOf } = this.#making;
    const { x, bias, strip, directions, room } = this.#step;
    const width = room.inputs.dims.at(-1)!;
    const matrices = [residents.matrix(directions[d]!.input)];
    const biasPart = bias && device.part(handleOf(bias), 4 * d * width, 4 * width);
    const inputCall = (positions: number) => {
      if (positions === 0) return undefined;
      const M = positions * this.#batch;
      const from = device.part(handleOf(x), 0, 4 * M * this.#K);
      const to = device.part(handleOf(room.inputs), 0, 4 * M * width);
      const work = { kind: 'product' as const, matrices, M, each: [{}], ...split };
      return device.bind(work, [from, biasPart, undefined, undefined, to]);
    };
    return { input: inputCall(strip), rest: inputCall(strip === 0 ? 0 : this.#positions % strip) };
  }
}
