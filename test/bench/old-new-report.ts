/** What `npm run bench -- kernels --old DIR` found, as JSON and as Markdown. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CallCost, OldNewCase, OldNewResult } from './old-new.ts';
import type { Machine } from './results.ts';
import { geometricMean } from './samples.ts';

export interface OldNewRun extends OldNewResult {
  readonly date: string;
  readonly machine: Machine;
  readonly load: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
}

/** No product may be slower than this share of what it was; the rest is what medians of one run leave open. */
const LEAST = 0.98;

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  [head, head.map((_, i) => (i ? '---:' : '---')), ...rows].map((cells) => `| ${cells.join(' | ')} |`);

/** @returns the report, which now lies in the folder */
export function writeOldNew(folder: string, run: OldNewRun): string {
  const report = oldNewReport(run);
  writeFileSync(join(folder, 'kernels-old-new.json'), `${JSON.stringify(run)}\n`);
  writeFileSync(join(folder, 'kernels-old-new.md'), `${report}\n`);
  return report;
}

export function oldNewReport({ cases, calls, date, machine, load, versions, rounds }: OldNewRun): string {
  const below = cases.filter(({ ratio }) => ratio < LEAST);
  const other = cases.filter(({ sameBits }) => !sameBits);
  const list = (some: readonly OldNewCase[]) =>
    some.map(({ id, ratio, bestRatio }) => `${id} (${ratio.toFixed(3)}, best ${bestRatio.toFixed(3)})`).join(', ');
  return [
    '# Products of this build and of an older one',
    '',
    `\`npm run bench -- kernels --old DIR\`, ${machine.cpu}, ${machine.cores} cores, Node ${versions.node} (V8 ${versions.v8}), ` +
      `${date.slice(0, 10)}, load ${load}. One process, in turns, one thread, ${rounds} rounds. GMAC/s by medians; ` +
      'new ÷ old is the median of the rounds’ own ratios, best that of the fastest samples; more than 1 = faster.',
    '',
    ...means(cases),
    '',
    below.length > 0 ? `Below ${LEAST}: ${list(below)}.` : `None below ${LEAST}.`,
    other.length > 0 ? `Other bits: ${list(other)}.` : 'The same bits in all.',
    '',
    ...table(['', 'old', 'new', 'new ÷ old', 'best', 'old kernel', 'new kernel'], cases.map(caseRow)),
    '',
    ...callTable(calls),
  ].join('\n');
}

function caseRow({ id, M, K, N, kernels, ratio, bestRatio, ...times }: OldNewCase): string[] {
  const speed = ({ median, spread }: OldNewCase['old']) =>
    `${((M * N * K) / median / 1e6).toFixed(1)} ±${Math.round(100 * spread)} %`;
  return [id, speed(times.old), speed(times.new), ratio.toFixed(3), bestRatio.toFixed(3), kernels.old, kernels.new];
}

/** Geometric means over the shapes of a language model. */
function means(cases: readonly OldNewCase[]): string[] {
  const rows = [...new Set(cases.map(({ M }) => M))];
  const groupOf = ({ format, carrier, components }: OldNewCase) => `${format} ${carrier} P=${components}`;
  const large = cases.filter(({ K }) => K > 64);
  const cells = [...new Set(large.map(groupOf))].map((group) => [
    group,
    ...rows.map((M) => {
      const own = large.filter((one) => groupOf(one) === group && one.M === M);
      const mean = (of: (one: OldNewCase) => number) => geometricMean(own.map(of)).toFixed(3);
      return own.length > 0 ? `${mean(({ ratio }) => ratio)} / ${mean(({ bestRatio }) => bestRatio)}` : '';
    }),
  ]);
  return table(['new ÷ old / best', ...rows.map((M) => `M = ${M}`)], cells);
}

function callTable(calls: readonly CallCost[]): string[] {
  const above = (value: number | undefined, bare: number) =>
    value === undefined ? '' : `${(value - bare).toFixed(2)} (${Math.round((100 * (value - bare)) / bare)} %)`;
  const rows = calls.map(({ format, size, bare, bound, matmul }) => [
    `${format}, ${size}²`,
    bare.toFixed(2),
    bound?.toFixed(2) ?? '',
    above(bound, bare),
    matmul.toFixed(2),
    above(matmul, bare),
  ]);
  return table(['M = 1, this build, µs', 'bare gemm', 'bound call', 'above', '`matmul`', 'above'], rows);
}
