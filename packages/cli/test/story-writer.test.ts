import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { StoryWriter } from '../src/run/story-writer.ts';
import { threeDigits } from '../src/shared/numbers.ts';
import type { Stream } from '../src/shared/output.ts';
import { formatTable } from '../src/shared/table.ts';

/** A terminal that obeys the few control sequences in use. */
class Screen implements Stream {
  readonly isTTY = true;
  readonly columns: number;
  readonly lines: string[] = [''];
  #row = 0;
  #column = 0;

  constructor(columns: number) {
    this.columns = columns;
  }

  write(text: string): boolean {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    for (const [part, amount, command] of text.matchAll(/\x1b\[(\d*)([AGKm])|[^\x1b]/g)) {
      if (command === 'A') this.#row -= Number(amount);
      else if (command === 'G') this.#column = Number(amount) - 1;
      else if (command === 'K') this.lines[this.#row] = '';
      else if (command === 'm') continue;
      else if (part === '\r') this.#column = 0;
      else if (part === '\n') {
        this.#row++;
        this.#column = 0;
        this.lines[this.#row] ??= '';
      } else {
        const line = (this.lines[this.#row] as string).padEnd(this.#column);
        this.lines[this.#row] = line.slice(0, this.#column) + part + line.slice(this.#column + 1);
        this.#column++;
        expect(this.#column, 'a line overflows').toBeLessThan(this.columns);
      }
    }
    return true;
  }
}

class Pipe implements Stream {
  text = '';
  write(text: string): boolean {
    this.text += text;
    return true;
  }
}

const PIECES = ['Once', ' upon', ' a', ' ti', 'me', ',', '\n', '  Lily', ' saw', ' a', ' cas', 'tle', '.'];
const STORY = ['Once upon a', 'time,', 'Lily saw a', 'castle.'];

describe('StoryWriter', () => {
  it('wraps whole words on a terminal, whatever the status line does', async () => {
    const screen = new Screen(12);
    const writer = new StoryWriter(screen);
    for (const [i, piece] of PIECES.entries()) {
      writer.write(piece);
      writer.status(`${i} done`);
      if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 60));
    }
    expect(screen.lines.some((line) => /^\d+ done$/.test(line))).toBe(true);
    writer.end('finished');
    expect(screen.lines).toEqual([...STORY, 'finished', '']);
  });

  it('writes plain lines into a pipe', () => {
    const pipe = new Pipe();
    const writer = new StoryWriter(pipe);
    writer.prompt('Once upon');
    for (const piece of [' a', ' ti', 'me', '.']) {
      writer.write(piece);
      writer.status('never shown');
    }
    writer.end('4 tokens');
    expect(stripVTControlCharacters(pipe.text)).toBe('Once upon a time.\n4 tokens\n');
  });
});

describe('formatTable', () => {
  it('aligns columns, styled cells too', () => {
    const table = formatTable(
      [
        { header: 'name', align: 'left' },
        { header: 'ms', align: 'right' },
      ],
      [
        ['a', '1.5'],
        ['longer', '\x1b[1m120\x1b[22m'],
      ],
    );
    expect(stripVTControlCharacters(table).split('\n')).toEqual([
      'name     ms',
      '──────  ───',
      'a       1.5',
      'longer  120',
    ]);
  });

  it('shows three digits', () => {
    expect([0, 0.01234, 0.1, 1.234, 12.34, 123.4, 1234.4].map(threeDigits)).toEqual([
      '0.00',
      '0.0123',
      '0.100',
      '1.23',
      '12.3',
      '123',
      '1234',
    ]);
  });
});
