/** The README's table of engines: cut out of the results, never typed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EnvironmentResult, VariantResult } from './results.ts';

export const README = new URL('../../README.md', import.meta.url);
const BEGIN = '<!-- npm run bench -- readme: begin -->';
const END = '<!-- npm run bench -- readme: end -->';

const ROWS = [
  'msd int8 P=2',
  'msd int4/32 P=2',
  'msd mxfp4 P=2',
  'litert int8',
  'litert int4',
  'litert int4/32',
  'ort int8',
  'ort int8/32',
  'ort int4/32',
  'litert fp32',
  'tfjs fp32',
  'ort fp32',
];

const digits = (value: number): string => value.toFixed(value < 10 ? 1 : 0);

function range(values: readonly number[]): string {
  if (values.length === 0) return 'not measured';
  const [low, high] = [Math.min(...values), Math.max(...values)].map((value) => digits(value));
  return low === high ? low! : `${low}–${high}`;
}

/**
 * Markdown between the markers.
 *
 * @param run Chromium, one thread
 * @param folder of the results, relative to the README
 */
export function readmeTable(run: EnvironmentResult, folder: string): string {
  const gmacs = (id: string, phase: string): number[] =>
    run.cases
      .filter((test) => test.phase === phase)
      .flatMap(({ variants }) => variants.find((variant) => variant.id === id)?.gmacs ?? []);
  const first = (id: string): VariantResult | undefined =>
    run.cases.flatMap(({ variants }) => variants).find((variant) => variant.id === id);
  const rows = ROWS.flatMap((id) => {
    const variant = first(id);
    if (!variant) return [];
    const accuracy = run.accuracy.find((other) => other.id === id);
    const memory = run.memory.find(({ label }) => label === variant.label);
    const name = variant.engine === 'msd' ? `**${variant.label}**` : variant.label;
    const decibel = [accuracy?.gaussian, accuracy?.outlierRest].map((value) => value?.toFixed(0) ?? '–').join(' / ');
    const megabytes = memory ? `${((memory.afterPrefill - memory.start) / 1e6).toFixed(0)}` : '–';
    return [`| ${name} | ${range(gmacs(id, 'decode'))} | ${range(gmacs(id, 'prefill'))} | ${decibel} | ${megabytes} |`];
  });
  const { cpu, cores } = run.machine;
  return [
    `One thread of ${cpu} (${cores} cores, virtual and shared), Chromium ${run.versions.chromium}, ${run.date.slice(0, 10)}; onnxruntime-web`,
    `${run.versions.ort}, LiteRT.js ${run.versions.litert}, tfjs ${run.versions.tfjs}. GMAC/s over four shapes from 896² to 4096², everything interleaved`,
    `in one run and checked against float64 first: [the whole report](${folder}/README.md), [how it is measured](docs/benchmarks.md).`,
    '',
    '| | M = 1 | M = 128 | SQNR dB: Gaussian / rest beside a 100× outlier | MB for 4096² |',
    '|---|---:|---:|---:|---:|',
    ...rows,
  ].join('\n');
}

/** A README around the block between two markers. */
export function between(text: string, first = BEGIN, last = END): { before: string; block: string; after: string } {
  const [begin, end] = [text.indexOf(first), text.indexOf(last)];
  if (begin < 0 || end < begin) throw new Error(`README.md: the markers ${first} and ${last} are missing.`);
  return {
    before: text.slice(0, begin + first.length),
    block: text.slice(begin + first.length, end).trim(),
    after: text.slice(end),
  };
}

/** What the README shows now, and the results it says it is made of. */
export function readmeBlock(): { block: string; results: URL } {
  const { block } = between(readFileSync(README, 'utf8'));
  const folder = /\]\((test\/bench\/results\/[^)]*)\/README\.md\)/.exec(block)?.[1];
  if (!folder) throw new Error('README.md: the table of engines names no results.');
  return { block, results: new URL(`${folder}/`, README) };
}

/** Writes the table of `run`, whose JSON lies in `folder`. */
export function writeReadme(run: EnvironmentResult, folder: string): void {
  const { before, after } = between(readFileSync(README, 'utf8'));
  const from = relative(fileURLToPath(new URL('.', README)), folder).replaceAll('\\', '/');
  writeFileSync(README, `${before}\n${readmeTable(run, from)}\n${after}`);
}
