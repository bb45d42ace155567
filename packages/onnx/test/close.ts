/** How far results of two engines lie apart. */

/** Two components are good to half a step of max|x|/32258, and graphs of these tests are a few products deep. */
export const CLOSE = 5e-4;

/** Length of the difference beside that of what is wanted; of nothing but zeros, the length itself. */
export function relativeL2(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let [difference, length] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    difference += (got[i]! - want[i]!) ** 2;
    length += want[i]! ** 2;
  }
  return Math.sqrt(length === 0 ? difference : difference / length);
}

/** Largest difference beside the largest magnitude of what is wanted; of nothing but zeros, the difference itself. */
export function relativeMost(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let [difference, magnitude] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    difference = Math.max(difference, Math.abs(got[i]! - want[i]!)); // NaN stays
    magnitude = Math.max(magnitude, Math.abs(want[i]!));
  }
  return magnitude === 0 ? difference : difference / magnitude;
}
