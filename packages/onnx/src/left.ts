/** Models that a taken-over `create` leaves to ONNX Runtime. */

/** Marks the entry of `executionProviders` that stands for 'wasm' or 'cpu' of the caller. */
export const TAKEN_OVER: unique symbol = /* @__PURE__ */ Symbol.for('msd.takenOver');

/**
 * Thrown instead of creating a session that would only pass everything on: the caller then creates it in ONNX Runtime.
 */
export class LeftToOrt extends Error {
  override readonly name = 'LeftToOrt';
  /** The file, if it was fetched: nobody has to fetch it again. */
  readonly model: Uint8Array | undefined;
  /** Files beside it, if they were looked up. */
  readonly externalData: readonly object[] | undefined;

  constructor(reason: string, model?: Uint8Array, externalData?: readonly object[]) {
    super(reason);
    this.model = model;
    this.externalData = externalData;
  }
}

/** Is it one, of this copy of the package or another? */
export function isLeft(error: unknown): error is LeftToOrt {
  return error instanceof Error && error.name === 'LeftToOrt';
}
