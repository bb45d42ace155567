/** What `npm run bench -- kernels --old DIR` found, as JSON and as Markdown. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CallCost } from './call-cost.ts';
import type { SampleClock } from './measure.ts';
import type { OldNewCase } from './old-new.ts';
import type { JoinedCase, NodeResult } from './old-new-nodes.ts';
import type { Machine } from './results.ts';
import { geometricMean } from './samples.ts';

export interface OldNewRun {
  readonly date: string;
  readonly machine: Machine;
  readonly load: number;
  readonly rounds: number;
  readonly processes: number;
  readonly clock: SampleClock;
  readonly nodes: readonly NodeResult[];
}

/** No kernel may be slower than this share of what it was; the rest is what medians leave open. */
const LEAST = 0.98;
/** Few µs are decided by where code and data happen to lie. */
const LARGE = 64;

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  [head, head.map((_, i) => (i ? '---:' : '---')), ...rows].map((cells) => `| ${cells.join(' | ')} |`);

/** @returns the report, which now lies in the folder */
export function writeOldNew(folder: string, run: OldNewRun): string {
  const report = oldNewReport(run);
  writeFileSync(join(folder, 'kernels-old-new.json'), `${JSON.stringify(run)}\n`);
  writeFileSync(join(folder, 'kernels-old-new.md'), `${report}\n`);
  return report;
}

export function oldNewReport({ nodes, date, machine, load, rounds, processes, clock }: OldNewRun): string {
  return [
    '# Kernels of this build and of an older one',
    '',
    `\`npm run bench -- kernels --old DIR\`, ${machine.cpu}, ${machine.cores} cores, ${date.slice(0, 10)}, load ${load}. ` +
      `${processes === 1 ? 'One process' : `Medians of ${processes} processes`}, kernels bare and in turns, one thread, ${rounds} rounds, ${clock} clock. ` +
      'GMAC/s by medians; new ÷ old is the median of the rounds’ own ratios, best that of the fastest samples; more than 1 = faster.',
    ...nodes.flatMap(section),
  ].join('\n');
}

function section({ node, v8, cases, calls }: NodeResult): string[] {
  const below = cases.filter(({ ratio }) => ratio < LEAST);
  const other = cases.filter(({ sameBits }) => !sameBits);
  const list = (some: readonly OldNewCase[]) =>
    some.map(({ id, ratio, bestRatio }) => `${id} (${ratio.toFixed(3)}, best ${bestRatio.toFixed(3)})`).join(', ');
  return [
    '',
    `## Node ${node} (V8 ${v8})`,
    '',
    ...means(cases),
    '',
    below.length > 0 ? `Below ${LEAST}: ${list(below)}.` : `None below ${LEAST}.`,
    other.length > 0 ? `Other bits: ${list(other)}.` : 'The same bits in all.',
    '',
    ...table(['', 'old', 'new', 'new ÷ old', 'of processes', 'best', 'old kernel', 'new kernel'], cases.map(caseRow)),
    '',
    ...callTable(calls),
  ];
}

function caseRow({ id, M, K, N, kernels, ratio, ratios, bestRatio, ...times }: JoinedCase): string[] {
  const speed = ({ median, spread }: OldNewCase['old']) =>
    `${((M * N * K) / median / 1e6).toFixed(1)} ±${Math.round(100 * spread)} %`;
  const span = `${Math.min(...ratios).toFixed(3)}–${Math.max(...ratios).toFixed(3)}`;
  return [
    id,
    speed(times.old),
    speed(times.new),
    ratio.toFixed(3),
    span,
    bestRatio.toFixed(3),
    kernels.old,
    kernels.new,
  ];
}

/** Geometric means over the shapes of a language model. */
function means(cases: readonly OldNewCase[]): string[] {
  const rows = [...new Set(cases.map(({ M }) => M))];
  const groupOf = ({ weights, carrier, components }: OldNewCase) => `${weights} ${carrier} P=${components}`;
  const large = cases.filter(({ K }) => K > LARGE);
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
  const rows = calls.map(({ format, size, gemm, above: { kernels, bound, matmul, arrays } }) => [
    `${format}, ${size}²`,
    gemm.toFixed(2),
    ...[kernels, bound, matmul, arrays].map((more) => `${more.toFixed(2)} (${((100 * more) / gemm).toFixed(1)} %)`),
  ]);
  return [
    'One row through this build: µs of the gemm kernel, and what the rest adds to it.',
    '',
    ...table(
      ['', 'gemm', 'with decompose', 'a bound call', '`matmul`, operands in the arena', '`matmul`, arrays'],
      rows,
    ),
  ];
}
