/**
 * Products of codes: QLinearMatMul and QGemm. Codes of A less their zero point are small whole numbers, which are decomposed like any
 * activations; what comes out is rounded to codes of Y. They are ONNX Runtime's, but where the exact result lies so near to the middle
 * between two codes that the product's error bound reaches it: there either may be the one.
 */
import type { Elementwise } from '@msd/core/nn';
import { FLOAT32, INT32 } from '../data-types.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { elementCount, type TensorRef } from '../read/tensor.ts';
import { type Columns, columnsMatrix, refusedColumns } from '../weights/columns.ts';
import { computedTensor } from '../weights/computed.ts';
import { numbersReader } from '../weights/numbers.ts';
import { type Expression, expressionOf, withoutZero } from './expression.ts';
import { integersOf, refusedScales } from './integers.ts';
import type { Resource } from './lowering.ts';
import { inferMatMul } from './mat-mul-shape.ts';
import type { NodeView, Operator } from './operator.ts';
import { quantizedProduct } from './product.ts';
import { addRounded, type Coding, codingOf, notCodes } from './quantize.ts';

const times = (to: Expression, x: number, factor: number): number => to.add('Mul', [x, to.number(factor)]);

/** Weights [K, N] of the file, or [N, K], with their scales, as a matrix [N, K]. */
export function codedWeights(matcher: Matcher, names: readonly string[], transposed: boolean): Columns | string {
  return codedTensor(matcher, 'B', names, ({ dims }) => {
    if (dims.length !== 2) return `B has shape [${dims.join(', ')}]`;
    const [first, second] = dims as [number, number];
    return { N: transposed ? first : second, K: transposed ? second : first, byRows: transposed };
  });
}

/** @param shapeOf sizes of the matrix that a tensor is, or why it is none */
export function codedTensor(
  matcher: Matcher,
  what: string,
  [b = '', s = '', z = '']: readonly string[],
  shapeOf: (tensor: TensorRef) => Pick<Columns, 'N' | 'K' | 'byRows'> | string,
): Coded | string {
  if (matcher.exactly !== undefined) return matcher.exactly;
  const integers = integersOf(matcher, what, b, z);
  if (typeof integers === 'string') return integers;
  const scale = matcher.tensor(s);
  if (!scale) return `the scale of ${what} is not constant`;
  const shape = shapeOf(integers.data);
  if (typeof shape === 'string') return shape;
  const columns = { ...shape, ...integers, scales: [scale] };
  return refusedColumns(columns) ?? refusedScales(matcher, what, columns.scales) ?? columns;
}

/** With one tensor of scales. */
export type Coded = Columns & { readonly scales: readonly TensorRef[] };

function matchQLinearMatMul(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [a = '', aScale = '', aZero = '', b = '', bScale = '', bZero = '', yScale = '', yZero = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const [x, to] = [codingOf(matcher, 'A', aScale, aZero), codingOf(matcher, 'Y', yScale, yZero)];
  if (typeof x === 'string') return x;
  if (typeof to === 'string') return to;
  const columns = codedWeights(matcher, [b, bScale, bZero], false);
  if (typeof columns === 'string') return columns;
  const refused = notCodes(matcher, 'A', a) ?? notCodes(matcher, 'Y', y);
  if (refused !== undefined) return refused;
  const { elemType } = matcher.info(y)!;
  return quantizedProduct(view, matcher, {
    nodes: [node],
    x: a,
    matrix: columnsMatrix(columns),
    y,
    before: withoutZero(x.zeroPoint),
    behind: codesOfSums(x, to, elemType),
    inOrt: 'integers',
  });
}

/** Sums in units of the scale of x as codes of y. */
export const codesOfSums = (x: Coding, y: Coding, elemType: number): Elementwise =>
  expressionOf((to, sum) => addRounded(to, times(to, sum, x.scale / y.scale), y.zeroPoint, elemType));

/** alpha · A · B + C, where C counts in scale of A · scale of B; codes of Y, or floats without a scale of Y. */
function matchQGemm(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [a = '', aScale = '', aZero = '', b = '', bScale = '', bZero = '', c = '', yScale = '', yZero = ''] =
    node.inputs;
  const [y = ''] = node.outputs;
  if (view.int('transA', 0) !== 0) return 'A is transposed';
  const x = codingOf(matcher, 'A', aScale, aZero);
  const to = yScale === '' ? undefined : codingOf(matcher, 'Y', yScale, yZero);
  if (typeof x === 'string') return x;
  if (typeof to === 'string') return to;
  const columns = codedWeights(matcher, [b, bScale, bZero], view.int('transB', 0) !== 0);
  if (typeof columns === 'string') return columns;
  const refused = notCodes(matcher, 'A', a) ?? (to && notCodes(matcher, 'Y', y));
  if (refused !== undefined) return refused;
  const bias = c === '' ? undefined : codedBias('C', matcher.tensor(c), columns);
  if (typeof bias === 'string') return bias;
  const { elemType } = matcher.info(y)!;
  const scale = view.float('alpha', 1) * x.scale;
  return quantizedProduct(view, matcher, {
    nodes: [node],
    x: a,
    matrix: columnsMatrix(columns),
    bias,
    y,
    before: withoutZero(x.zeroPoint),
    behind: expressionOf((into, sum) => {
      if (to) addRounded(into, times(into, sum, scale / to.scale), to.zeroPoint, elemType);
      else times(into, sum, scale);
    }),
    inOrt: 'integers',
  });
}

/** Whole numbers of each column, times the column's scale. */
export function codedBias(
  what: string,
  c: TensorRef | undefined,
  { N, scales }: Columns,
): Extract<Resource, { kind: 'values' }> | string {
  const [scale] = scales as [TensorRef];
  if (c?.elemType !== INT32) return `${what} is not a constant of int32`;
  if (elementCount(c) !== N || c.dims.at(-1) !== N) return `${what} has shape [${c.dims.join(', ')}]`;
  const key = `${c.name} times ${scale.name}`;
  const info = { elemType: FLOAT32, dims: [N] };
  const tensor = computedTensor({ name: key, ...info }, [c, scale], (begin, count, out) => {
    const of = numbersReader(scale)!(0, elementCount(scale));
    const whole = numbersReader(c)!(begin, count);
    const floats = new Float32Array(out.buffer, out.byteOffset, count);
    for (let i = 0; i < count; i++) floats[i] = whole[i]! * of[of.length === 1 ? 0 : begin + i]!;
  });
  return { kind: 'values', key, info, tensor, transposed: false };
}

const inferQGemm: Operator['infer'] = (view, inputs) => {
  const [a, , , b, , , , yScale, yZero] = inputs;
  const rows = a?.dims?.at(0);
  const columns = b?.dims?.at(view.int('transB', 0) !== 0 ? 0 : 1);
  const dims = rows === undefined || columns === undefined || view.int('transA', 0) !== 0 ? undefined : [rows, columns];
  return [{ elemType: yScale ? (yZero?.elemType ?? 0) : FLOAT32, dims }];
};

const inferQLinearMatMul: Operator['infer'] = (view, inputs, symbols) => {
  const [a, , , b, , , , yZero] = inputs;
  return inferMatMul(() => yZero?.elemType ?? 0)(view, [a, b], symbols);
};

export const qLinearProductOperators: readonly Operator[] = [
  { name: 'QLinearMatMul', infer: inferQLinearMatMul, match: matchQLinearMatMul },
  {
    name: 'com.microsoft.QGemm',
    attributes: ['alpha', 'transA', 'transB'],
    infer: inferQGemm,
    match: matchQGemm,
  },
];
