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

/** Signal-to-noise ratio in dB over all values. @param signal what counts as signal, if not `exact` itself */
export function decibels(exact: ArrayLike<number>, got: ArrayLike<number>, signal: ArrayLike<number> = exact): number {
  let power = 0;
  let noise = 0;
  for (let i = 0; i < exact.length; i++) {
    power += signal[i]! ** 2;
    noise += (exact[i]! - got[i]!) ** 2;
  }
  return 10 * Math.log10(power / noise);
}

/** @throws {@link RangeError} for no values */
export function geometricMean(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('geometricMean: values expected at least one, got none.');
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}
