/** Programs of loops on a device of @msd/core's that lives in memory. */
import type { ArenaHandle, WasmBackend } from '@msd/core';
import { type Memory, perHost } from '../kernels/host.ts';
import { hostOf } from '../kernels/hosts.ts';
import type { LoopAttrs, LoopInputs, LoopOutputs } from '../kernels/loop.ts';
import type { TfNamespace } from '../tf.ts';
import { copyRows, Expressions } from './expressions.ts';
import { type Matrices, MatricesOf } from './matrices.ts';
import type { Place, Step } from './program.ts';

/** Where the places of a run are. */
interface Run {
  readonly attrs: LoopAttrs;
  readonly batch: number;
  readonly places: readonly { readonly place: Place; readonly at: ArenaHandle }[];
  readonly matrices: readonly Matrices[];
}

export class LoopCalls {
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

  run({ matrices, values }: LoopInputs, attrs: LoopAttrs, made: LoopOutputs): void {
    const { program, specs, iterations, batch } = attrs;
    const device = this.#device;
    const results = [...made.states.values(), ...made.sequences];
    const given = program.places.map((_, i) => (made.states.has(i) ? undefined : values[i]));
    const initial = [...made.states.keys()].map((i) => values[i]);
    this.#places(
      [...matrices, ...given, ...initial, ...results],
      (found) => {
        let at = 0;
        const take = (count: number) => found.slice(at, (at += count));
        const matricesAt = take(matrices.length) as ArenaHandle[];
        const [givenAt, initialAt] = [take(given.length), take(initial.length) as ArenaHandle[]];
        const statesAt = take(initial.length) as ArenaHandle[];
        const sequencesAt = take(made.sequences.length) as ArenaHandle[];
        const states = new Map([...made.states.keys()].map((place, i) => [place, statesAt[i]!]));
        for (const [i, from] of initialAt.entries()) copyRows(device, from, statesAt[i]!);
        const size = ({ kind, width }: Place) => (kind === 'local' ? 4 * batch * width : 0);
        const scratch = device.alloc(
          program.places.reduce((sum, place) => sum + size(place), 4),
          'loop',
        );
        try {
          let used = 0;
          const places = program.places.map((place, i) => {
            const at = states.get(i) ?? givenAt[i] ?? device.part(scratch, used, size(place));
            used += size(place);
            return { place, at };
          });
          const adopted = matrices.map((own, i) => this.#matrices.at(own, specs[i]!, matricesAt[i]!));
          const run: Run = { attrs, batch, places, matrices: adopted };
          for (let t = 0; t < iterations; t++) {
            for (const [i, step] of program.steps.entries()) this.#do(run, step, i, t);
            for (const [i, { place, isLast }] of attrs.sequences.entries()) {
              const { at } = places[place]!;
              if (!isLast) copyRows(device, at, device.part(sequencesAt[i]!, t * at.byteLength, at.byteLength));
              else if (t === iterations - 1) copyRows(device, at, sequencesAt[i]!);
            }
          }
        } finally {
          device.free(scratch);
        }
      },
      results.length,
    );
  }

  #do(run: Run, step: Step, index: number, t: number): void {
    const { attrs, batch, places } = run;
    if (step.kind === 'product') {
      const x = this.#part(run, step.from, 0, 0, t, batch * places[step.from]!.place.width);
      const outs = [places[step.to]!.at];
      run.matrices[step.matrix]!.multiply(0, { x, M: batch, outs }, attrs);
      return;
    }
    const { width, op } = step;
    for (let b = 0; b < batch; b++) {
      const operands = [...step.from, ...step.to].map(([place, offset]) => this.#part(run, place, offset, b, t, width));
      this.#expressions.run(attrs.keys[index]!, () => op, width, operands);
    }
  }

  /** Numbers of row `b` at position `t`. */
  #part({ places, batch }: Run, index: number, offset: number, b: number, t: number, length: number): ArenaHandle {
    const { place, at } = places[index]!;
    const { kind, width } = place;
    const row = kind === 'vector' ? 0 : kind === 'sequence' || kind === 'mask' ? t * batch + b : b;
    return this.#device.part(at, 4 * (row * width + offset), 4 * length);
  }
}

const callsOf = /* @__PURE__ */ perHost((memory) => new LoopCalls(memory));

/** Of tfjs's current backend; `undefined` if loops are not one step there. */
export const loopCalls = (tf: TfNamespace): LoopCalls | undefined => callsOf(hostOf(tf.backend(), tf.getBackend()));
