/** Where elements of dense arrays lie, and how few loops visit several arrays together. */

/** Row-major, in elements; 0 along a dimension of 1, which is how it is repeated. */
export function stridesOf(dims: readonly number[]): number[] {
  const strides = new Array<number>(dims.length).fill(0);
  for (let d = dims.length - 1, step = 1; d >= 0; step *= dims[d--]) if (dims[d] !== 1) strides[d] = step;
  return strides;
}

/** Strides of an array whose elements are repeated to fill `rank` dimensions. */
export const broadcastStrides = (dims: readonly number[], rank: number): number[] => [
  ...new Array<number>(rank - dims.length).fill(0),
  ...stridesOf(dims),
];

/**
 * The dimensions to which several shapes are broadcast, as in NumPy.
 * @throws {@link RangeError} if they don't fit
 */
export function broadcastDims(where: string, shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map(({ length }) => length));
  return Array.from({ length: rank }, (_, d) => {
    let dim = 1;
    for (const shape of shapes) {
      const own = shape[d - rank + shape.length] ?? 1;
      if (own !== 1 && dim !== 1 && own !== dim)
        throw new RangeError(
          `${where}: dimensions expected to broadcast, got ${shapes.map((dims) => `[${dims}]`).join(', ')}.`,
        );
      if (own !== 1) dim = own;
    }
    return dim;
  });
}

export interface Loops {
  /** Outermost first; at least one. */
  readonly dims: readonly number[];
  /** Of each array, along these dimensions. */
  readonly strides: readonly (readonly number[])[];
}

/**
 * The fewest loops in the same order: dimensions of 1 are removed, and neighbouring dimensions that all arrays step
 * through evenly become one.
 */
export function collapse(dims: readonly number[], strides: readonly (readonly number[])[]): Loops {
  const kept: { dim: number; steps: number[] }[] = [];
  for (const [d, dim] of dims.entries()) {
    if (dim === 1) continue;
    const steps = strides.map((own) => own[d]);
    const outer = kept.at(-1);
    if (outer?.steps.every((step, i) => step === steps[i] * dim))
      kept[kept.length - 1] = { dim: outer.dim * dim, steps };
    else kept.push({ dim, steps });
  }
  if (kept.length === 0) kept.push({ dim: 1, steps: strides.map(() => 0) });
  return { dims: kept.map(({ dim }) => dim), strides: strides.map((_, i) => kept.map(({ steps }) => steps[i])) };
}

/** Where element `flat` of an array of `dims` lies by these strides; strides past `dims` don't count. */
export function indexOf(flat: number, dims: readonly number[], strides: readonly number[]): number {
  let [rest, index] = [flat, 0];
  for (let d = dims.length - 1; d >= 0; d--) {
    index += (rest % dims[d]) * strides[d];
    rest = Math.floor(rest / dims[d]);
  }
  return index;
}
