/**
 * Activations that are quantized while a model runs, and what scales the integer sums that come of them:
 *
 *   DynamicQuantizeLinear(x) -> codes, scale, zero point
 *   integer product of codes and weights -> Cast to float -> Mul by scale of x · scale of weights, in whichever order
 *
 * MSD takes the float x and quantizes it finer. DynamicQuantizeLinear is no part of the match: several products share it, and
 * it runs as long as somebody needs what it makes.
 */

import type { Elementwise } from '@msd/core/nn';
import { FLOAT32, UINT8 } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Matcher } from '../passes/matcher.ts';
import type { Columns } from '../weights/columns.ts';
import { withoutZero } from './expression.ts';
import type { IsScale } from './integers.ts';
import { type Operator, otherOperand } from './operator.ts';
import { notCodes } from './quantize.ts';

type Scale = Columns['scales'][number];

/** What DynamicQuantizeLinear makes of x. */
export interface Quantized {
  /** f32 */
  readonly x: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

/** Where codes come from, if it is DynamicQuantizeLinear. */
export function quantizedFrom(matcher: Matcher, codes: string): Quantized | undefined {
  const node = matcher.producer(codes);
  if (node?.domain !== '' || node.opType !== 'DynamicQuantizeLinear' || node.outputs[0] !== codes) return undefined;
  const [x = ''] = node.inputs;
  const [, scale = '', zeroPoint = ''] = node.outputs;
  return matcher.notFloat('A', x) === undefined ? { x, scale, zeroPoint } : undefined;
}

/** An integer product, and what follows until its sums are floats: a product of floats. */
export interface FloatProduct {
  /** f32 */
  readonly x: string;
  /** What x goes through before it is multiplied: codes with a constant zero point have no floats behind them. */
  readonly before?: Elementwise | undefined;
  /** From the product to the last Mul. */
  readonly nodes: readonly GraphNode[];
  /** Of the weights: what is multiplied besides the scale of x. */
  readonly scales: readonly Scale[];
  /** f32 */
  readonly y: string;
}

/**
 * What a MatMulInteger or ConvInteger is a part of.
 *
 * @param what its first operand is called
 * @param isScale can a constant of these dims be a scale of the weights, beside a result of this rank?
 */
export function floatProduct(
  matcher: Matcher,
  product: GraphNode,
  what: string,
  isScale: IsScale,
): FloatProduct | string {
  const [codes = '', , z = ''] = product.inputs;
  const quantized = quantizedFrom(matcher, codes);
  const zeroPoint = z === '' ? 0 : matcher.scalar(z);
  if (!quantized && zeroPoint === undefined)
    return `${what} is not made by DynamicQuantizeLinear, and its zero point is not one constant number`;
  if (matcher.exactly !== undefined) return matcher.exactly;
  if (quantized) {
    if (z !== quantized.zeroPoint) return `the zero point of ${what} is another one`;
    const chain = rescaled(matcher, product, quantized.scale, isScale);
    return typeof chain === 'string' ? chain : { x: quantized.x, ...chain };
  }
  const refused = notCodes(matcher, what, codes);
  const cast = castOf(matcher, product);
  if (refused !== undefined || !cast) return refused ?? NO_FLOATS;
  if (!isScaled(matcher, cast.outputs[0]!)) return 'its sums are used as integers';
  return { x: codes, before: withoutZero(zeroPoint!), nodes: [product, cast], scales: [1], y: cast.outputs[0]! };
}

const NO_FLOATS = 'its sums do not become floats, or somebody else needs them';

/** Whoever scales sums takes them for floats. Others may count on exact integers, which products of floats are not. */
function isScaled(matcher: Matcher, y: string): boolean {
  const node = matcher.soleConsumer(y);
  const isDividend = node?.inputs[0] === y && otherOperand(node, 'Div', y) !== undefined;
  return isDividend || otherOperand(node, 'Mul', y) !== undefined;
}

/** The Cast that alone needs the sums. */
function castOf(matcher: Matcher, product: GraphNode): GraphNode | undefined {
  const cast = matcher.soleConsumer(product.outputs[0]!);
  const isCast = cast?.domain === '' && cast.opType === 'Cast' && matcher.view(cast).int('to', 0) === FLOAT32;
  return isCast ? cast : undefined;
}

/** From an integer product to floats. */
type Rescaled = Pick<FloatProduct, 'nodes' | 'scales' | 'y'>;

/**
 * Follows an integer product to where its sums are floats.
 *
 * @param scale of x, by name
 * @param isScale can a constant of these dims be a scale of the weights, beside a result of this rank?
 */
function rescaled(matcher: Matcher, product: GraphNode, scale: string, isScale: IsScale): Rescaled | string {
  const cast = castOf(matcher, product);
  if (!cast) return NO_FLOATS;
  let y = cast.outputs[0]!;
  const rank = matcher.info(y)?.dims?.length;
  const nodes = [product, cast];
  const scales: Scale[] = [];
  let isScaled = false;
  // Constants beyond the scale of the weights are somebody else's, of attention for instance.
  while (!isScaled || scales.length === 0) {
    const mul = matcher.soleConsumer(y);
    const other = otherOperand(mul, 'Mul', y);
    const factors = other === undefined ? undefined : factorsOf(matcher, other, scale, (dims) => isScale(dims, rank));
    const own = factors?.filter((factor) => factor !== scale) as Scale[] | undefined;
    const times = (factors?.length ?? 0) - (own?.length ?? 0);
    if (!own || times > (isScaled ? 0 : 1)) break;
    isScaled ||= times === 1;
    scales.push(...own);
    nodes.push(mul!);
    y = mul!.outputs[0]!;
  }
  return isScaled ? { nodes, scales, y } : 'the scale of A does not multiply its sums';
}

/** Scales are products of two or three factors. */
const MAX_DEPTH = 4;

/** Factors of a value: constants, and `scale` by its name. `undefined` if it has others. */
function factorsOf(
  matcher: Matcher,
  name: string,
  scale: string,
  isScale: (dims: readonly number[]) => boolean,
  depth = 0,
): readonly (Scale | string)[] | undefined {
  if (name === scale) return [name];
  const tensor = matcher.tensor(name);
  if (tensor) return tensor.elemType === FLOAT32 && isScale(tensor.dims) ? [tensor] : undefined;
  if (matcher.isConstant(name)) {
    const number = matcher.scalar(name);
    return number !== undefined && matcher.info(name)?.elemType === FLOAT32 ? [number] : undefined;
  }
  const mul = matcher.producer(name);
  if (mul?.domain !== '' || mul.opType !== 'Mul' || depth === MAX_DEPTH) return undefined;
  const factors = mul.inputs.map((input) => factorsOf(matcher, input, scale, isScale, depth + 1));
  return factors.every((each) => each !== undefined) ? factors.flat() : undefined;
}

/** It runs only where somebody else needs what it makes. */
export const dynamicOperators: readonly Operator[] = [
  {
    name: 'DynamicQuantizeLinear',
    infer: (_, [x]) => [
      { elemType: UINT8, dims: x?.dims },
      { elemType: FLOAT32, dims: [] },
      { elemType: UINT8, dims: [] },
    ],
  },
];
