/**
 * The error classes of @msd/tfjs beside `TypeError` (wrong kind), `RangeError` (wrong shape or value) and the two classes
 * of @msd/core. Messages read `where: what, expected, got, what to do`.
 */

/** Bytes of a message: what a file holds may be of any size, names included. */
const MAX_BYTES = 1000;

/** A model's topology or weights contradict themselves: truncated, corrupt, or sizes that lie. */
export class ModelFormatError extends Error {
  override readonly name = 'ModelFormatError';

  constructor(message: string, options?: ErrorOptions) {
    const { read } = new TextEncoder().encodeInto(message, new Uint8Array(MAX_BYTES - 3));
    super(read < message.length ? `${message.slice(0, read)}…` : message, options);
  }
}

/** A tensor or model was used after `dispose()`. */
export class DisposedError extends Error {
  override readonly name = 'DisposedError';
}

/** Characters of a value in a message, entries of a list. */
const [MAX_CHARACTERS, MAX_ENTRIES] = [80, 16];

/** A value as a message shows it, in a few words whatever it is; nothing of the value runs. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return clipped(value);
  if (Array.isArray(value)) {
    const entries = value.slice(0, MAX_ENTRIES).map((entry) => (Array.isArray(entry) ? '[…]' : shown(entry)));
    return `[${clipped(entries.join())}${value.length > MAX_ENTRIES ? `,… ${value.length} in all` : ''}]`;
  }
  if (typeof value !== 'object' && typeof value !== 'function') return clipped(String(value));
  if (value === null) return 'null';
  const tag = clipped(Object.prototype.toString.call(value));
  const { byteLength } = value as Partial<ArrayBuffer>;
  return typeof byteLength === 'number' ? `${tag} of ${byteLength} bytes` : tag;
}

const clipped = (text: string): string =>
  text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS)}… (${text.length} characters)` : text;

/** @throws {@link ModelFormatError} for the one name that is no property of an object: what stock puts under it is lost */
export function checkName(name: string, where: string): void {
  if (name === '__proto__') throw new ModelFormatError(`${where}: name, expected another than __proto__.`);
}
