/**
 * The error classes of @msd/tfjs beside `TypeError` (wrong kind), `RangeError` (wrong shape or value) and the two classes
 * of @msd/core. Messages read `where: what, expected, got, what to do`.
 */

/** A model's topology or weights contradict themselves: truncated, corrupt, or sizes that lie. */
export class ModelFormatError extends Error {
  override readonly name = 'ModelFormatError';
}

/** A tensor or model was used after `dispose()`. */
export class DisposedError extends Error {
  override readonly name = 'DisposedError';
}
