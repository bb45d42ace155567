/** `npm run bench -- forecast`: how far off @msd/core/theory is, for products of the layer shapes and for attention. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MachinePeaks } from '@msd/core/peaks';
import type { Forecast } from '@msd/core/theory';
import { type AttentionCase, caseName } from '../attention/case.ts';
import { describeMachine } from '../environments.ts';
import { round } from '../results.ts';
import { DECODE_ROWS, type LayerShape, LLM_LAYERS, PREFILL_ROWS } from '../shapes.ts';
import {
  expectedAttention,
  expectedProduct,
  type ForecastCase,
  type ForecastResult,
  measureAttentionCall,
  measureProduct,
  type ProductFormat,
} from './measure.ts';
import { type RecordedForecast, recordedForecasts } from './recorded.ts';
import { forecastReport } from './report.ts';

export interface ForecastOptions {
  /** Words; a case whose name contains all of them is measured. Empty: all. */
  readonly cases: readonly string[];
  readonly rounds: number;
  readonly out: string;
  readonly log: (message: string) => void;
}

/** What is left in forecast.json. */
export interface ForecastRun {
  readonly date: string;
  readonly machine: ReturnType<typeof describeMachine>;
  readonly load: number;
  readonly versions: { readonly node: string; readonly v8: string };
  readonly rounds: number;
  readonly results: readonly ForecastResult[];
  readonly recorded: readonly RecordedForecast[];
}

interface Planned extends ForecastCase {
  readonly expect: (peaks: MachinePeaks) => Forecast;
  readonly measure: (rounds: number) => Promise<ForecastResult>;
}

const FORMATS: readonly ProductFormat[] = ['int8', 'int4', 'mxfp4'];

const product = (shape: LayerShape, format: ProductFormat, M: number): Planned => {
  const { K, N } = shape;
  const id = `${format} M=${M} ${K === N ? `${K}²` : `${K}×${N}`}`;
  return {
    id,
    kind: 'product',
    expect: (peaks) => expectedProduct(peaks, shape, format, M),
    measure: (rounds) => measureProduct(id, shape, format, M, rounds),
  };
};

const attention = (test: AttentionCase): Planned => ({
  id: caseName(test),
  kind: 'attention',
  expect: (peaks) => expectedAttention(peaks, test),
  measure: (rounds) => measureAttentionCall(test, rounds),
});

/** Every case. */
export const FORECAST_CASES: readonly Planned[] = [
  ...FORMATS.flatMap((format) =>
    [DECODE_ROWS, PREFILL_ROWS].flatMap((M) => LLM_LAYERS.map((shape) => product(shape, format, M))),
  ),
  ...(['int16', 'int8', 'float'] as const).flatMap((type) => [
    ...[64, 128].flatMap((headSize) =>
      [128, 256, 512, 1024, 2048, 4096].flatMap((keys) =>
        [1, 7].map((heads) => attention({ type, headSize, heads, rows: 1, keys })),
      ),
    ),
    ...[128, 1024].map((keys) => attention({ type, headSize: 64, heads: 7, rows: keys, keys })),
  ]),
];

const RESULTS = fileURLToPath(new URL('../results', import.meta.url));

/** @returns the report, which also lies in `out`, as Markdown and as JSON */
export async function measureForecasts({ cases, rounds, out, log }: ForecastOptions): Promise<string> {
  const load = Number(loadavg()[0]!.toFixed(2));
  const { node, v8 } = process.versions;
  const results: ForecastResult[] = [];
  for (const { id, measure } of FORECAST_CASES) {
    if (!cases.every((word) => `${id} `.includes(word))) continue;
    const result = await measure(rounds);
    log(`${id}: expected ${round(result.expected.microseconds)} µs, measured ${round(result.measured)} µs`);
    results.push(result);
  }
  const run: ForecastRun = {
    ...{ date: new Date().toISOString(), machine: describeMachine(), load, versions: { node, v8 }, rounds },
    ...{ results, recorded: recordedForecasts(RESULTS) },
  };
  return writeForecasts(run, out);
}

/** @returns the report */
function writeForecasts(run: ForecastRun, out: string): string {
  const report = forecastReport(run);
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, 'forecast.json'), `${JSON.stringify(run)}\n`);
  writeFileSync(join(out, 'forecast.md'), `${report}\n`);
  return report;
}

/** A run as the models of today have it, from the peaks and times that were measured then. */
export function askedAgain(run: ForecastRun): ForecastRun {
  const results = run.results.map((result) => {
    const expected = FORECAST_CASES.find(({ id }) => id === result.id)!.expect(result.peaks);
    return { ...result, expected, ratio: expected.microseconds / result.measured };
  });
  return { ...run, results, recorded: recordedForecasts(RESULTS) };
}

/** The newest that is recorded. */
export function recordedRun(): { readonly run: ForecastRun; readonly folder: string } {
  const folder = readdirSync(RESULTS)
    .sort()
    .map((date) => join(RESULTS, date))
    .filter((each) => existsSync(join(each, 'forecast.json')))
    .at(-1)!;
  return { run: JSON.parse(readFileSync(join(folder, 'forecast.json'), 'utf8')) as ForecastRun, folder };
}

/** Asks the models again about what is recorded: after they changed. */
export function renewForecasts(): ForecastRun {
  const { run, folder } = recordedRun();
  const renewed = askedAgain(run);
  writeForecasts(renewed, folder);
  return renewed;
}
