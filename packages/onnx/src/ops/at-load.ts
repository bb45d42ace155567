/** Float weights of the file that the session quantizes while it loads (option `quantize`). */
import { FLOAT16, FLOAT32 } from '../data-types.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import type { TensorRef } from '../read/tensor.ts';
import { type Floats, floatMatrix } from '../weights/floats.ts';
import type { Matrix } from '../weights/matrix.ts';
import type { NodeView } from './operator.ts';
import { quantizedGemm, quantizedProduct } from './product.ts';

/**
 * The matrix that weights become, `undefined` if they stay what they are, or why they cannot become one.
 *
 * @param places how the tensor's elements are a matrix [N, K]
 */
export function atLoad(
  { node }: NodeView,
  matcher: Matcher,
  weights: string,
  places: (tensor: TensorRef) => Omit<Floats, 'format' | 'tensor'>,
): Matrix | string | undefined {
  const tensor = matcher.tensor(weights);
  if (!tensor || (tensor.elemType !== FLOAT32 && tensor.elemType !== FLOAT16)) return undefined;
  const format = matcher.formatFor(node, weights);
  if (format === undefined) return undefined;
  const { N, K, ...rest } = places(tensor);
  if (!(N > 0 && K > 0)) return undefined;
  const bad = matcher.refusedScale(tensor, 'a weight');
  if (bad !== undefined) return bad;
  return floatMatrix({ format, N, K, tensor, ...rest });
}

/** MatMul with weights [K, N]. */
export function matMulAtLoad(view: NodeView, matcher: Matcher): Match | string | undefined {
  const { node } = view;
  const [x = '', b = ''] = node.inputs;
  if (matcher.tensor(b)?.dims.length !== 2) return undefined;
  const matrix = atLoad(view, matcher, b, ({ dims: [K, N] }) => ({ N: N!, K: K!, isTransposed: true }));
  if (typeof matrix !== 'object') return matrix;
  return quantizedProduct(view, matcher, { nodes: [node], x, matrix, y: node.outputs[0]!, inOrt: 'floats' });
}

/** alpha · A · B + beta · C, B as it is or transposed. */
export function gemmAtLoad(view: NodeView, matcher: Matcher): Match | string | undefined {
  const [, b = ''] = view.node.inputs;
  if (matcher.tensor(b)?.dims.length !== 2) return undefined;
  const isTransposed = view.int('transB', 0) === 0;
  const matrix = atLoad(view, matcher, b, ({ dims: [first, second] }) => ({
    N: isTransposed ? second! : first!,
    K: isTransposed ? first! : second!,
    isTransposed,
    times: view.float('alpha', 1),
  }));
  return typeof matrix === 'object' ? quantizedGemm(view, matcher, matrix, 'floats') : matrix;
}
