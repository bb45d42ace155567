/**
 * What MSD is meant to reach, computed from a run. A goal is about figures of one environment (the same run, the same
 * thread count); one that this machine cannot show says so and is never counted as reached.
 */
import { carrierOf } from './engines/msd.ts';
import type { CaseResult, EnvironmentResult, Measured, Peaks, VariantResult } from './results.ts';
import { geometricMean, summarize } from './samples.ts';

export type Verdict = 'PASS' | 'below' | 'not measured here';

export interface GoalResult {
  readonly group: string;
  readonly goal: string;
  readonly environment: string;
  readonly verdict: Verdict;
  /** The figure that is compared, and what it has to be at least. */
  readonly got?: number;
  readonly least: number;
  /** What it is made of, or why there is none. */
  readonly detail: string;
}

/** A relaxed-dot peak this many times the dot_i16x8 peak means that the engine uses AVX-VNNI (or ARM's dot product). */
export const FAST_RELAXED_DOT = 1.6;

export const environmentName = ({ platform, threads, flags }: EnvironmentResult): string =>
  [platform, `${threads} thread${threads > 1 ? 's' : ''}`, ...flags].join(', ');

/** Of one worker: 2 and more where 8-bit dot products run at twice the rate of 16-bit ones. */
export function relaxedDotGain({ cases }: EnvironmentResult): number | undefined {
  const gains = cases.flatMap(({ peaks }) => {
    const [relaxed, dot] = [peaks.relaxedDot[0], peaks.dot[0]];
    return relaxed && dot ? [relaxed.median / dot.median] : [];
  });
  return gains.length > 0 ? geometricMean(gains) : undefined;
}

const variantOf = (test: CaseResult, id: string): VariantResult | undefined =>
  test.variants.find((variant) => variant.id === id && variant.time !== undefined);

interface Ratio {
  readonly mean: number;
  readonly parts: readonly { shape: string; ratio: number }[];
}

/** How many times as fast `a` is as `b`: the median of the rounds' own ratios, which a slow phase of the machine leaves alone. */
export function speedup(a: VariantResult, b: VariantResult): number {
  const [as, bs] = [a.time!.samples, b.time!.samples];
  return summarize(as.map((ms, round) => bs[round]! / ms)).median;
}

/** Geometric mean over the shapes of a phase; `undefined` if either side was not measured with every shape. */
export function ratioOf(run: EnvironmentResult, phase: string, of: string, to: string): Ratio | undefined {
  const tests = run.cases.filter((test) => test.phase === phase);
  const parts = tests.flatMap((test) => {
    const [a, b] = [variantOf(test, of), variantOf(test, to)];
    return a && b ? [{ shape: test.shape, ratio: speedup(a, b) }] : [];
  });
  if (parts.length === 0 || parts.length < tests.length) return undefined;
  return { mean: geometricMean(parts.map(({ ratio }) => ratio)), parts };
}

const describeParts = ({ parts }: Ratio): string =>
  parts.map(({ shape, ratio }) => `${shape} ${ratio.toFixed(2)}`).join(', ');

const verdict = (got: number | undefined, least: number): Verdict =>
  got === undefined ? 'not measured here' : got >= least ? 'PASS' : 'below';

/** One goal of the form "`of` is at least `least` times `to`". */
interface RatioGoal {
  readonly goal: string;
  readonly phase: 'decode' | 'prefill';
  readonly of: string;
  readonly to: string;
  readonly least: number;
}

/** Where the default options did not choose `i16`, it has a column of its own. */
const i16 = (run: EnvironmentResult, id: string): string => {
  const own = `${id} i16`;
  return run.cases.some((test) => variantOf(test, own)) ? own : id;
};

const ORT_GOALS: readonly RatioGoal[] = [
  { goal: 'int8, M=128, against ORT dynamic int8', phase: 'prefill', of: 'msd int8 P=2', to: 'ort int8', least: 1.05 },
  {
    goal: 'int4 block 32, M=128, against ORT MatMulNBits',
    phase: 'prefill',
    of: 'msd int4/32 P=2',
    to: 'ort int4/32',
    least: 2.7,
  },
];

