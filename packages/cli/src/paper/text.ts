/** The report as text for a terminal, and as CSV. */
import { styleText } from 'node:util';
import { machineText } from '../shared/machine.ts';
import { durationText } from '../shared/numbers.ts';
import { type Column, formatTable } from '../shared/table.ts';
import type { Experiment } from './cases.ts';
import { CLAIM_SIZE, type Claim, type Verdict } from './claims.ts';
import type { PaperReport } from './report.ts';
import type { Summary } from './summary.ts';

const COLOURS: Readonly<Record<Verdict, 'green' | 'yellow' | 'red'>> = {
  reproduced: 'green',
  'in part': 'yellow',
  'not reproduced': 'red',
};
const WIDTH = 100;

/** What a terminal shows. */
export function reportText(report: PaperReport): string {
  const { claims, summaries, extent, machine, elapsedMs, processorMs } = report;
  return [
    ...claims.map(claimText),
    table(summaries, 'bits', 'Effective bits: signal to noise ÷ 6.02 dB; top half and of bound: see docs/paper.md'),
    table(summaries, 'matmul', `Products, K = ${CLAIM_SIZE}: relative error (L2)`),
    table(summaries, 'attention', `Attention, T = ${CLAIM_SIZE}, head size 128: relative error (L2)`),
    `Seeds ${extent.firstSeed} to ${extent.firstSeed + extent.seeds - 1}; ${durationText(elapsedMs)}, ${durationText(processorMs)} of processor time; ${machineText(machine)}.`,
  ].join('\n\n');
}

/** A claim, its verdict in colour. */
export function claimText({ says, got, verdict, why }: Claim): string {
  return [
    `${styleText(COLOURS[verdict], verdict.toUpperCase())}  ${wrapped(says, verdict.length + 2)}`,
    `  here: ${wrapped(got, 8)}`,
    `  why:  ${wrapped(why, 8)}`,
  ].join('\n');
}

function wrapped(text: string, indent: number): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!;
    if (line.length + word.length + indent >= WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.join(`\n${' '.repeat(indent)}`);
}

/** A value as tables show it. */
export function cellOf(value: number): string {
  if (value === 0) return '0';
  return value >= 1 ? value.toFixed(1) : value.toExponential(1);
}

/** Variants down, distributions across. */
export interface Grid {
  readonly distributions: readonly string[];
  readonly rows: readonly { readonly variant: string; readonly cells: readonly (Summary | undefined)[] }[];
}

export function gridOf(summaries: readonly Summary[], experiment: Experiment, size = CLAIM_SIZE): Grid {
  const here = summaries.filter((each) => each.experiment === experiment && each.size === size);
  const unique = (values: readonly string[]): string[] => [...new Set(values)];
  const distributions = unique(here.map(({ distribution }) => distribution));
  const rows = unique(here.map(({ variant }) => variant)).map((variant) => ({
    variant,
    cells: distributions.map((name) => here.find((each) => each.distribution === name && each.variant === variant)),
  }));
  return { distributions, rows };
}

function table(summaries: readonly Summary[], experiment: Experiment, title: string): string {
  const { distributions, rows } = gridOf(summaries, experiment);
  const columns: Column[] = [
    { header: '', align: 'left' },
    ...distributions.map((header): Column => ({ header, align: 'right' })),
  ];
  const cells = rows.map(({ variant, cells }) => [variant, ...cells.map((cell) => (cell ? cellOf(cell.value) : ''))]);
  return `${title}\n${formatTable(columns, cells)}`;
}

/** Rows of plain objects, one line each. */
export function csvOf(rows: ReadonlyArray<object>): string {
  const names = Object.keys(rows[0] ?? {});
  const cell = (value: unknown): string => {
    const text = String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const line = (row: object): string => names.map((name) => cell((row as Record<string, unknown>)[name])).join(',');
  return `${[names.join(','), ...rows.map(line)].join('\n')}\n`;
}
