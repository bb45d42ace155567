/** One call and the machine's peaks in turns, beside what @msd/core/theory expects of it from those peaks. */
import { quantizeWeights } from '@msd/core';
import { dotPeak, type MachinePeaks, type Peak, readBandwidth, relaxedDotPeak } from '@msd/core/peaks';
import { type Forecast, forecastAttention, forecastProduct } from '@msd/core/theory';
import { WasmBackend } from '../../../packages/core/src/backends/wasm/backend.ts';
import type { WasmMatrix } from '../../../packages/core/src/backends/wasm/matrix.ts';
import { msdMatmul } from '../../../packages/core/src/msd-matmul.ts';
import { type AttentionCase, caseName, dataOf, exactRows } from '../attention/case.ts';
import { bindCase, check, TOLERANCE } from '../attention/measure.ts';
import { type Call, type Clock, callSource, type MeasureOptions, type Source, takeTurns } from '../measure.ts';
import { gaussian } from '../models/random.ts';
import { layerFloats } from '../models/weights.ts';
import { type Measured, measured } from '../results.ts';
import { decibels, summarize } from '../samples.ts';
import type { LayerShape } from '../shapes.ts';

/** What is measured. */
export interface ForecastCase {
  readonly id: string;
  readonly kind: 'product' | 'attention';
}

export interface ForecastResult extends ForecastCase {
  readonly expected: Forecast;
  /** Microseconds. */
  readonly time: Measured;
  readonly clock: Clock;
  /** Of wall time the fastest sample, of the processor's clock the median: see {@link inTurns}. */
  readonly measured: number;
  readonly peaks: MachinePeaks;
  /** expected ÷ measured. */
  readonly ratio: number;
}

export type ProductFormat = 'int8' | 'int4' | 'mxfp4';

const blockOf = (format: ProductFormat): number | null => (format === 'int8' ? null : 32);

export const expectedProduct = (
  peaks: MachinePeaks,
  { N, K }: LayerShape,
  format: ProductFormat,
  M: number,
  carrier?: 'i16' | 'i8',
): Forecast => forecastProduct(peaks, { M, N, K, format, blockSize: blockOf(format), carrier });

export const expectedAttention = (peaks: MachinePeaks, test: AttentionCase): Forecast =>
  forecastAttention(peaks, { ...test, kvHeads: 1 });

/** One bound product, weights and activations in the arena. */
export async function measureProduct(
  id: string,
  shape: LayerShape,
  format: ProductFormat,
  M: number,
  rounds: number,
): Promise<ForecastResult> {
  const { N, K } = shape;
  const blockSize = blockOf(format);
  const backend = new WasmBackend({ initialBytes: 2 * N * K + 16 * M * K + 8 * M * N + 2 ** 21 });
  const { arena } = backend;
  const weights = quantizeWeights(layerFloats(shape, 1), { N, K, format, ...(blockSize && { blockSize }) });
  const matrix = backend.prepare(weights) as WasmMatrix;
  const values = gaussian(M * K, 2);
  const [x, y] = [arena.alloc(4 * M * K), arena.alloc(4 * M * N)];
  arena.float32(x).set(values);
  const call = backend.bind({ kind: 'product', matrices: [matrix], M }, [x, undefined, undefined, undefined, y]);
  backend.run(call);
  const row = values.subarray((M - 1) * K);
  const exact = msdMatmul(row, weights, { M: 1, arithmetic: 'float64' });
  const sqnr = decibels(exact, arena.float32(y).subarray((M - 1) * N));
  if (!(sqnr > 80)) throw new Error(`${id}: expected the product, got ${sqnr.toFixed(1)} dB of it.`);
  const { peaks, ...times } = await inTurns(id, () => backend.run(call), matrix.layout.byteLength, rounds);
  const carrier = backend.kernelFor(matrix, M).startsWith('gemm_i8') ? 'i8' : 'i16';
  const expected = expectedProduct(peaks, shape, format, M, carrier);
  backend.dispose();
  return resultOf({ id, kind: 'product' }, expected, times, peaks);
}

/** One bound call of attention, which adds its keys. */
export async function measureAttentionCall(test: AttentionCase, rounds: number): Promise<ForecastResult> {
  const { type, headSize, keys } = test;
  const id = caseName(test);
  const data = dataOf(test);
  const bound = bindCase(new WasmBackend({}), test, data);
  bound.run();
  check(id, exactRows(test, data), bound.out(), TOLERANCE[type]);
  const bytes = 2 * headSize * keys * { int16: 2, int8: 1, float: 4 }[type];
  const { peaks, ...times } = await inTurns(id, bound.run, bytes, rounds);
  const expected = expectedAttention(peaks, test);
  return resultOf({ id, kind: 'attention' }, expected, times, peaks);
}

