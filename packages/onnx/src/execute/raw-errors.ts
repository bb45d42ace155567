/** Replaces errors of the engine that say neither where nor what to do. */
import { BackendUnavailableError } from '@msd/core';

const NO_MEMORY = /array buffer allocation|invalid (typed )?array (buffer )?length|invalid array length|out of memory/i;

/** Did the engine find no memory for an array? Engines say so with a RangeError that looks like one of a wrong value. */
export const isNoMemory = (error: unknown): error is RangeError =>
  error instanceof RangeError && NO_MEMORY.test(error.message);

/** @param where what was being done */
export function typedError(where: string, error: unknown): unknown {
  if (!isNoMemory(error)) return error;
  const [, negative] = /length:? (-\d+)/i.exec(error.message) ?? [];
  if (negative !== undefined) {
    return new RangeError(
      `${where}: size of a value, expected at least 0, got ${negative}. Do the inputs fit the model?`,
      {
        cause: error,
      },
    );
  }
  return new BackendUnavailableError(
    `${where}: memory, expected room for another array, got none (${error.message}). Close other pages, release other sessions, or use a smaller model.`,
    { cause: error },
  );
}
