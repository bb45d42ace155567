/**
 * Functions of codes: what they stand for goes through the function and becomes codes again. ONNX Runtime does so in another order of
 * roundings, or through a table, so a code may differ by one where the result lies within those roundings of the middle between two.
 */
import { copyOnWasm as copy, concat as copyConcat, elementwiseOnWasm as elementwise } from '@msd/core/nn';
import { BOOL } from '../data-types.ts';
import type { Info } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { type Expression, expressionMatch, expressionOf } from './expression.ts';
import { emitOp, type Lowering, type Slot } from './lowering.ts';
import { axisOf, broadcast, type NodeView, type Operator } from './operator.ts';
import { addDequantize, addQuantize, type Coding, codingOf, notCodes } from './quantize.ts';

/** Operands of codes, each with its scale and zero point; then scale and zero point of the result. */
const CODED = 3;

/** What the codes of some operands and of the result mean. */
export function codingsOf(matcher: Matcher, { node }: NodeView, operands: number): readonly Coding[] | string {
  const codings: Coding[] = [];
  for (let i = 0; i <= operands; i++) {
    const at = CODED * i + (i === operands ? 0 : 1);
    const coding = codingOf(
      matcher,
      i === operands ? 'y' : `operand ${i}`,
      node.inputs[at] ?? '',
      node.inputs[at + 1] ?? '',
    );
    if (typeof coding === 'string') return coding;
    codings.push(coding);
  }
  return codings;
}

type Build = (to: Expression, args: readonly number[], view: NodeView) => number;

function matchFunction(operands: number, build: Build): Operator['match'] {
  return (view, matcher) => {
    const { node } = view;
    const [y = ''] = node.outputs;
    const codings = codingsOf(matcher, view, operands);
    if (typeof codings === 'string') return codings;
    const names = Array.from({ length: operands }, (_, i) => node.inputs[CODED * i] ?? '');
    for (const [i, name] of names.entries()) {
      const refused = notCodes(matcher, `operand ${i}`, name);
      if (refused !== undefined) return refused;
    }
    const { elemType } = matcher.info(y)!;
    return (
      notCodes(matcher, 'y', y) ??
      expressionMatch(matcher, [node], names, (to, args) => {
        const floats = args.map((arg, i) => addDequantize(to, arg, codings[i]!));
        addQuantize(to, build(to, floats, view), codings[operands]!, elemType);
      })
    );
  };
}

const inferFunction =
  (operands: number): Operator['infer'] =>
  (view, inputs, symbols) => {
    const codes = Array.from({ length: operands }, (_, i) => inputs[CODED * i]?.dims);
    return [{ elemType: inputs[0]?.elemType ?? 0, dims: broadcast(view, codes, symbols) }];
  };

const functionOf = (name: string, operands: number, build: Build, attributes: readonly string[] = []): Operator => ({
  name: `com.microsoft.${name}`,
  attributes,
  infer: inferFunction(operands),
  match: matchFunction(operands, build),
});

/** Scale and zero point of the result, then every operand with its own. */
function matchConcat(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [s = '', z = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const coding = codingOf(matcher, 'y', s, z);
  if (typeof coding === 'string') return coding;
  const operands: { readonly name: string; readonly coding: Coding }[] = [];
  for (let at = 2; at < node.inputs.length; at += CODED) {
    const [name = '', scale = '', zero = ''] = node.inputs.slice(at, at + CODED);
    const own = codingOf(matcher, `operand ${operands.length}`, scale, zero);
    if (typeof own === 'string') return own;
    const refused = notCodes(matcher, `operand ${operands.length}`, name);
    if (refused !== undefined) return refused;
    operands.push({ name, coding: own });
  }
  const refused = operands.length === 0 ? 'nothing to put together' : notCodes(matcher, 'y', y);
  if (refused !== undefined) return refused;
  const { elemType } = matcher.info(y)!;
  const names = operands.map(({ name }) => name);
  return {
    op: 'copy',
    place: 'device',
    nodes: [node],
    inputs: names,
    outputs: [y],
    resources: matcher.constants(names),
    lower(to) {
      const slots = operands.map((operand) => recoded(to, to.slot(operand.name), operand.coding, coding, elemType));
      const dims = slots.map((slot) => slot.dims);
      emitOp(to, copy, copyConcat(dims, axisOf(view, view.int('axis', 0), dims[0]!.length)), slots, [y]);
    },
  };
}

function recoded(to: Lowering, codes: Slot, from: Coding, coding: Coding, elemType: number): Slot {
  if (from.scale === coding.scale && from.zeroPoint === coding.zeroPoint) return codes;
  const op = expressionOf((into, x) => addQuantize(into, addDequantize(into, x, from), coding, elemType));
  return emitOp(to, elementwise, op, [codes], [])[0]!;
}

const inferConcat: Operator['infer'] = (view, inputs, symbols) => {
  const codes = inputs.filter((_, i) => i >= 2 && (i - 2) % CODED === 0);
  const [first] = codes;
  if (codes.some((each) => !each?.dims)) return [{ elemType: first?.elemType ?? 0, dims: undefined }];
  const axis = axisOf(view, view.int('axis', 0), first!.dims!.length);
  const size = (codes as readonly Info[]).map(({ dims }) => dims![axis]!).reduce((a, b) => symbols.sum(a, b));
  return [{ elemType: first!.elemType, dims: first!.dims!.with(axis, size) }];
};

/** Operands of codes behind a condition. */
function matchWhere({ node }: NodeView, matcher: Matcher): Match | string {
  const [condition = '', a = '', aScale = '', aZero = '', b = '', bScale = '', bZero = '', yScale = '', yZero = ''] =
    node.inputs;
  const [y = ''] = node.outputs;
  if (matcher.info(condition)?.elemType !== BOOL) return 'the condition is not bool';
  const from = [codingOf(matcher, 'X', aScale, aZero), codingOf(matcher, 'Y', bScale, bZero)];
  const to = codingOf(matcher, 'z', yScale, yZero);
  const unknown = [...from, to].find((coding) => typeof coding === 'string');
  if (typeof unknown === 'string') return unknown;
  const refused = notCodes(matcher, 'X', a) ?? notCodes(matcher, 'Y', b) ?? notCodes(matcher, 'z', y);
  if (refused !== undefined) return refused;
  const { elemType } = matcher.info(y)!;
  return expressionMatch(matcher, [node], [condition, a, b], (into, [chosen, ...args]) => {
    const floats = args.map((arg, i) => addDequantize(into, arg, from[i] as Coding));
    addQuantize(into, into.add('Where', [chosen!, ...floats]), to as Coding, elemType);
  });
}

const inferWhere: Operator['infer'] = (view, [condition, a, , , b], symbols) => [
  { elemType: a?.elemType ?? 0, dims: broadcast(view, [condition?.dims, a?.dims, b?.dims], symbols) },
];

export const qLinearOperators: readonly Operator[] = [
  functionOf('QLinearAdd', 2, (to, args) => to.add('Add', args)),
  functionOf('QLinearMul', 2, (to, args) => to.add('Mul', args)),
  functionOf('QLinearSigmoid', 1, (to, args) => to.add('Sigmoid', args)),
  functionOf('QLinearLeakyRelu', 1, (to, args, view) => to.add('LeakyRelu', args, [view.float('alpha', 0.01)]), [
    'alpha',
  ]),
  {
    name: 'com.microsoft.QLinearConcat',
    attributes: ['axis'],
    infer: inferConcat,
    match: matchConcat,
  },
  {
    name: 'com.microsoft.QLinearWhere',
    infer: inferWhere,
    match: matchWhere,
  },
];
