/** How far a long job is: one line on stderr that is redrawn, with rate and time left; elsewhere a line now and then. */
import { styleText } from 'node:util';
import { bytesText, durationText, threeDigits } from './numbers.ts';
import type { Stream } from './output.ts';

const DEFAULT_COLUMNS = 100;
const CLEAR_LINE = '\x1b[2K';
/** Often enough to look alive. */
const REDRAW_MS = 100;
/** Of a log. */
const LINE_MS = 5000;
/** A rate is that of the last so many ms, so that a slow beginning is forgotten. */
const RATE_MS = 5000;

/** Where a job stands. */
export interface Step {
  /** Of `total`. */
  readonly done: number;
  /** Absent where nobody knows. */
  readonly total?: number | undefined;
  /** What is counted: `bytes` are shown as MB. */
  readonly unit: string;
  /** What is at work right now: a layer's name. */
  readonly detail?: string;
}

/** One line about one job at a time. */
export class Progress {
  readonly #out: Stream;
  readonly #now: () => number;
  #job = '';
  #drawn = -Infinity;
  #isShown = false;
  #samples: { readonly at: number; readonly done: number }[] = [];

  constructor(out: Stream, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#now = now;
  }

  /**
   * Says where a job stands; cheap enough to be called for every chunk.
   *
   * @param job what is done, as in "Downloading"; another one starts anew
   */
  update(job: string, step?: Step): void {
    const now = this.#now();
    const isNew = job !== this.#job;
    if (isNew) {
      this.#job = job;
      this.#samples = [];
    }
    if (step) this.#sample(now, step.done);
    const isDue = isNew || now - this.#drawn >= (this.#out.isTTY ? REDRAW_MS : LINE_MS);
    if (!isDue) return;
    this.#drawn = now;
    const text = step ? `${job}: ${this.#stepText(step)}` : `${job} …`;
    if (this.#out.isTTY) {
      this.#out.write(`\r${CLEAR_LINE}${styleText('dim', text.slice(0, (this.#out.columns || DEFAULT_COLUMNS) - 1))}`);
      this.#isShown = true;
    } else this.#out.write(`${text}\n`);
  }

  /** Takes the line away: before anything else is printed. */
  clear(): void {
    if (this.#isShown) this.#out.write(`\r${CLEAR_LINE}`);
    this.#isShown = false;
    this.#job = '';
    this.#drawn = -Infinity;
  }

  #sample(at: number, done: number): void {
    this.#samples.push({ at, done });
    while (this.#samples.length > 2 && at - this.#samples[1]!.at > RATE_MS) this.#samples.shift();
  }

  #stepText({ done, total, unit, detail }: Step): string {
    const isBytes = unit === 'bytes';
    const amount = isBytes ? bytesText(done) : `${done}`;
    const parts = [total === undefined ? amount : `${amount} of ${isBytes ? bytesText(total) : total}`];
    if (!isBytes) parts[0] += ` ${unit}`;
    const rate = this.#perSecond();
    if (rate > 0) {
      parts.push(isBytes ? `${bytesText(rate)}/s` : `${threeDigits(rate)} ${unit}/s`);
      if (total !== undefined && total > done) parts.push(`${durationText((1000 * (total - done)) / rate)} left`);
    }
    if (detail !== undefined) parts.push(detail);
    return parts.join(', ');
  }

  #perSecond(): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || last.at === first.at) return 0;
    return (1000 * (last.done - first.done)) / (last.at - first.at);
  }
}
