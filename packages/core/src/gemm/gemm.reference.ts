/** Exact integer sums over one chunk, which every carrier has to reproduce. */
/** acc = Σ_k q[m,k] · (w[n,k] − z) over k in [begin, end); `row` and `column` are where row m of q and row n of the weights begin. */
export function integerDot(
  q: Int16Array,
  row: number,
  weights: Int16Array,
  column: number,
  begin: number,
  end: number,
): number {
  let acc = 0;
  for (let k = begin; k < end; k++) acc += q[row + k] * weights[column + k];
  return acc;
}
