/**
 * reduce: ReduceSum and similar ops over neighbouring axes: x [outer, n, inner] -> [outer, inner].
 *
 *   sum, mean     Σ x, in the order of rows.ts; mean = fl(Σ x / n)
 *   l1            Σ |x|
 *   sum_square    Σ fl(x·x);   l2 = fl(√ of it)
 *   prod          the same order with products, from 1
 *   max, min      exact, in any order; NaN if there is one; −0 is below 0
 *
 * i32: sum, prod (modulo 2³²), max, min. Without elements (n = 0): 0, NaN (mean), 1 (prod), −Infinity (max), Infinity
 * (min).
 * Within γ(D + 1)·Σ|t| of the mathematics, t the terms, D as in rows.ts.                    (docs/nn.md, "Row reductions")
 */
import { elementCount, type TensorType } from '../../ops/op.ts';
import { refuse } from '../refuse.ts';

export type ReduceKind = 'sum' | 'mean' | 'l1' | 'l2' | 'sum_square' | 'prod' | 'max' | 'min';

/** Input: x. Output: y. */
export interface ReduceOp {
  readonly kind: ReduceKind;
  /** Which axes, in any order; negative ones count from the end. Between them lie only axes of 1. None: nothing is reduced. */
  readonly axes: readonly number[];
  /** Reduced axes stay as 1. Default true, as in ONNX. */
  readonly keepDims?: boolean | undefined;
}

export interface Extents {
  readonly outer: number;
  readonly n: number;
  readonly inner: number;
  /** Dimensions of the result. */
  readonly result: readonly number[];
}

/** Of a reduction of x over these axes. @throws {@link RangeError} */
export function extentsOf(op: string, dims: readonly number[], axes: readonly number[], keepDims = true): Extents {
  const rank = dims.length;
  const reduced = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  for (const axis of reduced)
    if (!(Number.isInteger(axis) && axis >= 0 && axis < rank))
      refuse(op, 'axes', `${-rank}..${rank - 1} for x [${dims}]`, `[${axes}]`);
  const first = Math.min(rank, ...reduced);
  const end = Math.max(first, ...[...reduced].map((axis) => axis + 1));
  for (let axis = first; axis < end; axis++)
    if (!reduced.has(axis) && dims[axis] !== 1)
      refuse(op, 'axes', `neighbours for x [${dims}], or a reduction for each group of them`, `[${axes}]`);
  return {
    outer: elementCount(dims.slice(0, first)),
    n: elementCount(dims.slice(first, end)),
    inner: elementCount(dims.slice(end)),
    result: dims.flatMap((dim, axis) => (!reduced.has(axis) ? [dim] : keepDims ? [1] : [])),
  };
}

const OF_INTS: readonly ReduceKind[] = ['sum', 'prod', 'max', 'min'];

export function inferReduce(
  { kind, axes, keepDims }: ReduceOp,
  [x]: readonly (TensorType | undefined)[],
): TensorType[] {
  const op = `reduce_${kind}`;
  if (!x) return refuse(op, 'x', 'a tensor', 'none');
  const expected = OF_INTS.includes(kind) ? 'f32 or i32' : 'f32';
  if (!expected.split(' or ').includes(x.dtype)) refuse(op, 'x', expected, x.dtype);
  return [{ dtype: x.dtype, dims: extentsOf(op, x.dims, axes, keepDims).result }];
}