interface Times {
  readonly clock: Clock;
  /** Milliseconds. */
  readonly samples: readonly number[];
}

function resultOf(
  head: ForecastCase,
  expected: Forecast,
  { clock, samples }: Times,
  peaks: MachinePeaks,
): ForecastResult {
  const time = measured(samples.map((ms) => 1000 * ms));
  const us = 1000 * (clock === 'wall' ? Math.min(...samples) : summarize(samples).median);
  return { ...head, expected, time, clock, measured: us, peaks, ratio: expected.microseconds / us };
}

/** Short samples: some come through undisturbed on a busy machine. */
const SAMPLE_MS = 1.5;
/** V8 optimises kernels in the background, where it has to wait for a processor, too. */
const WARM_MS = 500;
/** Longer calls never do. */
const LONG_MS = 2.5;
/** The processor's clock may come in steps. */
const CPU_SAMPLE_MS = 100;
const LEAST_READ = 2 ** 16;
const SCRATCH = 256;

/**
 * Others take the processor away for milliseconds at a time. Of short calls and of the peaks the fastest sample is what the machine does
 * alone; long calls are measured by the clock of the processor.
 *
 * @param bytes that the call reads: as many are read for the bandwidth
 */
async function inTurns(
  name: string,
  run: () => unknown,
  bytes: number,
  rounds: number,
): Promise<Times & { readonly peaks: MachinePeaks }> {
  const size = Math.max(LEAST_READ, bytes);
  const memory = new WebAssembly.Memory({ initial: Math.ceil((size + SCRATCH) / 65536) });
  new Uint8Array(memory.buffer).fill(1);
  const relaxed = relaxedDotPeak(memory, 0);
  const limits: Peak[] = [dotPeak(memory, 0), readBandwidth(memory, SCRATCH, size, 0), ...(relaxed ? [relaxed] : [])];
  const short = { sampleMs: SAMPLE_MS, warmMs: 100 };
  const alone = await undisturbed({ name, run }, { ...short, warmMs: WARM_MS });
  const clock = (await alone.sample()) > LONG_MS && (await alone.sample()) > LONG_MS ? 'cpu' : 'wall';
  const sources: Source[] = [
    clock === 'wall' ? alone : await callSource({ name, run }, { clock, sampleMs: CPU_SAMPLE_MS, warmMs: 0 }),
  ];
  for (const limit of limits) sources.push(await undisturbed(limit, short));
  const [samples, ...others] = (await settled(sources, rounds)) as [number[], ...number[][]];
  const [dotGmacs, readGigabytes, relaxedDotGmacs] = limits.map(
    ({ macs }, i) => macs / Math.min(...others[i]!) / 1e6,
  ) as [number, number, number | undefined];
  return {
    clock,
    samples,
    peaks: { dotGmacs, readGigabytes, ...(relaxedDotGmacs !== undefined && { relaxedDotGmacs }) },
  };
}

/** Times that rounds are repeated while they still find faster samples, and by how much those have to be faster. */
const [MOST_BATCHES, FASTER] = [6, 0.99];

/** Samples of each source: rounds again and again until none of them finds anything faster. */
async function settled(sources: readonly Source[], rounds: number): Promise<number[][]> {
  const all: number[][] = sources.map(() => []);
  for (let batch = 0; batch < MOST_BATCHES; batch++) {
    const before = all.map((samples) => Math.min(...samples));
    for (const [i, samples] of (await takeTurns(sources, rounds)).entries()) all[i]!.push(...samples);
    if (all.every((samples, i) => Math.min(...samples) > FASTER * before[i]!)) break;
  }
  return all;
}

/** How many calls make a sample may have been found out while others had the processor: the best of three. */
async function undisturbed(call: Pick<Call, 'name' | 'run'>, options: MeasureOptions): Promise<Source> {
  let best: { readonly source: Source; readonly ms: number } | undefined;
  for (let i = 0; i < 3; i++) {
    const source = await callSource(call, { ...options, ...(i > 0 && { warmMs: 0 }) });
    const ms = await source.sample();
    if (!best || ms < best.ms) best = { source, ms };
  }
  return best!.source;
}
