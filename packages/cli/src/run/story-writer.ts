/** A story on the screen while it is being written. */
import { styleText } from 'node:util';
import type { Stream } from '../shared/output.ts';

const DEFAULT_COLUMNS = 100;
const REDRAW_MS = 50;
const CLEAR_LINE = '\x1b[2K';

/** Some terminals do not know their width, and say 0. */
function columnsOf(out: Stream): number {
  return out.columns || DEFAULT_COLUMNS;
}

/** Writes words as they come, wrapped at the terminal's width, with a status line below them. */
export class StoryWriter {
  readonly #out: Stream;
  readonly #columns: number;
  #column = 0;
  /** A space that is written with the next word, if that still fits. */
  #space = false;
  /** A word that may go on. */
  #word = '';
  #drawn = 0;

  constructor(out: Stream) {
    this.#out = out;
    this.#columns = Math.min(DEFAULT_COLUMNS, columnsOf(out) - 1);
  }

  /** What the text begins with, in a quieter colour. Ends with a whole word. */
  prompt(text: string): void {
    this.#add(text, (word) => styleText('dim', word));
    this.#flush((word) => styleText('dim', word));
  }

  /** The next piece of text; words may come in several. */
  write(text: string): void {
    this.#add(text, (word) => word);
  }

  /** Draws the status below the story; often enough to look alive, no more. Nothing where lines cannot be redrawn. */
  status(text: string): void {
    if (!this.#out.isTTY || performance.now() - this.#drawn < REDRAW_MS) return;
    this.#drawn = performance.now();
    this.#out.write(`\n${CLEAR_LINE}\r${styleText('cyan', text)}\x1b[1A\x1b[${this.#column + 1}G`);
  }

  /** Ends the story; the status stays. */
  end(status: string): void {
    this.#flush((word) => word);
    this.#breakLine();
    this.#out.write(`${styleText('cyan', status)}\n`);
  }

  #add(text: string, style: (word: string) => string): void {
    for (const [part] of text.matchAll(/\n|[^\S\n]+|\S+/g)) {
      if (part.trim() !== '') {
        this.#word += part;
        continue;
      }
      this.#flush(style);
      if (part === '\n') this.#breakLine();
      else this.#space = this.#column > 0;
    }
  }

  #flush(style: (word: string) => string): void {
    if (this.#word === '') return;
    if (this.#column + Number(this.#space) + this.#word.length > this.#columns) this.#breakLine();
    this.#out.write((this.#space ? ' ' : '') + style(this.#word));
    this.#column += Number(this.#space) + this.#word.length;
    this.#space = false;
    this.#word = '';
  }

  #breakLine(): void {
    this.#out.write(this.#out.isTTY ? `\n${CLEAR_LINE}\r` : '\n');
    this.#column = 0;
    this.#space = false;
  }
}
