/** One line that says what is being measured. */
import { styleText } from 'node:util';
import type { Stream } from '../../../packages/cli/src/shared/output.ts';

const DEFAULT_COLUMNS = 100;
const CLEAR_LINE = '\x1b[2K';

/** One line that is redrawn; without a terminal, one line per stage. */
export class Progress {
  readonly #out: Stream;
  #stage = '';

  constructor(out: Stream) {
    this.#out = out;
  }

  /** @param stage what is being measured  @param detail how far */
  update(stage: string, detail = ''): void {
    if (this.#out.isTTY) {
      const text = `${stage} ${detail}`.slice(0, (this.#out.columns || DEFAULT_COLUMNS) - 1);
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
