/** What `npm run bench -- forecast` leaves as text. */
import { round } from '../results.ts';
import { geometricMean } from '../samples.ts';
import type { ForecastRun } from './index.ts';
import type { ForecastCase } from './measure.ts';

/** Forecasts are expected to be this near. */
const WITHIN = 0.25;

/** expected ÷ measured, either way. */
export const isNear = (ratio: number): boolean => Math.abs(ratio - 1) <= WITHIN;

interface Compared {
  readonly id: string;
  readonly ratio: number;
}

/** One line for a group: how many are near, the mean, the ends. */
function summary(name: string, all: readonly Compared[]): string[] {
  const ratios = all.map(({ ratio }) => ratio).sort((a, b) => a - b);
  const near = ratios.filter(isNear).length;
  const ends = `${ratios[0]!.toFixed(2)} … ${ratios.at(-1)!.toFixed(2)}`;
  return [name, `${near} of ${ratios.length}`, geometricMean(ratios).toFixed(2), ends];
}

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  row(head),
  row(head.map((_, i) => (i ? '---:' : '---'))),
  ...rows.map(row),
];

const KINDS: Readonly<Record<ForecastCase['kind'], string>> = {
  product: 'products',
  attention: 'attention, 128 … 4096 keys',
};

/** @param run with at least one result */
export function forecastReport({ date, machine, load, versions, rounds, results, recorded }: ForecastRun): string {
  const off = [...results, ...recorded.map((each) => ({ ...each, id: `${each.run}: ${each.id}` }))].filter(
    ({ ratio }) => !isNear(ratio),
  );
  const runs = [...new Set(recorded.map(({ run }) => run))];
  return [
    '# How far off forecasts are',
    '',
    `\`npm run bench -- forecast\`, ${machine.cpu}, ${machine.cores} cores, Node ${versions.node} (V8 ${versions.v8}), ${date.slice(0, 10)}, ` +
      `load ${load}, one thread, at least twice ${rounds} rounds in turns with the machine's peaks. How: docs/theory.md.`,
    '',
    'Expected: from the best samples of the peaks. Measured: a bound call, its best sample; of calls that take milliseconds (cpu) the median by',
    'the clock of the processor. Ratio: expected ÷ measured. Recorded runs: chains of layers, by medians.',
    '',
    ...table(
      ['', 'within 25 %', 'mean ratio', 'least … most'],
      [
        ...(Object.keys(KINDS) as ForecastCase['kind'][]).flatMap((kind) => {
          const own = results.filter((result) => result.kind === kind);
          return own.length > 0 ? [summary(KINDS[kind], own)] : [];
        }),
        ...runs.map((name) =>
          summary(
            `recorded ${name}, load ${recorded.find(({ run }) => run === name)!.load}`,
            recorded.filter(({ run }) => run === name),
          ),
        ),
      ],
    ),
    '',
    off.length === 0
      ? 'All within 25 %.'
      : `Not within 25 %: ${off.map(({ id, ratio }) => `${id} (${ratio.toFixed(2)})`).join('; ')}.`,
    '',
    ...table(
      ['', 'expected µs', 'measured µs', 'ratio', 'limit', 'dot peak', 'read GB/s'],
      results.map(({ id, expected, measured, clock, ratio, peaks }) => [
        id,
        `${round(expected.microseconds)}`,
        `${round(measured)}${clock === 'cpu' ? ' (cpu)' : ''}`,
        ratio.toFixed(2),
        expected.limit,
        peaks.dotGmacs.toFixed(1),
        peaks.readGigabytes.toFixed(1),
      ]),
    ),
  ].join('\n');
}
