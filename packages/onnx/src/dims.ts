/** Sizes of tensors, row-major. */

/** Number of elements. */
export const countOf = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);

/** Are they as many, and equal? */
export const sameDims = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((dim, i) => dim === b[i]);

/** Elements between neighbours along each dimension. */
export function stridesOf(dims: readonly number[]): number[] {
  const strides = new Array<number>(dims.length);
  let stride = 1;
  for (let i = dims.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= dims[i]!;
  }
  return strides;
}
