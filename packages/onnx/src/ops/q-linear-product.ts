/**
 * Products of codes: QLinearMatMul and QGemm. Codes of A less their zero point are small whole numbers, which are decomposed like any
 * activations; what comes out is rounded to codes of Y. They are ONNX Runtime's, but where the exact result lies so near to the middle
 * between two codes that the product's error bound reaches it: there either may be the one.
 */
import type { Elementwise } from '@msd/core/nn';
import { dataTypeName, FLOAT32, INT32 } from '../data-types.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { elementCount, type TensorRef } from '../read/tensor.ts';
import { COLUMN_TYPES, type Columns, columnsMatrix, refusedColumns } from '../weights/columns.ts';
import { computedTensor } from '../weights/computed.ts';
import { numbersReader } from '../weights/numbers.ts';
import { Expression } from './expression.ts';
import type { Resource } from './lowering.ts';
import { inferMatMul } from './mat-mul.ts';
import type { NodeView, Operator } from './operator.ts';
import { quantizedProduct } from './product.ts';
import { addRounded, codingOf, notCodes } from './quantize.ts';

/** An expression of one operand. */
function expressionOf(build: (to: Expression, x: number) => void): Elementwise {
  const expression = new Expression(1);
  build(expression, 0);
  return expression.op;
}

const times = (to: Expression, x: number, factor: number): number =>
  to.add('Mul', [x, to.add('ConstantF32', [], [factor])]);

/** Weights of the file with their scales, as a matrix [N, K]. */
export function codedWeights(
  matcher: Matcher,
  [b = '', s = '', z = '']: readonly string[],
  transposed: boolean,
): Columns | string {
  if (matcher.exactly !== undefined) return matcher.exactly;
  const [data, scale, zeros] = [matcher.tensor(b), matcher.tensor(s), matcher.tensor(z)];
  if (!data || !scale || (z !== '' && !zeros)) return 'B, its scale or its zero point is not constant';
  if (!COLUMN_TYPES.has(data.elemType)) return `B is ${dataTypeName(data.elemType)}`;
  if (zeros && zeros.elemType !== data.elemType) return `zero points of B are ${dataTypeName(zeros.elemType)}`;
  if (scale.elemType !== FLOAT32) return `scales of B are ${dataTypeName(scale.elemType)}`;
  if (data.dims.length !== 2) return `B has shape [${data.dims.join(', ')}]`;
  const [first, second] = data.dims as [number, number];
  const columns = {
    N: transposed ? first : second,
    K: transposed ? second : first,
    data,
    byRows: transposed,
    scales: [scale],
    zeroPoints: zeros,
  };
  return refusedColumns(columns) ?? matcher.refusedScale(scale) ?? columns;
}

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
    behind: expressionOf((into, sum) => addRounded(into, times(into, sum, x.scale / to.scale), to.zeroPoint, elemType)),
    inOrt: 'integers',
  });
}

/** Codes less their zero point, as an expression of them. */
export const withoutZero = (zeroPoint: number): Elementwise | undefined =>
  zeroPoint === 0 ? undefined : expressionOf((to, x) => to.add('Sub', [x, to.add('ConstantF32', [], [zeroPoint])]));

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
  const bias = c === '' ? undefined : biasOf(matcher.tensor(c), columns);
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
function biasOf(c: TensorRef | undefined, { N, scales }: Columns): Extract<Resource, { kind: 'values' }> | string {
  const [scale] = scales as [TensorRef];
  if (c?.elemType !== INT32) return 'C is no constant of int32';
  if (elementCount(c) !== N || c.dims.at(-1) !== N) return `C has shape [${c.dims.join(', ')}]`;
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

const LIMITS =
  'constant weights of 8 bits, per tensor or per column; codes may differ by one where the result lies between two';

export const qLinearProductOperators: readonly Operator[] = [
  { name: 'QLinearMatMul', limits: LIMITS, infer: inferQLinearMatMul, match: matchQLinearMatMul },
  {
    name: 'com.microsoft.QGemm',
    limits: `${LIMITS}; A not transposed`,
    attributes: ['alpha', 'transA', 'transB'],
    infer: inferQGemm,
    match: matchQGemm,
  },
];
