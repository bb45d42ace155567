/** The option `quantize`: which float weights become integers while a model is loaded. */
import type { FloatFormat } from './floats.ts';

/**
 * One format for all, or by name: of a node or of its weights; `*` stands for any characters. A name itself is looked for before the
 * patterns, which are tried in their order. `false` leaves weights as they are.
 */
export type QuantizeOption = FloatFormat | false | { readonly [nameOrPattern: string]: FloatFormat | false };

/** Format for the weights of a node, by its name and theirs. */
export type ChooseFormat = (names: readonly string[]) => FloatFormat | undefined;

const isFormat = (value: unknown): value is FloatFormat | false =>
  value === 'int8' || value === 'int4' || value === false;

/** @throws `TypeError`, `RangeError` */
export function checkQuantize(value: unknown): QuantizeOption {
  if (isFormat(value)) return value;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new RangeError(
      `msd: option 'quantize', expected 'int8', 'int4', false or an object of them, got ${say(value)}.`,
    );
  for (const [name, format] of Object.entries(value))
    if (!isFormat(format))
      throw new RangeError(`msd: option 'quantize': '${name}', expected 'int8', 'int4' or false, got ${say(format)}.`);
  return value as QuantizeOption;
}

/** An option's value in a message: text is told from a number. */
export const say = (value: unknown): string => (typeof value === 'string' ? `'${value}'` : String(value));

export function formatChooser(option: QuantizeOption): ChooseFormat {
  if (typeof option !== 'object') return () => option || undefined;
  const exact = new Map(Object.entries(option));
  const patterns = [...exact]
    .filter(([name]) => name.includes('*'))
    .map(([name, format]) => [matches(name), format] as const);
  return (names) => {
    for (const name of names) {
      const format = exact.get(name);
      if (format !== undefined) return format || undefined;
    }
    return patterns.find(([pattern]) => names.some((name) => pattern(name)))?.[1] || undefined;
  };
}

/** Does a name match a pattern? Pieces between the stars, in order: no pattern makes a search slow. */
export function matches(pattern: string): (name: string) => boolean {
  const pieces = pattern.split('*');
  const [first, last] = [pieces[0]!, pieces.at(-1)!];
  return (name) => {
    if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
    let at = first.length;
    const end = name.length - last.length;
    for (const piece of pieces.slice(1, -1)) {
      const found = name.indexOf(piece, at);
      if (found < 0 || found + piece.length > end) return false;
      at = found + piece.length;
    }
    return true;
  };
}
