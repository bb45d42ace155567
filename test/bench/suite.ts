/** One environment's part of the comparison; the same code in Node and in a page. */
import { type Case, macsOf } from './cases.ts';
import { type Engine, LayerSource, type Loaded, type Variant } from './engines/engine.ts';
import { carrierOf } from './engines/msd.ts';
import { callSource, type Source, takeTurns } from './measure.ts';
import { gaussian } from './models/random.ts';
import { referenceChain } from './models/reference.ts';
import type { PeakId, PeakReply, PeakRequest } from './peak-worker.ts';
import {
  type AccuracyResult,
  type CaseResult,
  measured,
  type Peaks,
  round,
  type VariantHead,
  type VariantResult,
} from './results.ts';
import { decibels } from './samples.ts';

export interface PeakWorker {
  ask(request: PeakRequest): Promise<PeakReply>;
  stop(): void;
}

export interface Timings {
  readonly rounds: number;
  readonly sampleMs: number;
  readonly warmMs: number;
}

export interface Suite {
  readonly engines: readonly Engine[];
  /** One, or two where a second core is to be measured. */
  readonly workers: readonly PeakWorker[];
  readonly timings: Timings;
  readonly log: (message: string) => void;
}

const PEAK_MS = 20;
/** Rows that are compared with float64; they are independent. */
const CHECK_ROWS = 4;

/** Sources for every peak and number of workers, and what becomes of their samples. */
export function peakSources(
  { workers }: Suite,
  readBytes: number,
): { sources: Source[]; collect: (samples: number[][]) => Peaks } {
  const plans = (['dot', 'relaxedDot', 'read'] as const).flatMap((peak: PeakId) =>
    workers.map((_, i) => ({ peak, count: i + 1 })),
  );
  const sources = plans.map(({ peak, count }): Source => {
    const request = { peak, bytes: readBytes, ms: PEAK_MS };
    return {
      name: `${peak} ${count}`,
      sample: async () => {
        const rates = await Promise.all(workers.slice(0, count).map((worker) => worker.ask(request)));
        return rates.reduce<number>((sum, rate) => sum + (rate ?? Number.NaN), 0);
      },
    };
  });
  const collect = (samples: number[][]): Peaks => {
    const of = (wanted: PeakId) =>
      plans.flatMap(({ peak }, i) =>
        peak === wanted && samples[i]!.every((rate) => Number.isFinite(rate)) ? [measured(samples[i]!)] : [],
      );
    return { dot: of('dot'), relaxedDot: of('relaxedDot'), read: of('read'), readBytes };
  };
  return { sources, collect };
}

const head = ({ id, engine, label, weights, threads, components }: Variant): VariantHead => ({
  id,
  engine,
  label,
  weights,
  threads,
  ...(components && { components }),
});

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error)).slice(0, 200);

/** Loads every variant, checks each, then lets them take turns with the machine's peaks. */
export async function measureCase(suite: Suite, test: Case): Promise<CaseResult> {
  const { engines, timings, log } = suite;
  const { id, phase, shape, chain, M, layers } = test;
  const macs = macsOf(test);
  const source = new LayerSource(layers);
  const x = gaussian(M * layers[0]!.K, 7);
  const rows = Math.min(M, CHECK_ROWS);
  const references = new Map<string, Float64Array>();
  const ready: { variant: Variant; loaded: Loaded; sqnrDb: number; source: Source }[] = [];
  const refused: VariantResult[] = [];
  const carriers = new Set<string>();
  const carrierKey = ({ weights, components, threads }: Variant, carrier: string) =>
    `${weights} ${components} ${threads} ${carrier}`;
  for (const engine of engines)
    for (const variant of engine.variants) {
      // A carrier that the default options chose already has its column.
      if (variant.carrier && carriers.has(carrierKey(variant, variant.carrier))) continue;
      log(`${id}: ${variant.id}`);
      try {
        const loaded = await engine.load(variant, source, M);
        if (loaded.kernel) carriers.add(carrierKey(variant, carrierOf(loaded.kernel)));
        let reference = references.get(variant.weights);
        if (!reference) {
          reference = referenceChain(x.subarray(0, rows * layers[0]!.K), loaded.layers);
          references.set(variant.weights, reference);
        }
        const y = await loaded.compute(x);
        const sqnrDb = decibels(reference, y.subarray(0, reference.length));
        // Every layer adds its own error to a signal that stays as large as it was.
        const least = variant.minSqnrDb - 10 * Math.log10(layers.length);
        if (!(sqnrDb >= least))
          throw new Error(`wrong result: SQNR ${sqnrDb.toFixed(1)} dB, at least ${least.toFixed(1)} expected`);
        ready.push({
          variant,
          loaded,
          sqnrDb,
          source: await callSource({ name: variant.id, run: loaded.run }, timings),
        });
      } catch (error) {
        log(`${id}: ${variant.id}: ${reason(error)}`);
        refused.push({ ...head(variant), notMeasured: reason(error) });
      }
    }
  const msdBytes = ready.find(({ variant }) => variant.engine === 'msd')?.loaded.weightBytes ?? macs / M;
  const peaks = peakSources(suite, msdBytes);
  for (const { sample } of peaks.sources) await sample(); // compiles, and is forgotten
  log(`${id}: ${timings.rounds} rounds`);
  const samples = await takeTurns([...ready.map(({ source }) => source), ...peaks.sources], timings.rounds);
  const results = ready.map(({ variant, loaded, sqnrDb }, i): VariantResult => {
    const time = measured(samples[i]!);
    return {
      ...head(variant),
      sqnrDb: round(sqnrDb),
      ...(loaded.kernel && { kernel: loaded.kernel, carrier: carrierOf(loaded.kernel) }),
      ...(loaded.weightBytes && { weightBytes: loaded.weightBytes }),
      time,
      gmacs: round(macs / time.median / 1e6),
    };
  });
  for (const { loaded } of ready) await loaded.release();
  return {
    id,
    phase,
    shape,
    chain,
    M,
    macs,
    peaks: peaks.collect(samples.slice(ready.length)),
    variants: [...results, ...refused],
  };
}

