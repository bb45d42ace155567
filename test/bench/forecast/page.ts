/** What docs/theory.md says of how far off forecasts are, from the recorded run: between markers, as in docs/paper.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import { type ForecastRun, renewForecasts } from './index.ts';
import { isNear } from './report.ts';

export const THEORY_PAGE = new URL('../../../docs/theory.md', import.meta.url);
/** "30 of 30, 0.96 … 1.13" */
function summary(ratios: readonly number[]): string {
  const sorted = ratios.toSorted((a, b) => a - b);
  const near = sorted.filter(isNear).length;
  return `${near} of ${sorted.length}, ${sorted[0]!.toFixed(2)} … ${sorted.at(-1)!.toFixed(2)}`;
}

const FIGURES: Readonly<Record<string, (run: ForecastRun) => string>> = {
  products: ({ results }) => summary(results.flatMap(({ kind, ratio }) => (kind === 'product' ? ratio : []))),
  attention: ({ results }) => summary(results.flatMap(({ kind, ratio }) => (kind === 'attention' ? ratio : []))),
  'recorded, idle': ({ recorded }) => summary(recorded.flatMap(({ load, ratio }) => (load < IDLE ? ratio : []))),
  'recorded, busy': ({ recorded }) => summary(recorded.flatMap(({ load, ratio }) => (load < IDLE ? [] : ratio))),
  'not within': ({ results }) =>
    results
      .filter(({ ratio }) => !isNear(ratio))
      .map(({ id, measured, ratio }) => `\`${id}\`, ${measured.toFixed(1)} µs (${ratio.toFixed(2)})`)
      .join('; ') || 'none',
};
const IDLE = 1.5;

const MARKED = /<!-- forecast: ([^>]*?) -->[\s\S]*?<!-- end -->/g;

/** The page with its figures written anew. */
export function theoryPage(text: string, run: ForecastRun): string {
  return text.replace(MARKED, (_, key: string) => {
    const figure = FIGURES[key];
    if (!figure) throw new Error(`docs/theory.md: nothing is recorded for "${key}".`);
    return `<!-- forecast: ${key} -->${figure(run)}<!-- end -->`;
  });
}

/** Writes the page, and what the models say today of the recorded run. */
export function writeTheory(): void {
  writeFileSync(THEORY_PAGE, theoryPage(readFileSync(THEORY_PAGE, 'utf8'), renewForecasts()));
}
