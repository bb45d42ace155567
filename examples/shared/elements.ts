/** Small helpers of the pages: elements by their id, text of numbers, a table whose cells have bars, files that are dropped. */

/** @throws Error when the page has no such element */
export function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no #${id} in the page`);
  return found as T;
}

/** An element with text or other elements in it. */
export function create<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  ...children: (string | Node)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

// A number and its unit stay on one line.
export const milliseconds = (value: number): string =>
  value < 999.5
    ? `${value < 99.95 ? value.toFixed(1) : Math.round(value)}\u00a0ms`
    : `${(value / 1000).toFixed(1)}\u00a0s`;
export const megabytes = (value: number): string => `${(value / 1e6).toFixed(1)}\u00a0MB`;
/** "1 line", "3 lines" */
export const counted = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;
/** "2.7", "15": two digits say enough of a ratio. */
export const ratio = (value: number): string => (value < 9.95 ? value.toFixed(1) : String(Math.round(value)));

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** One row: a number per column, `undefined` = not known yet. */
export interface FigureRow {
  readonly label: string;
  readonly values: readonly (number | undefined)[];
  readonly text: (value: number) => string;
}

/** A table whose cells have bars: the chart and its text are one. */
export function showFigures(body: HTMLElement, rows: readonly FigureRow[]): void {
  body.replaceChildren(
    ...rows.map(({ label, values, text }) => {
      const head = create('th', label);
      head.scope = 'row';
      const largest = Math.max(...values.map((value) => value ?? 0));
      const cells = values.map((value) => {
        const cell = create('td', value === undefined ? '–' : text(value));
        if (value !== undefined && largest > 0) {
          const bar = create('span');
          bar.className = 'bar';
          bar.setAttribute('aria-hidden', 'true');
          bar.style.width = `${(100 * value) / largest}%`;
          cell.append(bar);
        }
        return cell;
      });
      return create('tr', head, ...cells);
    }),
  );
}

/** Takes what is dropped anywhere on the page; the body has the class `dragging` meanwhile. */
export function onDrop(take: (data: DataTransfer) => void): void {
  addEventListener('dragover', (event) => {
    event.preventDefault();
    document.body.classList.add('dragging');
  });
  addEventListener('dragleave', () => document.body.classList.remove('dragging'));
  addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dragging');
    if (event.dataTransfer) take(event.dataTransfer);
  });
}

/** `/` goes to a field, Escape presses a button that is shown. */
export function shortcuts(field: HTMLElement, cancel: HTMLButtonElement): void {
  addEventListener('keydown', (event) => {
    const isTyping =
      event.target instanceof Element && event.target.matches('input:not([type=file]), select, textarea');
    if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
    } else if (event.key === 'Escape' && !cancel.hidden) cancel.click();
  });
}

/** A function that does its work at most so often: what a screen reader says should not change many times a second. */
export function atMostEvery<T extends unknown[]>(
  intervalMs: number,
  work: (...given: T) => void,
): (...given: T) => void {
  let last = Number.NEGATIVE_INFINITY;
  return (...given) => {
    const now = performance.now();
    if (now - last < intervalMs) return;
    last = now;
    work(...given);
  };
}
