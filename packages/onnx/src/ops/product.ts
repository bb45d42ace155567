/** What a product with a quantized matrix becomes, whichever nodes spell it. */
import type { Elementwise, Gather, OpSpec } from '@msd/core/nn';
import { INT32 } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import type { Matrix } from '../weights/matrix.ts';
import { emitExpression } from './emit-expression.ts';
import { Expression } from './expression.ts';
import { emitOp, type Lowering, type ProductStep, type Resource, type Slot } from './lowering.ts';
import type { NodeView } from './operator.ts';

type Kind<K extends Resource['kind']> = Extract<Resource, { kind: K }>;

interface Order {
  readonly key: string;
  readonly of: readonly number[];
  readonly K: number;
  /** What puts them into it. */
  readonly spec: OpSpec<Gather>;
}

export interface QuantizedProduct {
  /** In topological order, the one that makes `y` last. */
  readonly nodes: readonly GraphNode[];
  /** f32 [..., K] */
  readonly x: string;
  readonly matrix: Matrix;
  /** What the matrix leaves of the weights: a second product, so many times of which are added. */
  readonly rest?: { readonly matrix: Matrix; readonly times: number } | undefined;
  /** Of activations that are put into another order before: which k each one is. Equal keys are equal orders. */
  readonly order?: Order | undefined;
  /** f32 [N], by its name or as a constant of the match alone; '' = none. */
  readonly bias?: string | Kind<'values'> | undefined;
  /** What is added besides, `times` as much of it: f32 of any shape that broadcasts. */
  readonly addend?: { readonly name: string; readonly times: number } | undefined;
  /** f32 [..., N] */
  readonly y: string;
  /** What x goes through before it is multiplied, and what is multiplied before it is y. */
  readonly before?: Elementwise | undefined;
  readonly behind?: Elementwise | undefined;
  /** See {@link Match.product}. */
  readonly inOrt?: NonNullable<Match['product']>['inOrt'];
}

/** @param view of the node that errors of sizes name */
export function quantizedProduct(view: NodeView, matcher: Matcher, product: QuantizedProduct): Match {
  const { nodes, x, matrix, rest, order, bias = '', addend, y, inOrt } = product;
  const [name, own] = typeof bias === 'string' ? [bias, []] : ['', [bias]];
  const inputs = [x, name, ...(addend ? [addend.name] : [])];
  return {
    op: 'product',
    place: 'device',
    nodes,
    inputs,
    outputs: [y],
    resources: [
      ...[matrix, ...(rest ? [rest.matrix] : [])].map(matrixResource),
      ...(order ? [orderResource(order)] : []),
      ...own,
      ...matcher.constants(inputs),
    ],
    product: { N: matrix.N, K: order?.K ?? matrix.K, quantized: true, inOrt, ...(rest && { products: 2 }) },
    lower(to) {
      emitProduct(to, view, product);
    },
  };
}

/** Gemm with a matrix: A · B + beta · C. */
export function quantizedGemm(
  view: NodeView,
  matcher: Matcher,
  matrix: Matrix,
  more: Pick<QuantizedProduct, 'before' | 'inOrt'> = {},
): Match {
  const { node } = view;
  const [x = '', , c = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const beta = view.float('beta', 1);
  const isBias = beta === 1 && matcher.info(c)?.dims?.join() === `${matrix.N}`;
  const added = c === '' ? {} : isBias ? { bias: c } : { addend: { name: c, times: beta } };
  return quantizedProduct(view, matcher, { nodes: [node], x, matrix, ...added, y, ...more });
}

/** The steps of a product, for matches that do more. @returns where y is, which may have no name */
export function emitProduct(to: Lowering, view: NodeView, product: QuantizedProduct): Slot {
  const { x, matrix, rest, order, bias: given = '', addend, y, before, behind } = product;
  const { N, key } = matrix;
  const K = order?.K ?? matrix.K;
  const { dims } = to.info(x);
  if (dims.length === 0 || dims.at(-1) !== K) view.fail('A', `[..., ${K}]`, `[${dims.join(', ')}]`);
  if (typeof given === 'string' && given !== '') {
    const { dims: sizes } = to.info(given);
    if (sizes.length !== 1 || sizes[0] !== N) view.fail('bias', `[${N}]`, `[${sizes.join(', ')}]`);
  }
  const ordered = order ? inOrder(to, x, order) : to.slot(x);
  const from = before ? emitExpression(to, before, [ordered], '') : ordered;
  const multiply = (by: string, end: Pick<ProductStep, 'bias' | 'residual'>, name: string): Slot => {
    const made = to.result(name, 'f32', dims.toSpliced(-1, 1, N));
    to.step({ kind: 'product', x: from, matrix: by, ...end, y: made });
    return made;
  };
  const bias = typeof given === 'string' ? given : given.key;
  const last = addend || behind ? '' : y;
  const withRest = ({ matrix: { key }, times }: NonNullable<QuantizedProduct['rest']>): Slot =>
    times === 1 ? multiply(key, { residual: first }, last) : addTo(to, first, multiply(key, {}, ''), times, last);
  const first = multiply(key, { bias: bias === '' ? undefined : to.slot(bias) }, rest ? '' : last);
  const result = rest ? withRest(rest) : first;
  if (behind) return emitExpression(to, behind, [result], y);
  return addend ? addTo(to, result, to.slot(addend.name), addend.times, y) : result;
}

const matrixResource = (matrix: Matrix): Resource => ({ kind: 'matrix', key: matrix.key, matrix });

const orderResource = ({ key, of }: Order): Resource => ({
  kind: 'values',
  key,
  info: { elemType: INT32, dims: [of.length], data: of },
  tensor: undefined,
  transposed: false,
});

/** Activations in another order: products that share it share them. */
function inOrder(to: Lowering, x: string, { key, spec }: Order): Slot {
  return to.shared(`${key} ${x}`, () => {
    const axis = to.info(x).dims.length - 1;
    const [slot] = emitOp(to, spec, { axis }, [to.slot(x), to.slot(key)], ['']) as [Slot];
    return slot;
  });
}

/** y = x + times · addend */
function addTo(to: Lowering, x: Slot, addend: Slot, times: number, y: string): Slot {
  const expression = new Expression(2);
  const scaled = times === 1 ? 1 : expression.add('Mul', [1, expression.number(times)]);
  expression.add('Add', [0, scaled]);
  return emitExpression(to, expression.op, [x, addend], y);
}
