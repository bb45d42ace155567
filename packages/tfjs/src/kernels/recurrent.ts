/**
 * MsdRecurrent: a recurrent layer over all of its positions.
 *
 *   inputs   x f32 [positions, batch, K]; w, r int32 (packed); bias f32 [gates · units]; h, c f32 [batch, units]
 *   attrs    see RecurrentAttrs
 *   outputs  h, c of an LSTM, and h at every position [positions, batch, units] if `sequences`
 */
import type { ActivationBlock } from '@msd/core';
import type { CellActivations, GatesOp, RecurrentId } from '../recurrent/gates.ts';
import type { MatrixSpec } from '../spec.ts';
import type { TensorInfo } from '../tf.ts';
import type { Host } from './host.ts';

export interface RecurrentInputs {
  readonly x: TensorInfo;
  readonly w: TensorInfo;
  readonly r: TensorInfo;
  readonly bias?: TensorInfo;
  readonly h: TensorInfo;
  readonly c?: TensorInfo;
}

export interface RecurrentAttrs {
  readonly id: RecurrentId;
  readonly activations: CellActivations;
  /** [K, gates · units] */
  readonly input: MatrixSpec;
  /** [units, gates · units]; a GRU's has a matrix per gate */
  readonly own: MatrixSpec;
  /** From the last position to the first; results are in the order in which they are made. */
  readonly isReversed: boolean;
  readonly sequences: boolean;
  /** [positions, batch], 0: there is nothing, the state stays. */
  readonly mask?: ArrayLike<number> | undefined;
  readonly components: 1 | 2;
  readonly activationBlock: ActivationBlock;
  /** Who runs it. It comes along, so that pages without recurrent layers do not download it. */
  readonly calls: { run(inputs: RecurrentInputs, attrs: RecurrentAttrs, outputs: RecurrentOutputs): void };
}

export interface RecurrentOutputs {
  readonly h: TensorInfo;
  readonly c: TensorInfo | undefined;
  readonly sequence: TensorInfo | undefined;
}

export function msdRecurrent(inputs: RecurrentInputs, attrs: RecurrentAttrs, host: Host): TensorInfo[] {
  const { x, h, c } = inputs;
  const [positions] = x.shape;
  const read = Object.values(inputs) as TensorInfo[];
  const shapes = [h.shape, ...(c ? [c.shape] : []), ...(attrs.sequences ? [[positions!, ...h.shape]] : [])];
  return outputsOf(host, shapes, read, ([own, ...others]) => {
    const sequence = attrs.sequences ? others.at(-1) : undefined;
    attrs.calls.run(inputs, attrs, { h: own!, c: c && others[0], sequence });
  });
}

export interface GatesInputs {
  /** [batch, gates · units] */
  readonly terms: readonly TensorInfo[];
  /** [gates · units] */
  readonly bias: TensorInfo | undefined;
  /** c of an LSTM, h of a GRU: [batch, units] */
  readonly state: TensorInfo;
}

export interface GatesOutputs {
  readonly h: TensorInfo;
  readonly c: TensorInfo | undefined;
}

/**
 * MsdGates: what a cell makes of its products, element by element.
 *
 *   inputs   term0, term1 f32 [batch, gates · units], bias f32 [gates · units], state f32 [batch, units]
 *   outputs  h, and c of an LSTM
 */
export function msdGates(
  { term0, term1, bias, state }: Record<'term0' | 'state', TensorInfo> & Partial<Record<'term1' | 'bias', TensorInfo>>,
  { op, calls }: { op: GatesOp; calls: { runGates(op: GatesOp, inputs: GatesInputs, outputs: GatesOutputs): void } },
  host: Host,
): TensorInfo[] {
  const terms = term1 ? [term0, term1] : [term0];
  const shapes = op.id === 'lstm' ? [state.shape, state.shape] : [state.shape];
  const read = [...terms, ...(bias ? [bias] : []), state];
  return outputsOf(host, shapes, read, ([h, c]) => calls.runGates(op, { terms, bias, state }, { h: h!, c }));
}

/** One output inside of the other: all are given back if the last one fails. */
export function outputsOf(
  host: Host,
  shapes: readonly (readonly number[])[],
  read: readonly TensorInfo[],
  run: (made: readonly TensorInfo[]) => void,
): TensorInfo[] {
  const made: TensorInfo[] = [];
  const make = () => {
    const shape = shapes[made.length];
    if (!shape) return run(made);
    host.output([...shape], read, (out) => {
      made.push(out);
      make();
    });
  };
  make();
  return made;
}
