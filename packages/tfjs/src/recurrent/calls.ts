/**
 * Recurrent layers on a device of @msd/core's that lives in memory. What comes of x is one product for many positions; then each
 * position is a product with the last state, and one pass over each row of it (gates.ts). Calls are bound once per form, then told
 * where operands lie.
 */
import type { ArenaHandle, WasmBackend } from '@msd/core';
import { type Memory, perHost } from '../kernels/host.ts';
import { hostOf } from '../kernels/hosts.ts';
import type {
  GatesInputs,
  GatesOutputs,
  RecurrentAttrs,
  RecurrentInputs,
  RecurrentOutputs,
} from '../kernels/recurrent.ts';
import type { TfNamespace } from '../tf.ts';
import { copyRows, Expressions } from './expressions.ts';
import { type GatesOp, gatesOf, stepOf } from './gates.ts';
import { type Matrices, MatricesOf } from './matrices.ts';

/** Positions that are multiplied with the kernel at a time. */
const STRIP = 128;

/** Where a run reads and writes. */
interface Run {
  readonly attrs: RecurrentAttrs;
  readonly own: Matrices;
  readonly batch: number;
  readonly units: number;
  readonly h: ArenaHandle;
  readonly c: ArenaHandle | undefined;
  /** [gates][batch, units], or [batch, gates · units] where one product makes them. */
  readonly gates: ArenaHandle;
  /** What a GRU's reset gate leaves of the state. */
  readonly left: ArenaHandle;
}

/** Recurrent layers of one device. */
export class RecurrentCalls {
  readonly #device: WasmBackend;
  readonly #places: Memory['places'];
  readonly #matrices: MatricesOf;
  readonly #expressions: Expressions;

  constructor({ device, places }: Memory) {
    this.#device = device;
    this.#places = places;
    this.#matrices = new MatricesOf(device);
    this.#expressions = new Expressions(device);
  }

