/**
 * docs/paper.md's figures, tables and pictures, from what `msd paper` has recorded. Text stays; what stands between a marker and its
 * end is written anew:
 *
 *   <!-- claims -->…<!-- end -->                                        a table
 *   <!-- matmul / gaussian / bf16 -->2.4e-3<!-- end -->                 a figure at K = T = 4096: experiment / distribution / variant
 *   <!-- matmul / gaussian / bf16 / int8 x2, row -->69<!-- end -->      how many times as large it is as another variant's
 *   <!-- claim kv-traffic / fused over two passes -->0.5<!-- end -->    a figure of a claim
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';
import { digits, limitOf } from '@msd/core';
import { CLAIM_SIZE, type Claim, claimsOf, short } from '../../packages/cli/src/paper/claims.ts';
import { models } from '../../packages/cli/src/paper/models.ts';
import { picturesOf } from '../../packages/cli/src/paper/pictures.ts';
import { type PaperReport, reportFile } from '../../packages/cli/src/paper/report.ts';
import type { Summary } from '../../packages/cli/src/paper/summary.ts';
import { cellOf, claimText, gridOf } from '../../packages/cli/src/paper/text.ts';
import { machineText } from '../../packages/cli/src/shared/machine.ts';
import { durationText } from '../../packages/cli/src/shared/numbers.ts';

export const PAPER_PAGE = new URL('../../docs/paper.md', import.meta.url);
export const PAPER_PICTURES = new URL('../../docs/paper/', import.meta.url);
/** What `msd paper --out` has written, once. */
export const PAPER_RESULTS = new URL('./results/2026-11-29/paper.json', import.meta.url);

export const readPaper = (): PaperReport => JSON.parse(readFileSync(PAPER_RESULTS, 'utf8')) as PaperReport;

const VERDICTS: Readonly<Record<Claim['verdict'], string>> = {
  reproduced: '**yes**',
  'in part': '**in part**',
  'not reproduced': '**no**',
};

