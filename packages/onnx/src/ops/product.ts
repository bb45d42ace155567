/** What a product with a quantized matrix becomes, whichever nodes spell it. */
import type { GraphNode } from '../ir/graph.ts';
import type { Match, Matcher } from '../passes/match.ts';
import type { Matrix } from '../weights/matrix.ts';
import type { ProductStep, Resource, Slot } from './lowering.ts';
import type { NodeView } from './operator.ts';

export interface QuantizedProduct {
  /** In topological order, the one that makes `y` last. */
  readonly nodes: readonly GraphNode[];
  /** f32 [..., K] */
  readonly x: string;
  readonly matrix: Matrix;
  /** What the matrix leaves of the weights: a second product, added. */
  readonly rest?: Matrix | undefined;
  /** f32 [N]; '' = none. */
  readonly bias?: string | undefined;
  /** f32 [..., N] */
  readonly y: string;
}

/** @param view of the node that errors of sizes name */
export function quantizedProduct(
  view: NodeView,
  matcher: Matcher,
  { nodes, x, matrix, rest, bias = '', y }: QuantizedProduct,
): Match {
  const { N, K, key } = matrix;
  return {
    op: 'product',
    place: 'device',
    nodes,
    inputs: [x, bias],
    outputs: [y],
    resources: [...[matrix, ...(rest ? [rest] : [])].map(matrixResource), ...matcher.constants([x, bias])],
    product: { N, K, quantized: true },
    lower(to) {
      const { dims } = to.info(x);
      if (dims.length === 0 || dims.at(-1) !== K) view.fail('A', `[..., ${K}]`, `[${dims.join(', ')}]`);
      if (bias !== '') {
        const { dims: given } = to.info(bias);
        if (given.length !== 1 || given[0] !== N) view.fail('bias', `[${N}]`, `[${given.join(', ')}]`);
      }
      const product = (matrix: string, end: Pick<ProductStep, 'bias' | 'residual'>, name: string): Slot => {
        const made = to.result(name, 'f32', dims.toSpliced(-1, 1, N));
        to.step({ kind: 'product', x: to.slot(x), matrix, ...end, y: made });
        return made;
      };
      const first = product(key, { bias: bias === '' ? undefined : to.slot(bias) }, rest ? '' : y);
      if (rest) product(rest.key, { residual: first }, y);
    },
  };
}

const matrixResource = (matrix: Matrix): Resource => ({ kind: 'matrix', key: matrix.key, matrix });
