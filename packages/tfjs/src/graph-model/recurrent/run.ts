/** MsdGates as graph models run it. */
import type { NamedTensorMap } from '@tensorflow/tfjs-core';
import { ModelFormatError } from '../../errors.ts';
import { GATES } from '../../kernels/index.ts';
import { CELL_ACTIVATIONS, type GatesOp } from '../../recurrent/gates.ts';
import { currentCalls } from '../../recurrent/layer.ts';
import { requireRegistration } from '../../state.ts';
import type { Tensor } from '../../tf.ts';
import { LOOP_OP } from '../loops/steps.ts';
import { type AttrValue, stringAttr, type Topology } from '../topology.ts';

export const GATES_OP = 'MsdGates';

/** Cells or loops. */
export const hasGates = ({ node, library }: Topology): boolean =>
  [node, ...(library?.function ?? []).map(({ nodeDef = [] }) => nodeDef)].some((nodes) =>
    nodes.some(({ op }) => op === GATES_OP || op === LOOP_OP),
  );

interface GraphNode {
  readonly inputs: Tensor[];
  readonly node: { readonly name: string; readonly op: string; readonly rawAttrs: Readonly<Record<string, AttrValue>> };
}

const known = /* @__PURE__ */ new WeakMap<object, GatesOp>();

/** @throws {@link ModelFormatError} if the node does not say what gates it has */
function gatesFor({ node: { name, op, rawAttrs } }: GraphNode): GatesOp {
  const before = known.get(rawAttrs);
  if (before) return before;
  let gates: Partial<GatesOp> | null = null;
  try {
    gates = JSON.parse(stringAttr({ name, op, attr: rawAttrs }, 'gates') ?? 'null') as Partial<GatesOp> | null;
  } catch {} // said below
  const count = gates?.id === 'lstm' ? 4 : gates?.id === 'gru' ? 3 : 0;
  const { order = [], terms = 0, forget, activation = 'Tanh', hard = [0, 0] } = gates ?? {};
  const hasEnds =
    CELL_ACTIVATIONS.includes(activation) && Array.isArray(hard) && hard.length === 2 && hard.every(Number.isFinite);
  const isOrder = Array.isArray(order) && new Set(order).size === count && order.every((at) => at >= 0 && at < count);
  if (!count || !isOrder || !hasEnds || !(terms === 2 || (terms === 1 && count === 4)) || typeof forget !== 'number')
    throw new ModelFormatError(`${op} ${name}: gates, expected those of an LSTM or a GRU.`);
  known.set(rawAttrs, gates as GatesOp);
  return gates as GatesOp;
}

/** @returns h, and c of an LSTM */
export function gatesOp(graphNode: GraphNode): Tensor[] {
  const { tf } = requireRegistration(GATES_OP);
  const op = gatesFor(graphNode);
  const { inputs } = graphNode;
  return tf.tidy(() => {
    const terms = inputs.slice(0, op.terms);
    const bias = op.hasBias ? inputs[op.terms] : undefined;
    const state = inputs[op.terms + (op.hasBias ? 1 : 0)]!;
    const [batch, units] = state.shape;
    const width = op.order.length * units!;
    const fits =
      state.rank === 2 &&
      state.size > 0 &&
      [...terms, state].every(({ dtype }) => dtype === 'float32') &&
      terms.every(({ shape }) => shape.join() === `${batch},${width}`) &&
      (!bias || (bias.dtype === 'float32' && bias.size === width));
    const calls = fits ? currentCalls() : undefined;
    if (!calls) return spelt(op, terms, bias, state) as never;
    const [term0, term1] = terms;
    const named: NamedTensorMap = { term0: term0!, ...(term1 && { term1 }), ...(bias && { bias }), state };
    return tf.engine().runKernel(GATES, named, { op, calls } as never) as never;
  }) as unknown as Tensor[];
}

/** The same in operations of tfjs, as the graph had them. */
function spelt(
  { id, order, forget, activation = 'Tanh', hard }: GatesOp,
  terms: readonly Tensor[],
  bias: Tensor | undefined,
  state: Tensor,
): Tensor[] {
  const { tf } = requireRegistration(GATES_OP);
  const split = (x: Tensor) => {
    const parts = tf.split(x, order.length, -1) as Tensor[];
    return order.map((at) => parts[at]!);
  };
  const act = { Tanh: tf.tanh, Relu: tf.relu, Elu: tf.elu, Softplus: tf.softplus }[activation] as (x: Tensor) => Tensor;
  const gate = (x: Tensor): Tensor =>
    hard ? tf.maximum(tf.minimum(tf.add(tf.mul(x, hard[0]), hard[1]), 1), 0) : tf.sigmoid(x);
  if (id === 'gru') {
    const [[xz, xr, xn], [hz, hr, hn]] = terms.map(split) as [Tensor[], Tensor[]] as [Triple, Triple];
    const update = gate(tf.add(xz, hz));
    const candidate = act(tf.add(xn, tf.mul(gate(tf.add(xr, hr)), hn)));
    return [tf.add(tf.mul(update, state), tf.mul(tf.sub(1, update), candidate))];
  }
  const sum = terms.slice(1).reduce((total, term) => tf.add(total, term) as Tensor, terms[0]!);
  const [i, f, g, o] = split(bias ? tf.add(sum, bias) : sum) as [Tensor, Tensor, Tensor, Tensor];
  const kept = tf.mul(gate(forget ? tf.add(f, forget) : f), state);
  const c = tf.add(kept, tf.mul(gate(i), act(g))) as Tensor;
  return [tf.mul(gate(o), act(c)), c];
}

type Triple = [Tensor, Tensor, Tensor];
