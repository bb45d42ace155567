/**
 * arg_max, arg_min: i32 index, along one axis, of the largest or smallest of x [outer, n, inner] -> [outer, inner].
 *
 * Of several that are equal (−0 and 0 are) the first one's, or the last one's. NaN counts as larger, and as smaller, than
 * everything else, as in NumPy.                                                            (docs/nn.md, "Row reductions")
 */
import type { TensorType } from '../../ops/op.ts';
import { type Extents, extentsOf } from '../reduce/contract.ts';
import { refuse } from '../refuse.ts';

/** Input: x, f32 or i32. Output: y, i32. */
export interface ArgMaxOp {
  readonly kind: 'arg_max' | 'arg_min';
  /** A negative one counts from the end. */
  readonly axis: number;
  /** Default true, as in ONNX. */
  readonly keepDims?: boolean | undefined;
  /** The last of equals (ONNX: select_last_index). Default false. */
  readonly last?: boolean | undefined;
}

/** @throws {@link RangeError} */
export function argMaxExtents({ kind, axis, keepDims }: ArgMaxOp, x: TensorType | undefined): Extents {
  if (!x) return refuse(kind, 'x', 'a tensor', 'none');
  if (x.dtype === 'bool') refuse(kind, 'x', 'f32 or i32', x.dtype);
  const extents = extentsOf(kind, x.dims, [axis], keepDims);
  if (extents.n === 0 && extents.outer * extents.inner > 0)
    refuse(kind, 'x', `elements along axis ${axis}`, `[${x.dims}]`);
  return extents;
}
