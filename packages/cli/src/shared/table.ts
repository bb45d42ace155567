/** Tables in plain text: a header, a rule, rows; numbers to the right. */
import { stripVTControlCharacters, styleText } from 'node:util';

export interface Column {
  readonly header: string;
  readonly align: 'left' | 'right';
}

const GAP = '  ';

/** Width in columns of a terminal; every character that is used here is one wide. */
function width(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}

function pad(text: string, target: number, align: Column['align']): string {
  const space = ' '.repeat(Math.max(0, target - width(text)));
  return align === 'left' ? text + space : space + text;
}

/** @param rows one cell per column; cells may be styled. @returns lines joined by newlines, without one at the end */
export function formatTable(columns: readonly Column[], rows: ReadonlyArray<readonly string[]>): string {
  const widths = columns.map(({ header }, i) => Math.max(width(header), ...rows.map((row) => width(row[i] ?? ''))));
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ align }, i) => pad(cells[i] ?? '', widths[i] as number, align))
      .join(GAP)
      .trimEnd();
  return [
    styleText('bold', line(columns.map(({ header }) => header))),
    styleText('dim', widths.map((size) => '─'.repeat(size)).join(GAP)),
    ...rows.map(line),
  ].join('\n');
}
