/**
 * Error classes of MSD. A value of the wrong kind is a `TypeError`, a wrong shape or value a `RangeError`. The classes
 * here are for requests that are well-formed, but cannot be fulfilled.
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
