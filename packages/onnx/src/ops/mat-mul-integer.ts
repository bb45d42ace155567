/**
 * Products of 8-bit weights with activations that are quantized while a model runs: what `q8`, `int8` and `uint8` exports
 * consist of, and what ONNX Runtime makes of them.
 */
import type { Elementwise } from '@msd/core/nn';
import { FLOAT32, INT32 } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { tensorRange } from '../read/tensor.ts';
import { type Columns, columnsMatrix, refusedColumns } from '../weights/columns.ts';
import { floatProduct, quantizedFrom } from './dynamic.ts';
import { integersOf, isScaleOf, refusedScales } from './integers.ts';
import { inferMatMul } from './mat-mul-shape.ts';
import type { NodeView, Operator, Pattern } from './operator.ts';
import { quantizedProduct } from './product.ts';

/** A product's operands by name; '' = there is none. */
interface Operands {
  /** In topological order. */
  readonly nodes: readonly GraphNode[];
  /** f32 */
  readonly x: string;
  readonly before?: Elementwise | undefined;
  /** int8 or uint8 [K, N] */
  readonly weights: string;
  readonly scales: Columns['scales'];
  readonly zeroPoints: string;
  readonly bias?: string;
  readonly y: string;
}

function productMatch(view: NodeView, matcher: Matcher, operands: Operands): Match | string {
  const { nodes, x, before, weights, scales, zeroPoints: z, bias = '', y } = operands;
  const columns = columnsOf(matcher, weights, scales, z);
  if (typeof columns === 'string') return columns;
  const { K, data } = columns;
  const dims = matcher.info(x)?.dims;
  const width = dims?.at(-1);
  if (typeof width === 'number' && width !== K) return `A has rows of ${width}, B columns of ${K}`;
  // More dimensions than A has would become those of the result.
  if (data.dims.length > Math.max(2, dims?.length ?? 0)) return `B has shape [${data.dims.join(', ')}]`;
  const refused = (bias === '' ? undefined : matcher.notFloat('bias', bias)) ?? refusedScales(matcher, 'B', scales);
  if (refused !== undefined) return refused;
  tensorRange(data);
  return quantizedProduct(view, matcher, {
    nodes,
    x,
    before,
    matrix: columnsMatrix(columns),
    bias,
    y,
    inOrt: 'integers',
  });
}

/** Weights [K, N] of the file, or [1, …, K, N]. */
function columnsOf(matcher: Matcher, weights: string, scales: Columns['scales'], zeroPoints: string): Columns | string {
  const integers = integersOf(matcher, 'B', weights, zeroPoints);
  if (typeof integers === 'string') return integers;
  const { data } = integers;
  const [N, K, ...lead] = data.dims.toReversed();
  if (N === undefined || K === undefined || lead.some((dim) => dim !== 1))
    return `B has shape [${data.dims.join(', ')}]`;
  const columns = { N, K, scales, ...integers };
  return refusedColumns(columns) ?? columns;
}

/** DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul (-> Mul), or codes with a constant zero point -> MatMulInteger -> Cast, and a scale behind it */
const integerChain: Pattern = (matcher, node) => {
  const [, weights = '', , zeroPoints = ''] = node.inputs;
  const product = floatProduct(
    matcher,
    node,
    'A',
    isScaleOf(matcher.tensor(weights)?.dims.at(-1), (rank) => rank - 1),
  );
  if (typeof product === 'string') return product;
  return productMatch(matcher.view(node), matcher, { ...product, weights, zeroPoints });
};

/** x · (scale · (B − zero point)) + bias */
function matchDynamic(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', weights = '', s = '', zeroPoints = '', bias = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const scale = matcher.tensor(s);
  const refused = matcher.exactly ?? matcher.notFloat('A', x) ?? (scale ? undefined : 'the scale of B is not constant');
  if (refused !== undefined) return refused;
  return productMatch(view, matcher, { nodes: [node], x, weights, scales: [scale!], zeroPoints, bias, y });
}

/** The same with codes of x, if it is known what they are made of. */
function matchToFloat(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [a = '', weights = '', aScale = '', s = '', zeroPoint = '', zeroPoints = '', bias = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const quantized = quantizedFrom(matcher, a);
  const scale = matcher.tensor(s);
  if (!quantized) return 'A is not made by DynamicQuantizeLinear';
  if (matcher.exactly !== undefined) return matcher.exactly;
  if (aScale !== quantized.scale || zeroPoint !== quantized.zeroPoint) return 'scale or zero point of A is another one';
  if (!scale) return 'the scale of B is not constant';
  const { x } = quantized;
  return productMatch(view, matcher, { nodes: [node], x, weights, scales: [scale], zeroPoints, bias, y });
}

const inferFloats: Operator['infer'] = inferMatMul(() => FLOAT32);

export const matMulIntegerOperators: readonly Operator[] = [
  {
    name: 'MatMulInteger',
    infer: inferMatMul(() => INT32),
  },
  { name: 'com.microsoft.DynamicQuantizeMatMul', infer: inferFloats, match: matchDynamic },
  {
    name: 'com.microsoft.MatMulIntegerToFloat',
    infer: inferFloats,
    match: matchToFloat,
  },
];

export const matMulIntegerPatterns: Readonly<Record<string, Pattern>> = { MatMulInteger: integerChain };