const FAST_DOT_GOALS: readonly RatioGoal[] = [
  { goal: 'int8, two components, M=1', phase: 'decode', of: 'msd int8 P=2', to: 'litert int8', least: 1.1 },
  {
    goal: 'int8, two components, M=1, against i16',
    phase: 'decode',
    of: 'msd int8 P=2',
    to: 'msd int8 P=2',
    least: 1,
  },
  { goal: 'int8, two components, M=128', phase: 'prefill', of: 'msd int8 P=2', to: 'litert int8', least: 0.8 },
  { goal: 'int8, one component, M=1', phase: 'decode', of: 'msd int8 P=1', to: 'litert int8', least: 1.5 },
  { goal: 'int8, one component, M=128', phase: 'prefill', of: 'msd int8 P=1', to: 'litert int8', least: 1.35 },
  {
    goal: 'int4 block 32, two components, M=1, against its int4',
    phase: 'decode',
    of: 'msd int4/32 P=2',
    to: 'litert int4',
    least: 2,
  },
];

const PLAIN_DOT_GOALS: readonly RatioGoal[] = [
  { goal: 'int8, two components, M=1', phase: 'decode', of: 'msd int8 P=2', to: 'litert int8', least: 1.4 },
  {
    goal: 'int4 block 32, two components, M=1, against its int4',
    phase: 'decode',
    of: 'msd int4/32 P=2',
    to: 'litert int4',
    least: 1.4,
  },
  { goal: 'int8, two components, M=128', phase: 'prefill', of: 'msd int8 P=2', to: 'litert int8', least: 1.5 },
];

type Result = Omit<GoalResult, 'environment'>;

function ratioGoals(run: EnvironmentResult, group: string, goals: readonly RatioGoal[], why?: string): Result[] {
  return goals.map(({ goal, phase, of, to, least }) => {
    const ratio = why ? undefined : ratioOf(run, phase, of, to);
    const detail = ratio ? describeParts(ratio) : (why ?? `no figures for ${of} or ${to}`);
    return { group, goal, least, verdict: verdict(ratio?.mean, least), ...(ratio && { got: ratio.mean }), detail };
  });
}

function beyondCacheGoals({ beyondCache }: EnvironmentResult): Result[] {
  if (!beyondCache) return [];
  const { results, peaks } = beyondCache;
  const read = peaks.read[0]?.median;
  return (['int8', 'int4'] as const).flatMap((weights) => {
    const one = results.find((result) => result.weights === weights && result.threads === 1);
    if (!one) return [];
    const bound = weights === 'int8' ? Math.min((read ?? 0) / one.bytesPerMac, one.inCacheGmacs) : one.inCacheGmacs;
    const least = weights === 'int8' ? 0.85 : 0.9;
    const got = one.gmacs / bound;
    const goal =
      weights === 'int8'
        ? 'int8, 256 MB of weights: share of min(read bandwidth, own in-cache speed)'
        : 'int4, 256 MB of weights: share of own in-cache speed';
    const detail = `${one.gmacs} GMAC/s; in cache ${one.inCacheGmacs}, reading ${read} GB/s at ${one.bytesPerMac} B/MAC`;
    return [{ group: 'Beyond cache', goal, least, got, verdict: verdict(got, least), detail }];
  });
}

/** What a second worker adds to a peak. */
const gainOf = (values: readonly Measured[]): number | undefined =>
  values[0] && values[1] ? values[1].median / values[0].median : undefined;

/** The gain that MSD can have from a second thread: the dot product's, or the memory's where that binds. */
export function possibleGain(peaks: Peaks, bytesPerMac: number): number | undefined {
  const [dot, read] = [gainOf(peaks.dot), gainOf(peaks.read)];
  if (dot === undefined || read === undefined) return undefined;
  const binds = (workers: 0 | 1) => Math.min(peaks.dot[workers]!.median, peaks.read[workers]!.median / bytesPerMac);
  return binds(0) === peaks.dot[0]!.median ? dot : read;
}

function threadGoals(run: EnvironmentResult): Result[] {
  if (run.threads < 2) return [];
  return (['prefill', 'decode'] as const).flatMap((phase) =>
    ['msd int8 P=2', 'msd int4/32 P=2'].map((id) => {
      const parts = run.cases
        .filter((test) => test.phase === phase)
        .flatMap((test) => {
          const [one, two] = [variantOf(test, id), variantOf(test, `${id} t${run.threads}`)];
          const bytesPerMac = (one?.weightBytes ?? 0) / test.macs;
          const possible = phase === 'prefill' ? gainOf(test.peaks.dot) : possibleGain(test.peaks, bytesPerMac);
          return one && two && possible ? [{ shape: test.shape, ratio: speedup(two, one) / possible }] : [];
        });
      const least = phase === 'prefill' ? 0.95 : 0.9;
      const mean = parts.length > 0 ? geometricMean(parts.map(({ ratio }) => ratio)) : undefined;
      return {
        group: 'Two threads',
        goal: `${id.replace('msd ', '').replace(' P=2', '')}, ${phase === 'prefill' ? 'M=128: share of what the dot probe gains' : 'M=1: share of what the binding probe gains'}`,
        least,
        verdict: verdict(mean, least),
        ...(mean !== undefined && { got: mean }),
        detail: mean === undefined ? `no figures with ${run.threads} threads` : describeParts({ mean, parts }),
      };
    }),
  );
}

