/** Exact integer sums over one chunk, which every carrier has to reproduce. */
/** acc = Σ_k q[m,k] · (w[n,k] − z) over k in [begin, end). */
export function integerDot(
  q: Int16Array,
  row: number,
  weight: (n: number, k: number) => number,
  n: number,
  begin: number,
  end: number,
): number {
  let acc = 0;
  for (let k = begin; k < end; k++) acc += q[row + k] * weight(n, k);
  return acc;
}
