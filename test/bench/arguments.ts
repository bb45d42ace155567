/** Values of command-line options, checked. */

/** Comma-separated words, each one of `allowed`. */
export function list<T extends string>(name: string, value: string, allowed: readonly T[]): T[] {
  const words = value.split(',').filter(Boolean);
  const unknown = words.find((word) => !allowed.includes(word as T));
  if (unknown !== undefined)
    throw new RangeError(`bench: --${name} expected some of ${allowed.join(', ')}, got '${unknown}'.`);
  return words as T[];
}

/** One word of `allowed`. */
export function choice<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  if (!allowed.includes(value as T))
    throw new RangeError(`bench: --${name} expected one of ${allowed.join(', ')}, got '${value}'.`);
  return value as T;
}

/** A whole number from `least` up. */
export function count(name: string, value: string, least = 1): number {
  const number = Number(value);
  if (value === '' || !Number.isSafeInteger(number) || number < least)
    throw new RangeError(`bench: --${name} expected a whole number from ${least} up, got '${value}'.`);
  return number;
}

/** Comma-separated whole numbers from 0 up. */
export const counts = (name: string, value: string): number[] =>
  value
    .split(',')
    .filter(Boolean)
    .map((word) => count(name, word, 0));

/** A number above 0. */
export function positive(name: string, value: string): number {
  const number = Number(value);
  if (!(number > 0 && Number.isFinite(number)))
    throw new RangeError(`bench: --${name} expected a number above 0, got '${value}'.`);
  return number;
}
