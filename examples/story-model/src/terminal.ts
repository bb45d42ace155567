/** What moves on the screen: a story that is being written, and one line that says what is being measured. */
import type { WriteStream } from 'node:tty';
import { styleText } from 'node:util';

/** Where text goes; escapes are used on terminals only. */
export type Output = Pick<WriteStream, 'write'> & Partial<Pick<WriteStream, 'isTTY' | 'columns'>>;

const DEFAULT_COLUMNS = 100;
const REDRAW_MS = 50;
const CLEAR_LINE = '\x1b[2K';

/** Writes words as they come, wrapped at the terminal's width, with a status line below them. */
export class StoryWriter {
  readonly #out: Output;
  readonly #columns: number;
  #column = 0;
  /** A space that is written with the next word, if that still fits. */
  #space = false;
  #drawn = 0;

  constructor(out: Output) {
    this.#out = out;
    this.#columns = Math.min(DEFAULT_COLUMNS, (out.columns ?? DEFAULT_COLUMNS) - 1);
  }

  /** @param style of `util.styleText` */
  write(text: string, style: 'dim' | 'reset' = 'reset'): void {
    for (const [part] of text.matchAll(/\n|[^\S\n]+|\S+/g)) {
      if (part === '\n') this.#breakLine();
      else if (part.trim() === '') this.#space = this.#column > 0;
      else {
        if (this.#column + Number(this.#space) + part.length > this.#columns) this.#breakLine();
        this.#out.write((this.#space ? ' ' : '') + (style === 'dim' ? styleText('dim', part) : part));
        this.#column += Number(this.#space) + part.length;
        this.#space = false;
      }
    }
  }

  /** Draws the status below the story; often enough to look alive, no more. Nothing where lines cannot be redrawn. */
  status(text: string): void {
    if (!this.#out.isTTY || performance.now() - this.#drawn < REDRAW_MS) return;
    this.#drawn = performance.now();
    this.#out.write(`\n${CLEAR_LINE}\r${styleText('cyan', text)}\x1b[1A\x1b[${this.#column + 1}G`);
  }

  /** Ends the story; the status stays. */
  end(status: string): void {
    this.#breakLine();
    this.#out.write(`${styleText('cyan', status)}\n`);
  }

  #breakLine(): void {
    this.#out.write(this.#out.isTTY ? `\n${CLEAR_LINE}\r` : '\n');
    this.#column = 0;
    this.#space = false;
  }
}

/** One line that is redrawn; without a terminal, one line per stage. */
export class Progress {
  readonly #out: Output;
  #stage = '';

  constructor(out: Output) {
    this.#out = out;
  }

  /** @param stage what is being measured  @param detail how far */
  update(stage: string, detail = ''): void {
    if (this.#out.isTTY) {
      const text = `${stage} ${detail}`.slice(0, (this.#out.columns ?? DEFAULT_COLUMNS) - 1);
      this.#out.write(`\r${CLEAR_LINE}${styleText('dim', text)}`);
    } else if (stage !== this.#stage) this.#out.write(`${stage} …\n`);
    this.#stage = stage;
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#out.isTTY) this.#out.write(`\r${CLEAR_LINE}`);
    this.#stage = '';
  }
}
