/**
 * The error classes of @msd/onnx beside `TypeError` (wrong kind), `RangeError` (wrong shape or value) and the two classes
 * of @msd/core. Messages read `where: what, expected, got, what to do`.
 */

/** The bytes are not the ONNX model that they claim to be: truncated, corrupt, or contradicting themselves. */
export class OnnxFormatError extends Error {
  override readonly name = 'OnnxFormatError';
}

/** The session was used in a state that does not allow it: after `release()`. */
export class SessionStateError extends Error {
  override readonly name = 'SessionStateError';
}

/** ONNX Runtime refused or failed to run a foreign region; `cause` is its own error. */
export class ForeignRunError extends Error {
  override readonly name = 'ForeignRunError';
}
