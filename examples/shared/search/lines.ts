/** The lines of a text file that the reader chose. */
import { counted } from '../elements.ts';

/** More lines would take minutes to read. */
export const MAX_LINES = 5000;
/** Nobody's 5000 lines are longer: of larger files only the beginning is read. */
const MAX_BYTES = 8_000_000;
const ASK = 'Choose a text file with one sentence per line.';
/** Something else was dropped on the page. */
export const NOT_A_FILE = `That is no file. ${ASK}`;

export interface Lines {
  readonly lines: readonly string[];
  /** "3 lines of notes.txt" */
  readonly what: string;
}

/** UTF-8, or what older editors on Windows save: UTF-16 with a mark at its beginning, or one byte for a letter. */
function decoded(bytes: ArrayBuffer): string {
  const [first, second] = new Uint8Array(bytes, 0, Math.min(2, bytes.byteLength));
  if (first === 0xff && second === 0xfe) return new TextDecoder('utf-16le').decode(bytes);
  if (first === 0xfe && second === 0xff) return new TextDecoder('utf-16be').decode(bytes);
  try {
    // Where a large file was cut, a part of a letter may be left.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

/**
 * The lines of a file that have text in them: the first 5000, if there are more.
 *
 * @throws Error that says what is wrong with the file
 */
export async function linesOf(file: File): Promise<Lines> {
  const { name } = file;
  let text: string;
  try {
    text = decoded(await file.slice(0, MAX_BYTES).arrayBuffer());
  } catch {
    // A folder that was dropped, or a file that is gone.
    throw new Error(`${name} cannot be read. ${ASK}`);
  }
  if (text.includes('\0')) throw new Error(`${name} is not text. ${ASK}`);
  const all = text
    .split(/\r\n?|\n/)
    .map((line) => line.trim())
    .filter(Boolean);
  // Where a large file was cut, half a line is left.
  if (file.size > MAX_BYTES && all.length > 1) all.pop();
  if (all.length === 0) throw new Error(`${name} has no lines of text. ${ASK}`);
  const lines = all.slice(0, MAX_LINES);
  const isCut = all.length > lines.length || file.size > MAX_BYTES;
  return {
    lines,
    what: `${isCut ? 'The first ' : ''}${counted(lines.length, 'line')} of ${name}`,
  };
}