export const ACCURACY = { rows: 1000, batch: 8, K: 4096, N: 64, outlier: 100 };

/** Multiplies one element of each row, so that it is `factor` times as large as the others are. */
export function withOutliers(x: Float32Array, K: number, factor: number): { x: Float32Array; at: number[] } {
  const out = x.slice();
  const at = Array.from({ length: x.length / K }, (_, m) => (m * 37 + 5) % K);
  for (const [m, k] of at.entries()) out[m * K + k] = m % 2 ? factor : -factor;
  return { x: out, at };
}

/** The result without what the outliers contribute. */
export function withoutOutliers(
  y: Float64Array,
  x: Float32Array,
  at: readonly number[],
  { K, N, row }: Loaded['layers'][number],
): Float64Array {
  const rest = y.slice();
  for (let n = 0; n < N; n++) {
    const weights = row(n);
    for (const [m, k] of at.entries()) rest[m * N + n]! -= x[m * K + k]! * weights[k]!;
  }
  return rest;
}

export async function measureAccuracy({ engines, log }: Suite): Promise<AccuracyResult[]> {
  const { rows, batch, K, N, outlier } = ACCURACY;
  const source = new LayerSource([{ name: 'accuracy', K, N }]);
  const plain = gaussian(rows * K, 9);
  const { x: spiked, at } = withOutliers(plain, K, outlier);
  const references = new Map<string, { plain: Float64Array; spiked: Float64Array; rest: Float64Array }>();
  const results: AccuracyResult[] = [];
  for (const engine of engines)
    for (const variant of engine.variants) {
      if (variant.carrier || variant.threads > 1) continue; // the same bits
      log(`accuracy: ${variant.id}`);
      try {
        const loaded = await engine.load(variant, source, batch);
        let reference = references.get(variant.weights);
        if (!reference) {
          const exact = referenceChain(spiked, loaded.layers);
          const rest = withoutOutliers(exact, spiked, at, loaded.layers[0]!);
          reference = { plain: referenceChain(plain, loaded.layers), spiked: exact, rest };
          references.set(variant.weights, reference);
        }
        const through = async (x: Float32Array): Promise<Float32Array> => {
          const y = new Float32Array(rows * N);
          for (let m = 0; m < rows; m += batch) y.set(await loaded.compute(x.slice(m * K, (m + batch) * K)), m * N);
          return y;
        };
        const [y, ySpiked] = [await through(plain), await through(spiked)];
        results.push({
          ...head(variant),
          gaussian: round(decibels(reference.plain, y)),
          outlier: round(decibels(reference.spiked, ySpiked)),
          outlierRest: round(decibels(reference.spiked, ySpiked, reference.rest)),
        });
        await loaded.release();
      } catch (error) {
        results.push({ ...head(variant), notMeasured: reason(error) });
      }
    }
  return results;
}
