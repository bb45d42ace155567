/** What a command prints: text for people or one JSON document on stdout, everything that passes (progress, notes) on stderr. */
import type { WriteStream } from 'node:tty';
import { styleText } from 'node:util';

/** Where text goes; escapes are used on terminals only. */
export type Stream = Pick<WriteStream, 'write'> & Partial<Pick<WriteStream, 'isTTY' | 'columns'>>;

/** Prints a command's result. */
export class Output {
  readonly isJson: boolean;
  readonly stdout: Stream;
  readonly stderr: Stream;

  constructor(isJson: boolean, stdout: Stream = process.stdout, stderr: Stream = process.stderr) {
    this.isJson = isJson;
    this.stdout = stdout;
    this.stderr = stderr;
  }

  /**
   * The result of the command, once.
   *
   * @param value what `--json` prints: plain data, sizes in bytes, times in ms
   * @param text the same for people, without a newline at the end
   */
  result(value: object, text: () => string): void {
    this.stdout.write(this.isJson ? `${JSON.stringify(value, undefined, 2)}\n` : `${text()}\n`);
  }

  /** Text as it comes, a story that is being written: nothing of it with `--json`. */
  text(piece: string): void {
    if (!this.isJson) this.stdout.write(piece);
  }

  /** Something to know beside the result. */
  note(text: string): void {
    this.stderr.write(`${styleText('dim', text, { stream: process.stderr })}\n`);
  }

  /** Something that may surprise. */
  warn(text: string): void {
    this.stderr.write(`${styleText('yellow', text, { stream: process.stderr })}\n`);
  }
}