  /** Gates of products that are there already. */
  runGates(op: GatesOp, { terms, bias, state }: GatesInputs, { h, c }: GatesOutputs): void {
    const [batch, units] = h.shape as [number, number];
    const results = [h, c];
    this.#places(
      [...terms, bias, state, ...results],
      (places) => {
        const [hAt, cAt] = places.slice(-2);
        const [stateAt, biasAt] = [places.at(-3)!, places.at(-4)];
        const row = (of: ArenaHandle, b: number) => this.#row(of, units, b);
        for (let b = 0; b < batch; b++) {
          const parts = op.order.flatMap((gate) => [
            ...terms.map((_, i) => row(places[i]!, b * op.order.length + gate)),
            ...(biasAt ? [row(biasAt, gate)] : []),
          ]);
          const outs = cAt ? [row(cAt, b), row(hAt!, b)] : [row(hAt!, b)];
          this.#expressions.run(JSON.stringify(op), () => stepOf(op), units, [...parts, row(stateAt, b), ...outs]);
        }
      },
      results.length,
    );
  }

  run({ x, w, r, bias, h, c }: RecurrentInputs, attrs: RecurrentAttrs, out: RecurrentOutputs): void {
    const [positions, batch] = x.shape as [number, number, number];
    const units = h.shape[1]!;
    const device = this.#device;
    const results = [out.h, out.c, out.sequence];
    this.#places(
      [x, w, r, bias, h, c, ...results],
      ([xAt, wAt, rAt, biasAt, h0, c0, hAt, cAt, sequence]) => {
        const width = attrs.input.N;
        const strip = Math.min(positions, STRIP);
        const [row, state] = [4 * batch * width, 4 * batch * units];
        const scratch = device.alloc(strip * row + row + state, 'recurrent layer');
        try {
          const inputs = device.part(scratch, 0, strip * row);
          const input = this.#matrices.at(w, attrs.input, wAt!);
          const run: Run = {
            attrs,
            own: this.#matrices.at(r, attrs.own, rAt!),
            batch,
            units,
            h: hAt!,
            c: cAt,
            gates: device.part(scratch, strip * row, row),
            left: device.part(scratch, (strip + 1) * row, state),
          };
          copyRows(device, h0!, hAt!);
          if (c0) copyRows(device, c0, cAt!);
          const K = attrs.input.K;
          for (let done = 0; done < positions; done += strip) {
            const count = Math.min(strip, positions - done);
            const first = attrs.isReversed ? positions - done - count : done;
            const rows = device.part(xAt!, 4 * first * batch * K, 4 * count * batch * K);
            const outs = [device.part(inputs, 0, count * row)];
            input.multiply(0, { x: rows, M: count * batch, bias: biasAt, outs }, attrs);
            for (let i = 0; i < count; i++) {
              const at = attrs.isReversed ? count - 1 - i : i;
              this.#advance(run, device.part(inputs, at * row, row), first + at);
              if (sequence) copyRows(device, hAt!, device.part(sequence, (done + i) * state, state));
            }
          }
        } finally {
          device.free(scratch);
        }
      },
      results.length,
    );
  }

  /** @param from what comes of x at the position, [batch, gates · units] */
  #advance(run: Run, from: ArenaHandle, position: number): void {
    const { attrs, own, batch, h, gates } = run;
    const M = batch;
    if (attrs.id === 'gru') {
      const part = (gate: number) => this.#device.part(gates, gate * h.byteLength, h.byteLength);
      own.multiply(0, { x: h, M, outs: [part(0), part(1)] }, attrs);
      for (let b = 0; b < batch; b++) this.#reset(run, from, b);
      own.multiply(2, { x: run.left, M, outs: [part(2)] }, attrs);
    } else own.multiply(0, { x: h, M, residual: from, outs: [gates] }, attrs);
    for (let b = 0; b < batch; b++) if (!attrs.mask || attrs.mask[position * batch + b]) this.#pass(run, from, b);
  }

  #reset(run: Run, from: ArenaHandle, b: number): void {
    const { attrs, units } = run;
    const operands = [
      this.#gate(run, from, b, 1),
      this.#ownGate(run, 1, b),
      this.#row(run.h, units, b),
      this.#row(run.left, units, b),
    ];
    this.#express('reset', attrs, units, operands);
  }

  #pass(run: Run, from: ArenaHandle, b: number): void {
    const { attrs, units, gates, c } = run;
    const h = this.#row(run.h, units, b);
    if (attrs.id === 'lstm') {
      const cell = this.#row(c!, units, b);
      const operands = [0, 1, 2, 3].map((gate) => this.#gate(run, gates, b, gate));
      this.#express('last', attrs, units, [...operands, cell, cell, h]);
    } else if (attrs.id === 'simple') this.#express('last', attrs, units, [this.#row(gates, units, b), h]);
    else {
      const [update, candidate] = [0, 2].map((gate) => [this.#gate(run, from, b, gate), this.#ownGate(run, gate, b)]);
      this.#express('last', attrs, units, [...update!, ...candidate!, h, h]);
    }
  }

  #row = (of: ArenaHandle, units: number, b: number): ArenaHandle => this.#device.part(of, 4 * b * units, 4 * units);

  /** Of [batch, gates · units]. */
  #gate({ attrs, units }: Run, of: ArenaHandle, b: number, gate: number): ArenaHandle {
    return this.#device.part(of, 4 * (b * attrs.input.N + gate * units), 4 * units);
  }

  /** Of [gates][batch, units]. */
  #ownGate({ gates, batch, units }: Run, gate: number, b: number): ArenaHandle {
    return this.#device.part(gates, 4 * (gate * batch + b) * units, 4 * units);
  }

  #express(which: 'last' | 'reset', { id, activations }: RecurrentAttrs, units: number, operands: ArenaHandle[]): void {
    const key = `${which},${id},${activations.activation},${activations.recurrentActivation}`;
    this.#expressions.run(key, () => gatesOf(id, activations)[which]!, units, operands);
  }
}

const callsOf = /* @__PURE__ */ perHost((memory) => new RecurrentCalls(memory));

/** Of tfjs's current backend; `undefined` if recurrent layers are not one step there. */
export const recurrentCalls = (tf: TfNamespace): RecurrentCalls | undefined =>
  callsOf(hostOf(tf.backend(), tf.getBackend()));
