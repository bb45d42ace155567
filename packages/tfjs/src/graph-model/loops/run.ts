/** MsdRecurrent as graph models run it: a whole loop over positions. */
import type { NamedTensorMap } from '@tensorflow/tfjs-core';
import { ModelFormatError } from '../../errors.ts';
import { LOOP } from '../../kernels/index.ts';
import type { LoopAttrs } from '../../kernels/loop.ts';
import { resolveArithmetic } from '../../options.ts';
import type { QuantizedTensor } from '../../quantized-tensor.ts';
import { currentLoopCalls } from '../../recurrent/layer.ts';
import { type Comparison, changingStates, isProgram, type LoopProgram, type Place } from '../../recurrent/program.ts';
import { spellProgram } from '../../recurrent/spelt.ts';
import { constantTensor } from '../../saved.ts';
import { describeSpec, type MatrixSpec } from '../../spec.ts';
import { requireRegistration } from '../../state.ts';
import type { Tensor } from '../../tf.ts';
import { specOfNode } from '../spec-attr.ts';
import { type AttrValue, type NodeDef, stringAttr } from '../topology.ts';
import { LOOP_OP, matrixCount } from './steps.ts';

interface GraphNode {
  readonly inputs: Tensor[];
  readonly node: { readonly name: string; readonly op: string; readonly rawAttrs: Readonly<Record<string, AttrValue>> };
}

interface Known {
  readonly program: LoopProgram;
  readonly keys: readonly string[];
  readonly packed: Tensor[];
  matrices: QuantizedTensor[];
}

const known = /* @__PURE__ */ new WeakMap<object, Known>();

/** @throws {@link ModelFormatError} if the node does not say what its loop does */
function programOf({ name, op, attr }: NodeDef, inputs: number): LoopProgram {
  const node = { name, op, ...(attr && { attr }) };
  let program: unknown;
  try {
    program = JSON.parse(stringAttr(node, 'program') ?? 'null');
  } catch {} // said below
  const matrices = matrixCount(node);
  if (!isProgram(program, inputs - matrices, matrices))
    throw new ModelFormatError(`${op} ${name}: program, expected the steps of a loop over places that it has.`);
  return program;
}

function knownOf({ node: { name, op, rawAttrs }, inputs }: GraphNode): Known {
  const node: NodeDef = { name, op, attr: rawAttrs };
  let own = known.get(rawAttrs);
  if (!own) {
    const program = programOf(node, inputs.length);
    own = {
      program,
      keys: program.steps.map((step) => JSON.stringify(step.kind === 'rows' ? step.op : 0)),
      packed: [],
      matrices: [],
    };
    known.set(rawAttrs, own);
  }
  let isNew = false;
  for (let i = 0; i < matrixCount(node); i++) {
    const packed = inputs[i]!;
    if (own.packed[i] === packed) continue;
    isNew = true;
    own.packed[i] = packed;
    own.matrices[i] = constantTensor(packed, specOfNode(node, packed.size, `spec${i}`));
  }
  if (isNew) checkMatrices(own, node);
  return own;
}

/** Products read and write as much as their matrices say. */
function checkMatrices({ program: { places, steps }, matrices }: Known, { name, op }: NodeDef): void {
  for (const step of steps) {
    if (step.kind !== 'product') continue;
    const { spec } = matrices[step.matrix]!;
    const fits =
      spec.kind === 'matrix' &&
      spec.batchShape.length === 0 &&
      !spec.powers &&
      places[step.from]!.width === spec.K &&
      places[step.to]!.width === spec.N;
    if (!fits)
      throw new ModelFormatError(
        `${op} ${name}: spec${step.matrix}, expected a matrix [${places[step.from]!.width},${places[step.to]!.width}], got ${describeSpec(spec)}.`,
      );
  }
}

/** @returns one tensor for each output of the program */
export function loopOp(graphNode: GraphNode): Tensor[] {
  const { tf, options } = requireRegistration(LOOP_OP);
  const { program, keys, matrices } = knownOf(graphNode);
  const where = `${LOOP_OP} ${graphNode.node.name}`;
  const inputs = graphNode.inputs.slice(matrices.length);
  return tf.tidy(() => {
    const iterations = iterationsOf(program, inputs, where);
    const sequences = program.places.map((place) => sequenceOf(place, inputs, iterations));
    const batch = batchOf(program, inputs, sequences);
    const values = program.places.map((place, i) => placed(place, sequences[i], inputs, { batch, iterations, where }));
    const told = program.outputs.flatMap((output) =>
      output.kind === 'sequence' || output.kind === 'last'
        ? [{ place: output.place, isLast: output.kind === 'last' }]
        : [],
    );
    const states = changingStates(program);
    const shape = (place: number) => [batch, program.places[place]!.width];
    const shapes = [
      ...states.map(shape),
      ...told.map(({ place, isLast }) => [isLast ? 1 : iterations, ...shape(place)]),
    ];
    let made: Tensor[];
    const calls = iterations > 0 && batch > 0 ? currentLoopCalls() : undefined;
    if (calls) {
      const named: NamedTensorMap = {};
      for (const [i, { packed }] of matrices.entries()) named[`m${i}`] = packed;
      for (const [i, value] of values.entries()) if (value) named[`p${i}`] = value;
      const attrs: LoopAttrs = {
        program,
        keys,
        specs: matrices.map(({ spec }) => spec as MatrixSpec),
        iterations,
        batch,
        states,
        shapes,
        sequences: told,
        ...resolveArithmetic({}, options, where),
        calls,
      };
      made = tf.engine().runKernel(LOOP, named, attrs as never) as unknown as Tensor[];
    } else made = spellProgram(tf, { program, matrices, values, iterations, batch, states, told });
    let at = states.length;
    return program.outputs.map((output): Tensor => {
      if (output.kind === 'count') return tf.scalar(output.start + iterations, 'int32');
      if (output.kind === 'state') return tf.clone(made[states.indexOf(output.place)]!);
      return made[at++]!;
    }) as never;
  }) as unknown as Tensor[];
}