const markdownTable = (head: readonly string[], rows: ReadonlyArray<readonly string[]>): string =>
  [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** Variants of an experiment down, distributions across. */
function errorTable(
  report: PaperReport,
  experiment: Summary['experiment'],
  names: Readonly<Record<string, string>>,
): string {
  const { distributions, rows } = gridOf(report.summaries, experiment);
  const cells = Object.entries(names).map(([variant, name]) => {
    const row = rows.find((each) => each.variant === variant);
    if (!row) throw new Error(`paper: ${experiment} has no variant ${variant}.`);
    return [name, ...row.cells.map((cell) => (cell ? cellOf(cell.value) : ''))];
  });
  return markdownTable(['', ...distributions], cells);
}

/** Numbers as the method's first step turns them into digits. */
function exampleTable(): string {
  const row = [0.8123, -2.54, 0.0031, 1.2345];
  const S = 2.54 / limitOf(2);
  const cells = row.map((x) => {
    const q = Math.round(x / S);
    const [high, low] = digits(q);
    return [x, q, high, low, cellOf(x - S * q)].map(String);
  });
  return [
    markdownTable(['x', 'q', 'first digit', 'second digit', 'x − S·q'], cells),
    '',
    `S = ${S.toExponential(3)}, so no error is above S/2 = ${(S / 2).toExponential(1)}.`,
  ].join('\n');
}

const TABLES: Readonly<Record<string, (report: PaperReport) => string>> = {
  claims: ({ claims }) =>
    [
      '| the paper says | | here | why |',
      '|---|---|---|---|',
      ...claims.map(({ says, got, verdict, why }) => `| ${says} | ${VERDICTS[verdict]} | ${got} | ${why} |`),
    ].join('\n'),
  example: exampleTable,
  'bits table': (report) =>
    errorTable(
      { ...report, summaries: report.summaries.filter(({ distribution }) => distribution !== 'of bound') },
      'bits',
      {
        'int8 x1, 256': 'INT8, one pass, a scale per 256',
        'int8 x2, row': 'INT8, two passes, a scale per row of 4096',
        'int8 x2, 256': 'INT8, two passes, a scale per 256',
        'int8 x3, 256': 'INT8, three passes, a scale per 256',
        'mxfp4 x1': 'MXFP4, one pass',
        'mxfp4 x2': 'MXFP4, two passes',
        'mxfp4 x3': 'MXFP4, three passes',
        mxfp8: 'MXFP8 (E4M3), the scale of the OCP',
        'mxfp8, ceil': 'MXFP8 (E4M3), nothing cut off',
        bf16: 'BF16',
        fp16: 'FP16',
      },
    ),
  'products table': (report) =>
    errorTable(report, 'matmul', {
      bf16: 'INT8 weights and activations through BF16',
      'bf16, scale after': 'the same, scales after the product',
      fp16: 'the same through FP16',
      'int8 x1, row': 'one INT8 pass, a scale per row',
      'int8 x2, row': '**two, a scale per row**',
      'int8 x2, 256': '**two, a scale per 256**',
      'int8 x2, 32': 'two, a scale per 32',
      'int8 x3, 256': 'three, a scale per 256',
      'mxfp4 weights: bf16': 'MXFP4 weights, BF16 activations',
      'mxfp4 weights: mxfp8': 'MXFP4 weights, one MXFP8 pass',
      'mxfp4 weights: mxfp4 x2': '**MXFP4 weights, two MXFP4 passes**',
      'mxfp4 weights: int8 x1, 32': 'MXFP4 weights, one INT8 pass, a scale per 32',
      'mxfp4 weights: int8 x2, 256': '**MXFP4 weights, two INT8 passes, a scale per 256**',
    }),
  'attention table': (report) =>
    errorTable(report, 'attention', {
      bf16: 'all through BF16',
      'int8 x1, pages': 'one pass',
      'int8 x2, row': 'two, P: one scale per query',
      'int8 x2, 128': 'two, P: per 128 keys',
      'int8 x2, 64': 'two, P: per 64 keys',
      'int8 x2, pages': '**two, the same, key 0 apart (MSD.js)**',
      'int8 x3, pages': 'three, likewise',
      'total: bf16': 'BF16, against floats',
      'total: int8 x2, pages': 'MSD.js, against floats',
      'total: K per token': 'INT8 K and V, a scale per token, against floats',
      'total: K x channel factors': 'the same with channel factors of K',
    }),
  run: ({ date, machine, elapsedMs, processorMs, extent }) =>
    `Recorded on ${date.slice(0, 10)}: ${extent.seeds} seeds (${extent.longSeeds} beyond 4096 keys), ${durationText(processorMs)} of processor time, ${durationText(elapsedMs)} by the clock; ${machineText(machine)}.`,
};

function figure(report: PaperReport, key: string): string {
  const [head, ...rest] = key.split(' / ');
  const missing = (): never => {
    throw new Error(`docs/paper.md: nothing is recorded for "${key}".`);
  };
  const claim = /^claim (.*)$/.exec(head!)?.[1];
  if (claim !== undefined) {
    const figures = report.claims.find(({ id }) => id === claim)?.figures;
    const { value } = figures?.find(({ name }) => name === rest.join(' / ')) ?? missing();
    return claim.endsWith('-bits') ? value.toFixed(2) : short(value);
  }
  const [distribution, ...variants] = rest;
  const [value, other] = variants.map(
    (variant) =>
      (
        report.summaries.find(
          (each) =>
            each.experiment === head &&
            each.distribution === distribution &&
            each.variant === variant &&
            each.size === CLAIM_SIZE,
        ) ?? missing()
      ).value,
  );
  if (value === undefined) return missing();
  if (other !== undefined) return short(value / other);
  return head === 'bits' ? value.toFixed(1) : cellOf(value);
}

const MARKED = /<!-- (?!end )([^>]*?) -->([\s\S]*?)<!-- end -->/g;

/** The page with all that is marked written anew. */
export function paperPage(text: string, report: PaperReport): string {
  return text.replace(MARKED, (_, key: string) => {
    const table = TABLES[key];
    const filled = table ? `\n\n${table(report)}\n\n` : figure(report, key);
    return `<!-- ${key} -->${filled}<!-- end -->`;
  });
}

/**
 * Numbers that stand in the text itself: what the abstract says, what formats and methods are defined by, sizes of what is simulated.
 * Whatever is measured, simulated or asked of a model stands between markers.
 */
const GIVEN = new Set(
  [
    '2026 16 6.6 5.24 2.5', // the paper and its abstract
    '0 1 1½ 2 3 4 5 6 8 32 64 127 254 32258 64516 6.02', // values and bits of formats, digits, bytes per element, dB of a bit
    '16 30 32 64 100 128 150 256 4096 4096²', // blocks, tiles, sizes and outliers of the experiments
  ].flatMap((each) => each.split(' ')),
);

/** Numbers of a page that neither stand between markers nor are given. */
export const typedFigures = (text: string): string[] =>
  text
    .replace(MARKED, '')
    .replace(/\]\([^)]*\)|`[^`]*`/g, '')
    .match(/(?<![\w.])\d+(?:[.,]\d+)*[½²]?/g)!
    .filter((number) => !GIVEN.has(number));

/** The example of `msd paper` in @msd/cli's README. */
export const CLI_README = new URL('../../packages/cli/README.md', import.meta.url);
const EXAMPLE = /(\$ npx @msd\/cli paper\n)[\s\S]*?(\n…\n```)/;

/** @returns the README with the first claims of the record, as a terminal shows them */
export const paperExample = (readme: string, { claims }: PaperReport): string =>
  readme.replace(EXAMPLE, (_, command: string, end: string) => {
    const [first, , third] = claims.map((claim) => stripVTControlCharacters(claimText(claim))) as [
      string,
      string,
      string,
    ];
    return `${command}${first}\n\n${third}${end}`;
  });

/** Writes the page, its pictures and the README's example, and the record's claims: rules may have changed since. */
export function writePaper(recorded: PaperReport): void {
  const closedForms = models();
  const claims = claimsOf(recorded.summaries, closedForms);
  writeFileSync(PAPER_RESULTS, reportFile({ ...recorded, claims, models: closedForms }));
  const report = readPaper();
  writeFileSync(CLI_README, paperExample(readFileSync(CLI_README, 'utf8'), report));
  writeFileSync(PAPER_PAGE, paperPage(readFileSync(PAPER_PAGE, 'utf8'), report));
  mkdirSync(PAPER_PICTURES, { recursive: true });
  for (const [name, svg] of Object.entries(picturesOf(report))) writeFileSync(new URL(name, PAPER_PICTURES), svg);
}
