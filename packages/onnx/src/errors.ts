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

/** A run or a creation that its caller stopped; `cause` is the reason of its AbortSignal. */
export class AbortError extends Error {
  override readonly name = 'AbortError';
}

/**
 * A model, or a file of it, could not be read: it does not exist, permission is missing, the server refused, or the
 * connection broke or stalled. The message says how far it came; `cause` is the system's own error, `code` its code
 * (ENOENT).
 */
export class ReadError extends Error {
  override readonly name = 'ReadError';
  readonly code?: string;

  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    const code = (options?.cause as { readonly code?: unknown } | undefined)?.code;
    if (typeof code === 'string') this.code = code;
  }
}

/** Text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