function iterationsOf(
  { limits, limit = Number.POSITIVE_INFINITY }: LoopProgram,
  inputs: readonly Tensor[],
  where: string,
): number {
  const given = limits.map((at) => inputs[at]!.dataSync()[0]!);
  const least = Math.min(limit, ...given);
  if (!Number.isFinite(least)) throw new ModelFormatError(`${where}: program, expected a limit, got none.`);
  return Math.max(0, least);
}

/** [positions, batch, width]. Rows of a table are the same for the whole batch, bools of a list [positions, batch] those of rows. */
function sequenceOf(place: Place, inputs: readonly Tensor[], iterations: number): Tensor | undefined {
  const { tf } = requireRegistration(LOOP_OP);
  if (place.kind !== 'sequence' && place.kind !== 'mask') return undefined;
  const x = inputs[place.input]!;
  const weight = place.kind === 'sequence' ? place.weight : undefined;
  if (place.kind === 'mask' && place.compare) return comparedWith(x, place.compare, iterations);
  if (!weight) return x.rank === 2 ? tf.expandDims(x, place.kind === 'mask' ? 2 : 1) : x;
  const rows = tf.reshape(x, [-1, x.shape.at(-1)!]);
  const y = tf.matMul(rows, inputs[weight.input]!, false, weight.transposed);
  return tf.reshape(y, [...x.shape.slice(0, -1), place.width]);
}

/** [positions, batch, 1] of lengths [batch]; a single one is that of all rows. */
function comparedWith(lengths: Tensor, compare: Comparison, iterations: number): Tensor {
  const { tf } = requireRegistration(LOOP_OP);
  const positions = tf.reshape(tf.range(0, iterations, 1, 'int32'), [-1, 1, 1]);
  const rows = tf.reshape(tf.cast(lengths, 'int32'), [1, -1, 1]);
  const comparisons = { Less: tf.less, LessEqual: tf.lessEqual, Greater: tf.greater, GreaterEqual: tf.greaterEqual };
  return comparisons[compare](positions, rows);
}

/** The rows of a sequence, or of the states if there is none. */
function batchOf(
  { places }: LoopProgram,
  inputs: readonly Tensor[],
  sequences: readonly (Tensor | undefined)[],
): number {
  const rows = places.map((place, i) => {
    const sequence = sequences[i];
    if (sequence) return sequence.shape[1] ?? 1;
    const state = place.kind === 'state' ? inputs[place.input]! : undefined;
    return state && state.rank > 1 ? state.shape[0]! : 1;
  });
  return rows.includes(0) ? 0 : Math.max(1, ...rows);
}

interface Extent {
  readonly batch: number;
  readonly iterations: number;
  readonly where: string;
}

/** As the kernel wants it. */
function placed(
  place: Place,
  sequence: Tensor | undefined,
  inputs: readonly Tensor[],
  { batch, iterations, where }: Extent,
): Tensor | undefined {
  const { tf } = requireRegistration(LOOP_OP);
  if (place.kind === 'local') return undefined;
  const { width } = place;
  const floats = (x: Tensor): Tensor => (x.dtype === 'float32' ? x : tf.cast(x, 'float32'));
  const x = sequence ?? inputs[place.input]!;
  const isVector = place.kind === 'vector';
  const wanted = sequence ? [x.shape[0]!, batch, width] : isVector ? [width] : [batch, width];
  if (isVector && x.size === width) return x.rank === 1 ? floats(x) : tf.reshape(floats(x), [-1]);
  const fits =
    !isVector && x.rank <= wanted.length && x.shape.every((size, i) => size === 1 || size === wanted.at(i - x.rank));
  if (!fits || (sequence && (x.rank !== 3 || x.shape[0]! < iterations)))
    throw new RangeError(
      `${where}: ${place.kind}, expected [${sequence ? [`at least ${iterations}`, batch, width] : wanted}], got [${x.shape}].`,
    );
  return x.shape.join() === wanted.join() ? floats(x) : tf.broadcastTo(floats(x), wanted);
}
