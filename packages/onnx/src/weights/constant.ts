/**
 * What a product is made with, from the name of its weights: back through the nodes that make a constant of constants
 * (passes/constants.ts) to a DequantizeLinear, whose integers become a quantized matrix, or to floats.
 */

import type { GraphNode } from '../ir/graph.ts';
import { operatorName } from '../ops/operator.ts';
import type { Matcher } from '../passes/matcher.ts';
import type { TensorRef } from '../read/tensor.ts';
import { type Dequantize, dequantizeOf } from './dequantize.ts';
import { dequantizedMatrix } from './dequantized-matrix.ts';
import type { Matrix } from './matrix.ts';
import { reshapedView, type StridedView, transposedView, viewBehind, wholeView } from './view.ts';

export type Weights =
  /** Integers of the file. */
  | { readonly kind: 'matrix'; readonly matrix: Matrix }
  /** Floats, and why they are no integers if a DequantizeLinear makes them. */
  | { readonly kind: 'floats'; readonly tensor: TensorRef; readonly reason?: string | undefined };

const DEQUANTIZE: ReadonlySet<string> = /* @__PURE__ */ new Set(['DequantizeLinear', 'com.microsoft.DequantizeLinear']);

/**
 * Weights [K, N], or [N, K] if `transposed`, of two dimensions.
 *
 * @param dims what they count as, if that is not how the file has them: [N, K, 1, 1] of a convolution as [N, K]
 * @param axes in which order the file's dimensions are looked at then
 * @returns `undefined` if `name` is no constant
 */
export function weightsOf(
  matcher: Matcher,
  name: string,
  transposed: boolean,
  dims?: readonly [number, number],
  axes?: readonly number[],
): Weights | undefined {
  const folded = matcher.graph.folded?.get(name);
  const tensor = folded?.tensor ?? matcher.tensor(name);
  if (!tensor) return undefined;
  const behind: GraphNode[] = [];
  let maker = folded?.node;
  while (maker && !DEQUANTIZE.has(operatorName(maker))) {
    behind.unshift(maker);
    maker = matcher.graph.folded?.get(maker.inputs[0]!)?.node;
  }
  if (!maker) return { kind: 'floats', tensor };
  const matrix = matrixOf(matcher, maker, behind, transposed, dims, axes);
  return typeof matrix === 'string' ? { kind: 'floats', tensor, reason: matrix } : { kind: 'matrix', matrix };
}

function matrixOf(
  matcher: Matcher,
  maker: GraphNode,
  behind: readonly GraphNode[],
  transposed: boolean,
  asked: readonly [number, number] | undefined,
  axes: readonly number[] | undefined,
): Matrix | string {
  const [data, scales, zeroPoints] = maker.inputs.map((input) => constantOf(matcher, input));
  if (!data || !scales) return 'weights are not constant';
  const of = dequantizeOf(matcher.view(maker), data, scales, zeroPoints);
  if (typeof of === 'string') return of;
  const made = viewOf(matcher, of, behind);
  const view = made && axes ? transposedView(made, axes) : made;
  const lies = view && asked ? reshapedView(view, asked) : view;
  if (lies?.dims.length !== 2) return 'weights are not a matrix of the file';
  const { dims, strides } = lies;
  const [n, k] = transposed ? [0, 1] : [1, 0];
  const [N, K] = [dims[n]!, dims[k]!];
  if (N * K === 0) return 'weights are empty';
  const [stepN, stepK] = [N === 1 ? K : strides[n]!, K === 1 ? 1 : strides[k]!];
  const byRows = stepK === 1 && stepN === K;
  if (!byRows && !(stepN === 1 && stepK === N)) return 'weights are not a matrix of the file';
  return dequantizedMatrix(of, { N, K, byRows }, (scale) => matcher.refusedScale(scale));
}

function constantOf(matcher: Matcher, name: string): TensorRef | undefined {
  return name === '' ? undefined : (matcher.tensor(name) ?? matcher.graph.folded?.get(name)?.tensor);
}

/** How the result of `behind` lies in the data. */
function viewOf(matcher: Matcher, { data }: Dequantize, behind: readonly GraphNode[]): StridedView | undefined {
  let view: StridedView | undefined = wholeView(data.dims);
  for (const node of behind) {
    const { dims } = matcher.graph.folded!.get(node.outputs[0]!)!.tensor;
    view = viewBehind(matcher.view(node), view, dims);
    if (!view) return undefined;
  }
  return view;
}
