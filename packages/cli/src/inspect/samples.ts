/** What measurements here have in common. */

/** Between two tokens other work takes the caches: as much as weights of 4 bits would be as floats, or what no cache holds. */
const OTHER = 8;
const MOST_OTHER = 2 ** 26;

/** Bytes of other work between two tokens of a model with so many bytes of weights. */
export const otherBytes = (weights: number): number => 8 * Math.ceil(Math.min(MOST_OTHER, OTHER * weights) / 8);

/** Uses the caches, as whatever a page does between two tokens. */
export function disturb(elsewhere: Float64Array): void {
  for (let i = 0; i < elsewhere.length; i++) elsewhere[i]! += 1;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** What the machine does when it is left alone: a quarter of the samples are faster. */
export function undisturbed(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 2]!;
}
