/** A loop's program in operations of tfjs, position by position: on GPUs, and while gradients are recorded. */
import type { ElementwiseNode } from '@msd/core/nn';
import { matMul } from '../mat-mul.ts';
import type { QuantizedTensor } from '../quantized-tensor.ts';
import type { Tensor, TfNamespace } from '../tf.ts';
import type { LoopProgram, Part, Step } from './program.ts';

export interface SpeltRun {
  readonly program: LoopProgram;
  readonly matrices: readonly QuantizedTensor[];
  /** By place. */
  readonly values: readonly (Tensor | undefined)[];
  readonly iterations: number;
  readonly batch: number;
  /** Places of the states that are results. */
  readonly states: readonly number[];
  readonly told: readonly { readonly place: number; readonly isLast: boolean }[];
}

/** @returns states, then sequences. The caller's tidy owns what it makes */
export function spellProgram(tf: TfNamespace, run: SpeltRun): Tensor[] {
  const { program, values, iterations, batch, states, told } = run;
  const now = new Map<number, Tensor>(states.map((place) => [place, values[place]!]));
  const sequences = told.map((): Tensor[] => []);
  for (let t = 0; t < iterations; t++) {
    const row = (place: number): Tensor => {
      const { kind, width } = program.places[place]!;
      if (kind !== 'sequence' && kind !== 'mask') return now.get(place) ?? values[place]!;
      return tf.reshape(tf.slice(values[place]!, [t, 0, 0], [1, batch, width]), [batch, width]);
    };
    for (const step of program.steps) {
      if (step.kind === 'product') now.set(step.to, matMul(row(step.from), run.matrices[step.matrix]!));
      else rows(tf, step, row, program, now, batch);
    }
    for (const [i, { place }] of told.entries()) sequences[i]!.push(now.get(place)!);
  }
  const stacked = sequences.map((made, i) => {
    const { place, isLast } = told[i]!;
    if (made.length === 0) return tf.zeros([0, batch, program.places[place]!.width]) as Tensor;
    return tf.stack(isLast ? made.slice(-1) : made);
  });
  return [...states.map((place) => now.get(place)!), ...stacked];
}

function rows(
  tf: TfNamespace,
  { op, width, from, to }: Extract<Step, { kind: 'rows' }>,
  row: (place: number) => Tensor,
  { places }: LoopProgram,
  now: Map<number, Tensor>,
  batch: number,
): void {
  const columns = ([place, offset]: Part): Tensor => {
    const x = row(place);
    if (places[place]!.width === width) return x;
    return x.rank === 1 ? tf.slice(x, [offset], [width]) : tf.slice(x, [0, offset], [x.shape[0]!, width]);
  };
  const made = from.map(columns);
  for (const node of op.nodes)
    made.push(
      apply(
        tf,
        node,
        node.args.map((arg) => made[arg]!),
      ),
    );
  for (const [i, [place, offset]] of to.entries()) {
    const value = wide(tf, made[op.outputs[i]!]!, [batch, width]);
    const whole = places[place]!.width;
    const before = now.get(place);
    if (width === whole) now.set(place, value);
    else {
      // Side by side: parts come in their order.
      now.set(place, offset === 0 || !before ? value : tf.concat([before, value], 1));
    }
  }
}

/** Numbers alone make no row. */
const wide = (tf: TfNamespace, x: Tensor, shape: number[]): Tensor =>
  x.shape.join() === shape.join() ? x : tf.broadcastTo(x, shape);

type Operation = (tf: TfNamespace, args: readonly Tensor[], values: readonly number[]) => Tensor;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  Add: (tf, [a, b]) => tf.add(a!, b!),
  Sub: (tf, [a, b]) => tf.sub(a!, b!),
  Mul: (tf, [a, b]) => tf.mul(a!, b!),
  Div: (tf, [a, b]) => tf.div(a!, b!),
  Min: (tf, [a, b]) => tf.minimum(a!, b!),
  Max: (tf, [a, b]) => tf.maximum(a!, b!),
  Sigmoid: (tf, [x]) => tf.sigmoid(x!),
  Tanh: (tf, [x]) => tf.tanh(x!),
  Relu: (tf, [x]) => tf.relu(x!),
  Elu: (tf, [x]) => tf.elu(x!),
  LeakyRelu: (tf, [x], [alpha]) => tf.leakyRelu(x!, alpha),
  Softplus: (tf, [x]) => tf.softplus(x!),
  Exp: (tf, [x]) => tf.exp(x!),
  Neg: (tf, [x]) => tf.neg(x!),
  Abs: (tf, [x]) => tf.abs(x!),
  Sqrt: (tf, [x]) => tf.sqrt(x!),
  ConstantF32: (tf, _, [value]) => tf.scalar(value!),
  CastToBool: (tf, [x]) => tf.cast(x!, 'bool'),
  Not: (tf, [x]) => tf.logicalNot(x!),
  And: (tf, [a, b]) => tf.logicalAnd(a!, b!),
  Or: (tf, [a, b]) => tf.logicalOr(a!, b!),
  Where: (tf, [mask, a, b]) => tf.where(mask!, a!, b!),
};

function apply(tf: TfNamespace, { fn, values = [] }: ElementwiseNode, args: readonly Tensor[]): Tensor {
  const operation = Object.hasOwn(OPERATIONS, fn) ? OPERATIONS[fn] : undefined;
  if (!operation) throw new RangeError(`MsdRecurrent: function, expected one that a loop has, got ${fn}.`);
  return operation(tf, args, values);
}
