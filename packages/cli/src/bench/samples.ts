/** What is left of repeated measurements: a median and how far they lie apart. */

export interface Summary {
  readonly median: number;
  /** Half the distance between the quartiles, relative to the median. */
  readonly spread: number;
}

/** The value below which `share` of the sorted values lie, linear between neighbours. */
function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)]!;
  return below + (at % 1) * (sorted[Math.ceil(at)]! - below);
}

/** @throws {@link RangeError} for no values. */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new RangeError('summarize: values expected at least one, got none.');
  const sorted = values.toSorted((a, b) => a - b);
  const median = quantile(sorted, 0.5);
  return { median, spread: (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / 2 / median };
}
