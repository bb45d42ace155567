/** The same forecasts for runs that were recorded, on whatever machine and engine: their peaks were measured in the same rounds. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { forecastProduct } from '@msd/core/theory';
import { CASES } from '../cases.ts';
import type { CaseResult, EnvironmentResult, VariantResult } from '../results.ts';

/** One chain of layers of a recorded run. */
export interface RecordedForecast {
  /** `2026-11-24/chromium-t1`. */
  readonly run: string;
  /** Of the machine, before it. */
  readonly load: number;
  readonly id: string;
  readonly expected: number;
  /** Microseconds, the median. */
  readonly measured: number;
  readonly ratio: number;
}

/** @param folder with a folder for each date */
export function recordedForecasts(folder: string): RecordedForecast[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .flatMap((date) =>
      /^\d{4}-\d\d-\d\d$/.test(date)
        ? readdirSync(join(folder, date))
            .filter((name) => /-t\d+\.json$/.test(name))
            .sort()
            .flatMap((name) => {
              const run = JSON.parse(readFileSync(join(folder, date, name), 'utf8')) as EnvironmentResult;
              return run.cases.flatMap((test) => ofCase(`${date}/${name.replace('.json', '')}`, run.load, test));
            })
        : [],
    );
}

function ofCase(run: string, load: number, test: CaseResult): RecordedForecast[] {
  const { layers, M } = CASES.find(({ id }) => id === test.id)!;
  return test.variants.flatMap((variant) => {
    const { time, engine, id } = variant;
    if (engine !== 'msd' || !time) return [];
    const asked = { M, ...weightsOf(variant) };
    const peaks = peaksOf(test, variant.threads);
    const expected = layers.reduce((sum, { K, N }) => sum + forecastProduct(peaks, { ...asked, K, N }).microseconds, 0);
    const measured = 1000 * time.median;
    return { run, load, id: `${test.id}, ${id}`, expected, measured, ratio: expected / measured };
  });
}

/** `int4/32` -> int4 in blocks of 32. */
function weightsOf({ weights, components = 2, threads, carrier }: VariantResult) {
  const [format, block] = weights.split('/') as ['int8' | 'int4' | 'int2' | 'mxfp4', string | undefined];
  return {
    ...{ format, components, threads },
    blockSize: block !== undefined || format !== 'int8' ? 32 : null,
    carrier: carrier as 'i16' | 'i8',
  };
}

function peaksOf({ peaks: { dot, relaxedDot, read } }: CaseResult, threads: number) {
  return {
    dotGmacs: dot[0]!.median,
    ...(relaxedDot[0] && { relaxedDotGmacs: relaxedDot[0].median }),
    readGigabytes: (read[threads - 1] ?? read[0]!).median,
  };
}
