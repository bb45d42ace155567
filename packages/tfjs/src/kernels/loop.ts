/**
 * MsdLoop: a program over positions (recurrent/program.ts).
 *
 *   inputs   m0, m1, … int32 (packed); p0, p1, … f32, of places that have one: sequences and masks [positions, batch, width], states
 *            [batch, width], vectors [width]
 *   outputs  states that are written [batch, width], in the order of their places, then sequences [positions, batch, width]
 */
import type { ActivationBlock } from '@msd/core';
import type { LoopProgram } from '../recurrent/program.ts';
import type { MatrixSpec } from '../spec.ts';
import type { TensorInfo } from '../tf.ts';
import type { Host } from './host.ts';
import { outputsOf } from './recurrent.ts';

export interface LoopInputs {
  readonly matrices: readonly TensorInfo[];
  /** By place. */
  readonly values: readonly (TensorInfo | undefined)[];
}

export interface LoopOutputs {
  /** By place. */
  readonly states: ReadonlyMap<number, TensorInfo>;
  readonly sequences: readonly TensorInfo[];
}

export interface LoopAttrs {
  readonly program: LoopProgram;
  /** Of each step: equal expressions have the same. */
  readonly keys: readonly string[];
  readonly specs: readonly MatrixSpec[];
  readonly iterations: number;
  readonly batch: number;
  /** Places of states that change. */
  readonly states: readonly number[];
  /** Of these, and of what is told. */
  readonly shapes: readonly (readonly number[])[];
  /** Places that are told at each position, or at the last one. */
  readonly sequences: readonly { readonly place: number; readonly isLast: boolean }[];
  readonly components: 1 | 2;
  readonly activationBlock: ActivationBlock;
  /** Who runs it. It comes along, so that pages without loops do not download it. */
  readonly calls: { run(inputs: LoopInputs, attrs: LoopAttrs, outputs: LoopOutputs): void };
}

export function msdLoop(inputs: Readonly<Record<string, TensorInfo>>, attrs: LoopAttrs, host: Host): TensorInfo[] {
  const { program, specs, states, shapes, calls } = attrs;
  const matrices = specs.map((_, i) => inputs[`m${i}`]!);
  const values = program.places.map((_, i) => inputs[`p${i}`]);
  return outputsOf(host, shapes, Object.values(inputs), (made) =>
    calls.run({ matrices, values }, attrs, {
      states: new Map(states.map((place, i) => [place, made[i]!])),
      sequences: made.slice(states.length),
    }),
  );
}
