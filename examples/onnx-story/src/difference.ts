/** Where two texts part, token by token. */

/** @returns index of the first token that differs; `undefined` when they are the same */
export function firstDifference(a: readonly number[], b: readonly number[]): number | undefined {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) if (a[i] !== b[i]) return i;
  return a.length === b.length ? undefined : shared;
}
