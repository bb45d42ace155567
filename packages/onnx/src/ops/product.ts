/** What a product with a quantized matrix becomes, whichever nodes spell it. */
import type { GraphNode } from '../ir/graph.ts';
import type { Match, Matcher } from '../passes/match.ts';
import type { Matrix } from '../weights/matrix.ts';
import type { NodeView } from './operator.ts';

export interface QuantizedProduct {
  /** In topological order, the one that makes `y` last. */
  readonly nodes: readonly GraphNode[];
  /** f32 [..., K] */
  readonly x: string;
  readonly matrix: Matrix;
  /** f32 [N]; '' = none. */
  readonly bias?: string | undefined;
  /** f32 [..., N] */
  readonly y: string;
  /** See {@link Match.product}. */
  readonly inOrt?: NonNullable<Match['product']>['inOrt'];
}

/** @param view of the node that errors of sizes name */
export function quantizedProduct(
  view: NodeView,
  matcher: Matcher,
  { nodes, x, matrix, bias = '', y, inOrt }: QuantizedProduct,
): Match {
  const { N, K, key } = matrix;
  return {
    op: 'product',
    place: 'device',
    nodes,
    inputs: [x, bias],
    outputs: [y],
    resources: [{ kind: 'matrix', key, matrix }, ...matcher.constants([x, bias])],
    product: { N, K, quantized: true, inOrt },
    lower(to) {
      const { dims } = to.info(x);
      if (dims.length === 0 || dims.at(-1) !== K) view.fail('A', `[..., ${K}]`, `[${dims.join(', ')}]`);
      if (bias !== '') {
        const { dims: given } = to.info(bias);
        if (given.length !== 1 || given[0] !== N) view.fail('bias', `[${N}]`, `[${given.join(', ')}]`);
      }
      to.step({
        kind: 'product',
        x: to.slot(x),
        matrix: key,
        bias: bias === '' ? undefined : to.slot(bias),
        y: to.result(y, 'f32', dims.toSpliced(-1, 1, N)),
      });
    },
  };
}
