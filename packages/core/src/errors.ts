/**
 * Every error class that MSD throws. Wrong kinds are `TypeError`, wrong shapes and values `RangeError`; the classes
 * here say that a request was well-formed and still cannot be served.
 *
 * Messages read `where: what, expected, got, what to do`.
 */

/** A well-formed request for something that this version does not do. */
export class UnsupportedError extends Error {
  override readonly name = 'UnsupportedError';
}

/** The engine or device cannot run the backend, or has no memory left for it. */
export class BackendUnavailableError extends Error {
  override readonly name = 'BackendUnavailableError';
}

/** The GPU refused work that was recorded: names the kernel or buffer, and carries what the device said. */
export class GpuError extends Error {
  override readonly name = 'GpuError';
}
