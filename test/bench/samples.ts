/** What is left of repeated measurements, beside medians and how far they lie apart. */
export { type Summary, summarize } from '../../packages/cli/src/bench/samples.ts';

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
