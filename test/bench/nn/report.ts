/** What `npm run bench -- nn` leaves behind: nn.json, and nn.md made of it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Machine, Measured } from '../results.ts';
import { summarize } from '../samples.ts';
import type { FamilyCoverage } from './coverage.ts';
import type { NnResult } from './measure.ts';

export interface NnRun {
  readonly date: string;
  readonly machine: Machine;
  /** 1-minute load average before the run. */
  readonly load: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly results: readonly NnResult[];
  /** Ops of nn that no case measures. */
  readonly withoutCase: readonly string[];
  readonly families: readonly FamilyCoverage[];
}

/** @returns the report, which now lies in the folder */
export function writeNn(folder: string, run: NnRun): string {
  const report = nnReport(run);
  writeFileSync(join(folder, 'nn.json'), `${JSON.stringify(run)}\n`);
  writeFileSync(join(folder, 'nn.md'), `${report}\n`);
  return report;
}

const HEAD = ['', 'M', 'MSD µs', 'plain', 'ORT node', 'ORT run', '÷ plain', '÷ node', '÷ run', 'GB/s', 'of limit'];

export function nnReport({ date, machine, load, versions, rounds, results, withoutCase, families }: NnRun): string {
  const ops = [...new Set(results.map(({ op }) => op))];
  const untouched = families.filter(({ ran }) => ran === 0).map(({ family }) => family);
  return [
    '# What lies between two products',
    '',
    `\`npm run bench -- nn\`, ${machine.cpu}, ${machine.cores} cores, Node ${versions.node} (V8 ${versions.v8}), onnxruntime-web ` +
      `${versions.ort}, ${date.slice(0, 10)}, load ${load}, one thread, ${rounds} rounds in turns in one process. How: docs/benchmarks.md.`,
    '',
    'Microseconds, medians ± half the distance of the quartiles. MSD: a bound call in its arena. Plain: a loop over Float32Arrays. ORT',
    'run: `session.run`, which copies inputs and outputs; ORT node: one of several equal nodes in one run. ÷: how many times as fast MSD',
    "is, the median of the rounds' own ratios. Of limit: of reading as many bytes as are read and written, or of multiplying and adding f32.",
    '',
    ...(withoutCase.length > 0 ? [`**Without a case: ${withoutCase.join(', ')}.**`] : ['Every op of nn has a case.']),
    ...(untouched.length > 0 ? [`**Families without a kernel that ran: ${untouched.join(', ')}.**`] : []),
    ...ops.flatMap((op) =>
      section(
        op,
        results.filter((result) => result.op === op),
      ),
    ),
    '',
    `Kernels of the lists that ran: ${families.map(({ family, ran, all }) => `${family} ${ran} of ${all}`).join(', ')}.`,
  ].join('\n');
}

const section = (op: string, results: readonly NnResult[]): string[] => [
  '',
  `## ${op}`,
  '',
  ...[HEAD, HEAD.map((_, i) => (i ? '---:' : '---')), ...results.map(row)].map((cells) => `| ${cells.join(' | ')} |`),
];

function row({ name, M, us, bytes, ofLimit }: NnResult): string[] {
  const { msd, plain, node, run } = us;
  return [
    name,
    String(M),
    ...[msd, plain, node, run].map(time),
    ...[plain, node, run].map((other) => gain(msd, other)),
    digits(bytes / 1000 / msd.median),
    ofLimit === undefined ? '' : `${Math.round(100 * ofLimit)} %`,
  ];
}

const digits = (value: number): string => String(Number(value.toPrecision(value < 10 ? 2 : 3)));
/** A node that is nothing beside the run around it has no time of its own. */
const time = ({ median, spread }: Measured): string =>
  median > 0 ? `${digits(median)} ±${Math.round(100 * spread)} %` : '0';

/** How many times as fast. */
const gain = ({ samples }: Measured, other: Measured): string =>
  other.median > 0 ? digits(summarize(samples.map((own, i) => other.samples[i]! / own)).median) : '';
