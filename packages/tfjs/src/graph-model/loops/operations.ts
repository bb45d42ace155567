/** Operations of a loop's body, element by element, in terms of @msd/core's functions. */
import type { FunctionId } from '@msd/core/nn';
import { type NodeDef, numberAttr } from '../topology.ts';
import { expression, number, type Value } from './values.ts';

type Operation = (args: readonly Value[], node: NodeDef) => Value | undefined;

const of =
  (fn: FunctionId, count: number, ...values: number[]): Operation =>
  (args) =>
    args.length === count ? expression(fn, args, values.length ? values : undefined) : undefined;

const two = (fn: FunctionId) => of(fn, 2);
const one = (fn: FunctionId, ...values: number[]) => of(fn, 1, ...values);
const first: Operation = ([x]) => x;

/** By what TensorFlow calls them. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  Add: two('Add'),
  AddV2: two('Add'),
  BiasAdd: two('Add'),
  AddN: (args) => args.reduce((sum, arg) => expression('Add', [sum, arg])),
  Sub: two('Sub'),
  Mul: two('Mul'),
  RealDiv: two('Div'),
  Div: two('Div'),
  Minimum: two('Min'),
  Maximum: two('Max'),
  ClipByValue: ([x, least, most]) => x && least && most && expression('Min', [expression('Max', [x, least]), most]),
  Sigmoid: one('Sigmoid'),
  Tanh: one('Tanh'),
  Relu: one('Relu'),
  Relu6: ([x]) => x && expression('Min', [expression('Relu', [x]), number(6)]),
  Elu: one('Elu', 1),
  LeakyRelu: ([x], node) => x && expression('LeakyRelu', [x], [numberAttr(node, 'alpha') ?? 0.2]),
  Softplus: one('Softplus'),
  Exp: one('Exp'),
  Neg: one('Neg'),
  Abs: one('Abs'),
  Sqrt: one('Sqrt'),
  Square: ([x]) => x && expression('Mul', [x, x]),
  ZerosLike: ([x]) => x && number(0),
  OnesLike: ([x]) => x && number(1),
  Identity: first,
  StopGradient: first,
  Snapshot: first,
  PreventGradient: first,
};

/** Activations that a fused product ends with, as tfjs calls them. */
export const ENDINGS: Readonly<Record<string, string>> = {
  relu: 'Relu',
  relu6: 'Relu6',
  elu: 'Elu',
  sigmoid: 'Sigmoid',
  tanh: 'Tanh',
};
