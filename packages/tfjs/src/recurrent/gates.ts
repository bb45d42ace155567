/**
 * What a cell makes of its products, element by element, with the gates in Keras's order.
 *
 *   lstm     i, f, g, o = z      c = σ(f) · c + σ(i) · act(g)     h = σ(o) · act(c)
 *   gru      u, r, n = z         h = u · h + (1 − u) · n          n = act(x·W + (r · h)·R)
 *   simple   h = act(z)
 *
 * σ is the recurrent activation, act the other one.
 */
import type { Elementwise, ElementwiseNode, FunctionId } from '@msd/core/nn';

export type RecurrentId = 'lstm' | 'gru' | 'simple';

/** Names of tfjs-layers. */
export interface CellActivations {
  readonly activation: string;
  readonly recurrentActivation: string;
}

/** Builds an expression node by node; values are numbered inputs first. */
class Expression {
  readonly nodes: ElementwiseNode[] = [];
  readonly #inputs: number;

  constructor(inputs: number) {
    this.#inputs = inputs;
  }

  add(fn: FunctionId, args: readonly number[], values?: readonly number[]): number {
    this.nodes.push({ fn, args, ...(values && { values }) });
    return this.#inputs + this.nodes.length - 1;
  }
}

type Function = (to: Expression, x: number) => number;

const one =
  (fn: FunctionId, ...values: number[]): Function =>
  (to, x) =>
    to.add(fn, [x], values.length ? values : undefined);

/** As tfjs-layers has them; those that look at more than one element are not here. */
const ACTIVATIONS: Readonly<Record<string, Function>> = {
  linear: (_, x) => x,
  relu: one('Relu'),
  relu6: (to, x) => to.add('Min', [to.add('Relu', [x]), to.add('ConstantF32', [], [6])]),
  elu: one('Elu', 1),
  sigmoid: one('Sigmoid'),
  hardSigmoid: one('HardSigmoid', 0.2, 0.5),
  softplus: one('Softplus'),
  softsign: one('Softsign'),
  tanh: one('Tanh'),
  gelu: one('Gelu'),
  gelu_new: one('GeluTanh'),
  swish: one('Silu'),
};

/** Can kernels end with these? */
export const areKnown = ({ activation, recurrentActivation }: CellActivations): boolean =>
  Object.hasOwn(ACTIVATIONS, activation) && Object.hasOwn(ACTIVATIONS, recurrentActivation);

export interface Gates {
  /** Of the cell; operands follow in the order of its inputs, then of its outputs. */
  readonly last: Elementwise;
  /** Of a GRU: what is left of the state, from what comes of x, of the state, and the state. */
  readonly reset?: Elementwise;
}

export function gatesOf(id: RecurrentId, { activation, recurrentActivation }: CellActivations): Gates {
  const [act, gate] = [ACTIVATIONS[activation]!, ACTIVATIONS[recurrentActivation]!];
  if (id === 'lstm') {
    const to = new Expression(5);
    const gained = to.add('Mul', [gate(to, 0), act(to, 2)]);
    const cell = to.add('Add', [to.add('Mul', [gate(to, 1), 4]), gained]);
    const told = to.add('Mul', [gate(to, 3), act(to, cell)]);
    return { last: { nodes: to.nodes, outputs: [cell, told] } };
  }
  if (id === 'simple') {
    const to = new Expression(1);
    const y = act(to, 0);
    // An expression without a node is none.
    return { last: { nodes: to.nodes, outputs: [y === 0 ? to.add('Add', [0, to.add('ConstantF32', [], [0])]) : y] } };
  }
  const reset = new Expression(3);
  const left = reset.add('Mul', [gate(reset, reset.add('Add', [0, 1])), 2]);
  const to = new Expression(5);
  const update = gate(to, to.add('Add', [0, 1]));
  const candidate = act(to, to.add('Add', [2, 3]));
  const kept = to.add('Mul', [update, 4]);
  const open = to.add('Sub', [to.add('ConstantF32', [], [1]), update]);
  const next = to.add('Add', [kept, to.add('Mul', [open, candidate])]);
  return { reset: { nodes: reset.nodes, outputs: [left] }, last: { nodes: to.nodes, outputs: [next] } };
}

/** Functions that a graph's cells end with. */
export const CELL_ACTIVATIONS = ['Tanh', 'Relu', 'Elu', 'Softplus'] as const;
export type CellActivation = (typeof CELL_ACTIVATIONS)[number];

/** Gates of products that are there already, as a graph model has them. */
export interface GatesOp {
  readonly id: 'lstm' | 'gru';
  /** Where i, f, g, o of an LSTM lie in the products; update, reset and candidate of a GRU. */
  readonly order: readonly number[];
  /** Products that are added up; a GRU's second one is of the state, and is reset. */
  readonly terms: number;
  readonly hasBias: boolean;
  /** Added to the forget gate. */
  readonly forget: number;
  /** Default: tanh. */
  readonly activation?: CellActivation;
  /** The gates are max(0, min(1, a · x + b)), not sigmoids. */
  readonly hard?: readonly [a: number, b: number];
}

/** Of terms and bias of each gate, then the state: c and h of an LSTM, h of a GRU. */
export function stepOf({ id, order, terms, hasBias, forget, activation = 'Tanh', hard }: GatesOp): Elementwise {
  const each = terms + (hasBias ? 1 : 0);
  const state = each * order.length;
  const to = new Expression(state + 1);
  const sum = (gate: number) => {
    let value = gate * each;
    for (let i = 1; i < each; i++) value = to.add('Add', [value, gate * each + i]);
    return value;
  };
  const gate = (x: number) => (hard ? to.add('HardSigmoid', [x], hard) : to.add('Sigmoid', [x]));
  const act = (x: number) => to.add(activation, [x], activation === 'Elu' ? [1] : undefined);
  if (id === 'gru') {
    const update = gate(sum(0));
    const left = to.add('Mul', [gate(sum(1)), 2 * each + 1]);
    const candidate = act(to.add('Add', [2 * each, left]));
    const open = to.add('Sub', [to.add('ConstantF32', [], [1]), update]);
    const kept = to.add('Mul', [update, state]);
    return { nodes: to.nodes, outputs: [to.add('Add', [kept, to.add('Mul', [open, candidate])])] };
  }
  const [i, f, g, o] = [0, 1, 2, 3].map(sum) as [number, number, number, number];
  const forgotten = forget ? to.add('Add', [f, to.add('ConstantF32', [], [forget])]) : f;
  const gained = to.add('Mul', [gate(i), act(g)]);
  const cell = to.add('Add', [to.add('Mul', [gate(forgotten), state]), gained]);
  const told = to.add('Mul', [gate(o), act(cell)]);
  return { nodes: to.nodes, outputs: [cell, told] };
}
