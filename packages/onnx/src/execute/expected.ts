/**
 * What the last run was expected to take, step by step, by the models of @msd/core/theory. Fetched on request; then the
 * peaks of this machine are measured, once for models of one size.
 */
import './create.ts'; // see families.ts
import type { AttentionWork, FormatId, OpWork, PreparedWeights, ProductWork } from '@msd/core';
import { type MachinePeaks, measurePeaks } from '@msd/core/peaks';
import type { Work } from '@msd/core/program';
import { type CallPart, type Forecast, forecastAttention, forecastProduct, stepTime } from '@msd/core/theory';
import type { Expectation, ExpectedStep } from '../report.ts';
import type { Live } from './cut-model.ts';
import type { ProfileEvent } from './profile.ts';

/** Peaks by the power of two of bytes that are read in every run. */
const known = new Map<number, MachinePeaks>();
const PEAK_MS = 40;
const [LEAST_READ, MOST_READ] = [2 ** 20, 96 * 2 ** 20];

function peaksFor(bytes: number): MachinePeaks {
  const size = Math.min(MOST_READ, 2 ** Math.ceil(Math.log2(Math.max(LEAST_READ, bytes))));
  let peaks = known.get(size);
  if (!peaks) {
    peaks = measurePeaks(PEAK_MS, size);
    known.set(size, peaks);
  }
  return peaks;
}

/** Where time goes, by what takes it. */
type Share = CallPart | 'attention' | 'other ops';

const WORDS: Readonly<Record<Share, string>> = {
  multiply: 'multiplying',
  read: 'waiting for weights from memory',
  decompose: 'turning activations into integers',
  call: 'calls',
  attention: 'attention',
  'other ops': 'other ops',
};
/** Smaller shares of a run are not named. */
const LEAST_SHARE = 0.05;

/** @param measuredMilliseconds of the last run @param profile of the last one that ended */
export function expectationOf(
  live: Live,
  measuredMilliseconds: number | undefined,
  profile: readonly ProfileEvent[] = [],
): Expectation {
  const { residents } = live.model.variants[0]!.shop;
  const { packedBytes } = residents.backend.memory();
  const peaks = peaksFor(packedBytes);
  const threads = residents.backend.threads.count;
  const durations = new Map<string, number>();
  for (const { cat, args, dur } of profile)
    if (cat === 'Node' && args.provider === 'MSD') durations.set(String(args.nodes), dur);
  const steps: ExpectedStep[] = [];
  const shares = new Map<Share, number>();
  let unknownSteps = Math.max(0, ...live.ways.map(({ all }) => all.foreignRuns));
  for (const { program, nodes, keys } of live.executor.plans) {
    const { works, kernels } = program;
    for (const [i, work] of works.entries()) {
      if (!work) {
        // JavaScript steps prepare inputs and compute shapes; those with kernels are loops.
        if (kernels[i]!.length > 0) unknownSteps++;
        continue;
      }
      const forecast = forecastOf(work, { peaks, threads, keys: keys[i], kernels: kernels[i]! });
      for (const [share, part] of forecast.shares) shares.set(share, (shares.get(share) ?? 0) + part);
      const names = nodes[i]!.flat();
      const measuredMicroseconds = durations.get(String(names));
      steps.push({
        ...{ nodes: names, kernels: kernels[i]!, microseconds: forecast.microseconds, why: forecast.why },
        ...(measuredMicroseconds !== undefined && { measuredMicroseconds }),
      });
    }
  }
  const total = steps.reduce((sum, { microseconds }) => sum + microseconds, 0);
  const why = [...shares]
    .filter(([, part]) => part >= LEAST_SHARE * total)
    .sort(([, a], [, b]) => b - a)
    .map(([share, part]) => `${Math.round((100 * part) / total)} % ${WORDS[share]}`)
    .join(', ');
  return {
    ...{ milliseconds: total / 1000, unknownSteps, steps, why, peaks },
    ...(measuredMilliseconds !== undefined && { measuredMilliseconds }),
  };
}

interface StepForecast extends Pick<Forecast, 'microseconds' | 'why'> {
  readonly shares: readonly (readonly [Share, number])[];
}

interface Asked {
  readonly peaks: MachinePeaks;
  readonly threads: number;
  readonly keys: number | undefined;
  readonly kernels: readonly string[];
}

function forecastOf(work: Work, asked: Asked): StepForecast {
  if (work.kind === 'product') return products(work as ProductWork<PreparedWeights>, asked);
  return work.kind === 'attention' ? attention(work, asked) : op(work, asked);
}

/** Products of one x: it becomes integers once. */
function products({ matrices, M, components }: ProductWork<PreparedWeights>, asked: Asked): StepForecast {
  const { peaks, threads, kernels } = asked;
  const gemms = kernels.filter((id) => id.startsWith('gemm'));
  const each = matrices.map(({ N, K, format, blockSize }: Sized, i) => {
    const carrier = gemms[i] === undefined ? undefined : gemms[i]!.startsWith('gemm_i8') ? 'i8' : 'i16';
    return forecastProduct(peaks, { M, N, K, format, blockSize, carrier, components, threads } as const);
  });
  const [{ parts, why }] = each as [Forecast];
  const fixed = parts.decompose + parts.call;
  const shares = each.map(({ microseconds, parts: own }): [Share, number] => [
    own.read > own.multiply ? 'read' : 'multiply',
    microseconds - fixed,
  ]);
  return {
    microseconds: fixed + shares.reduce((sum, [, part]) => sum + part, 0),
    why,
    shares: [...shares, ['decompose', parts.decompose], ['call', parts.call]],
  };
}

type Sized = { readonly N: number; readonly K: number; readonly format: FormatId; readonly blockSize: number | null };

function attention({ op, type = 'int16' }: AttentionWork, { peaks, threads, keys = op.newKeys }: Asked): StepForecast {
  const { batch, heads, kvHeads, headSize, rows, isCausal } = op;
  const call = { type, batch, heads, kvHeads, headSize, rows, keys, seesAll: !isCausal, threads };
  const { microseconds, why } = forecastAttention(peaks, call);
  return { microseconds, why, shares: [['attention', microseconds]] };
}

function op({ spec, op, inputs }: OpWork, { peaks }: Asked): StepForecast {
  const outputs = spec.infer(op, inputs);
  const written = outputs.reduce((sum, { dims }) => sum + dims.reduce((product, dim) => product * dim, 1), 0);
  const [a, b] = inputs;
  const work =
    spec.name === 'matMul'
      ? { written, macs: written * (a?.dims.at(-1) ?? 1) }
      : spec.name === 'windows'
        ? ({ written, macs: written * (b?.dims[0] ?? 1), kind: 'window' } as const)
        : { written };
  const microseconds = stepTime(peaks, work);
  const multiplies = microseconds > 2 * stepTime(peaks, { written });
  const why = multiplies ? 'it multiplies floats' : `it writes ${written} elements`;
  return { microseconds, why, shares: [['other ops', microseconds]] };
}