function mxfp4Goals(run: EnvironmentResult): Result[] {
  const kernel = run.cases
    .flatMap(({ variants }) => variants)
    .find(({ id, kernel }) => id === 'msd mxfp4 P=2' && kernel?.includes('_1x'))?.kernel;
  const relaxed = kernel !== undefined && carrierOf(kernel) === 'i8';
  const goals: RatioGoal[] = [
    {
      goal: `mxfp4 against int4, M=1, ${relaxed ? 'i8' : 'i16'} carrier`,
      phase: 'decode',
      of: 'msd mxfp4 P=2',
      to: 'msd int4/32 P=2',
      least: relaxed ? 0.78 : 0.5,
    },
    // "Equal": within what repeated runs differ by.
    { goal: 'mxfp4 against int4, M=128', phase: 'prefill', of: 'msd mxfp4 P=2', to: 'msd int4/32 P=2', least: 0.97 },
  ];
  return ratioGoals(run, 'mxfp4', goals);
}

function accuracyGoals({ accuracy }: EnvironmentResult): Result[] {
  if (accuracy.length === 0) return [];
  const twoComponents = accuracy.filter(({ engine, components }) => engine === 'msd' && components === 2);
  const least = Math.min(...twoComponents.flatMap(({ gaussian }) => gaussian ?? []));
  const single = accuracy.filter(
    ({ engine, weights, gaussian }) =>
      gaussian !== undefined && (engine === 'litert' ? weights !== 'fp32' : engine === 'ort' && weights === 'int8'),
  );
  const results: Result[] = [
    {
      group: 'Accuracy',
      goal: 'SQNR of two components, 1000 Gaussian rows, K=4096, dB',
      least: 88,
      got: least,
      verdict: verdict(least, 88),
      detail: twoComponents.map(({ weights, gaussian }) => `${weights} ${gaussian}`).join(', '),
    },
  ];
  if (single.length > 0) {
    const best = Math.max(...single.map(({ gaussian }) => gaussian!));
    results.push({
      group: 'Accuracy',
      goal: 'better than every single-pass engine by, dB',
      least: 40,
      got: least - best,
      verdict: verdict(least - best, 40),
      detail: single.map(({ label, gaussian }) => `${label} ${gaussian}`).join(', '),
    });
  }
  return results;
}

/** Every goal that a run can speak about. */
export function goalsOf(run: EnvironmentResult): GoalResult[] {
  const results: Result[] = [];
  const gain = relaxedDotGain(run);
  if (run.cases.length > 0 && run.threads === 1) {
    const onI16 = ORT_GOALS.map((goal) => ({ ...goal, of: i16(run, goal.of) }));
    const fastGoals = FAST_DOT_GOALS.map((goal) =>
      goal.to.startsWith('msd') ? { ...goal, to: i16(run, goal.to) } : goal,
    );
    results.push(...ratioGoals(run, 'Against onnxruntime-web, carrier i16', onI16));
    if (run.platform === 'chromium') {
      const fast = gain !== undefined && gain >= FAST_RELAXED_DOT;
      const probe = gain === undefined ? 'no relaxed SIMD' : `relaxed dot / dot_i16x8 = ${gain.toFixed(2)}`;
      results.push(
        ...ratioGoals(run, 'Against LiteRT.js, fast relaxed dot', fastGoals, fast ? undefined : probe),
        ...ratioGoals(run, 'Against LiteRT.js, no AVX-VNNI', PLAIN_DOT_GOALS, fast ? probe : undefined),
      );
    }
    results.push(...mxfp4Goals(run));
  }
  results.push(...beyondCacheGoals(run), ...threadGoals(run), ...accuracyGoals(run));
  return results.map((result) => ({ ...result, environment: environmentName(run) }));
}
