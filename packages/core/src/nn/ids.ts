/**
 * Short names for kernels of a model's own expressions, which may be of any length; different texts get different
 * names.
 */

const LONGEST = 80;

/** The text itself, or as much of it as fits and a hash of the whole. */
export const shortId = (text: string): string =>
  text.length <= LONGEST ? text : `${text.slice(0, LONGEST - 17)}_${hash(text, 0)}${hash(text, 0x9e3779b9)}`;

/** FNV-1a with another start, as eight hexadecimal digits. */
function hash(text: string, seed: number): string {
  let state = 0x811c9dc5 ^ seed;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 0x01000193);
  state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d);
  return ((state ^ (state >>> 12)) >>> 0).toString(16).padStart(8, '0');
}
