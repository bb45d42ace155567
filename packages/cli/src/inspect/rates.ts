/**
 * How fast this machine is: what is measured of it, so that the time of a model can be derived without running the model.
 *
 *   peaks      of one thread, with bytes that are read again and again
 *   bytes      that are read once after other work has used the caches: how a token finds its weights
 *   kernels    of each product's kind a small one, with weights at hand
 *   within     how much longer kernels take within a made-up decoder than alone
 *   start      what a token of it takes beside its products, attention and steps
 *   prices     what onnxruntime-web takes for a made-up float model, over the prices of the planner
 *
 * Everything is measured once, and kept.
 */
import type { MachinePeaks } from '@msd/core/peaks';
import { forecastProduct, type PackedProduct } from '@msd/core/theory';
import { inspectModel, type Work } from '@msd/onnx/inspect';
import type { Clock } from '../models/player.ts';
import { sizesOf } from '../models/sizes.ts';
import { readCache, writeCache } from '../shared/cache.ts';
import { thisMachine } from '../shared/machine.ts';
import { packageVersion } from '../shared/version.ts';
import { expectedOf, type Making, type Rates, startMicroseconds } from './estimate.ts';
import type { MachineMeasured, MachineRequest } from './machine-worker.ts';
import { measure } from './measure.ts';
import { decoder, floatModel } from './reference-models.ts';
import { otherBytes } from './samples.ts';
import { inThread } from './thread.ts';

/** Sizes that bandwidth is measured for: what a model reads in every run may fit into a cache. */
const [LEAST_READ, MOST_READ] = [2 ** 20, 96 * 2 ** 20];
/** Weights that stay in caches of a core, and rows that are multiplied at once: more take as much longer. */
const [MOST_WEIGHTS, MOST_ROWS] = [2 ** 19, 256];
/** Columns side by side in packed weights. */
const PANEL = 16;

/** A product of the same kind that is small enough to be measured by itself. */
export function timedShape({ M, N, K, format, blockSize }: PackedProduct): PackedProduct {
  const columns = Math.max(1, Math.floor(MOST_WEIGHTS / K / PANEL)) * PANEL;
  return { M: Math.max(1, Math.min(MOST_ROWS, Math.round(M))), N: Math.min(N, columns), K, format, blockSize };
}

/** What a kernel takes per product, from the time of a call: without what a call takes beside it. */
export function nanosecondsPerProduct(peaks: MachinePeaks, product: PackedProduct, microseconds: number): number {
  const { parts } = forecastProduct(peaks, { ...product, nanoseconds: 1 });
  const multiplied = microseconds - parts.call - parts.decompose;
  // Fewer than that: the clock is too coarse.
  return Math.max(multiplied, microseconds / 10) / parts.multiply;
}

/** What is asked of the machine. */
export interface RateQuestion {
  /** Bytes of packed weights, which every run reads. */
  readonly weightBytes: number;
  /** A run, and one of a token after other work if the model writes such: their products are timed. */
  readonly works: readonly Work[];
  readonly threads: number | 'auto';
  readonly components: 1 | 2;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called before anything is measured. */
  readonly onMeasure: () => void;
}

/** The rates of runs one after the other, and of those that start after other work. */
export interface AllRates {
  readonly warm: Rates;
  readonly cold: Rates;
}

/** Shares of a run, and milliseconds, that are too small for it to matter how fast onnxruntime-web is: JavaScript takes as much. */
const [SMALL, SMALL_MS] = [0.03, 0.1];

/** Rates for a model: what was not measured before is measured now. */
export async function machineRates(question: RateQuestion): Promise<AllRates> {
  const { works, threads, components, clock } = question;
  const kept = new Kept(question.onMeasure);
  const basic = await basicRates(question, kept);
  const making = { threads: threadCount(threads), components };
  const needsPrices = works.some((work) => {
    const { ms, parts } = expectedOf(work, basic.warm, making);
    return parts.rest > Math.max(SMALL * ms, SMALL_MS);
  });
  const setting = `${threads} threads, ${components} components, ${clock}`;
  // A model that MSD leaves alone needs prices only.
  const isOurs = works.some((work) => startMicroseconds(work) > 0);
  const factors = {
    ...(needsPrices && { prices: await kept.get(`prices: ${setting}`, () => priceFactor(question)) }),
    ...(isOurs &&
      (await kept.get(`decoder of ${headsFor(question)} heads: ${setting}`, () => decoderFactors(question, kept)))),
  };
  return { warm: { ...basic.warm, ...factors }, cold: { ...basic.cold, ...factors } };
}

export const threadCount = (threads: number | 'auto'): number => (threads === 'auto' ? thisMachine().cores : threads);

/** Peaks, bandwidths and kernels. */
async function basicRates(
  { weightBytes, works, components, signal, onMeasure }: Omit<RateQuestion, 'threads' | 'clock'>,
  kept: Kept,
): Promise<AllRates> {
  const readBytes = Math.min(MOST_READ, 2 ** Math.ceil(Math.log2(Math.max(LEAST_READ, weightBytes))));
  const keyOf = (product: PackedProduct): string => JSON.stringify({ ...timedShape(product), components });
  const shapes = new Map<string, PackedProduct>();
  for (const product of works.flatMap(({ products }) => products)) shapes.set(keyOf(product), timedShape(product));
  const missing = [...shapes].filter(([key]) => !kept.has(key));
  const bytes = `bytes: ${readBytes}`;
  if (!kept.has(bytes) || missing.length > 0) {
    onMeasure();
    const request: MachineRequest = { readBytes, products: missing.map(([, shape]) => shape), components };
    const { peaks, coldGigabytes, microseconds } = await inThread<MachineMeasured>('machine-worker', request, signal);
    kept.set(bytes, { peaks, coldGigabytes });
    for (const [i, [key, shape]] of missing.entries())
      kept.set(key, nanosecondsPerProduct(peaks, shape, microseconds[i]!));
  }
  const { peaks, coldGigabytes } = kept.of<Omit<MachineMeasured, 'microseconds'>>(bytes);
  const nanoseconds = (product: PackedProduct): number => kept.of(keyOf(product));
  return {
    warm: { peaks, nanoseconds },
    cold: { peaks: { ...peaks, readGigabytes: coldGigabytes }, nanoseconds },
  };
}

/** Tokens of the prompt of made-up models. */
const PROMPT = 128;
const NO_OTHER_SIZES = { encoder: 0, image: 0 };

/** Weights that stay in the caches of a core, and the code between them, too: such models start faster. */
const FEW_BYTES = 2 ** 22;
const headsFor = ({ weightBytes }: RateQuestion): number => (weightBytes < FEW_BYTES ? 2 : 8);

/** Within a made-up decoder: how much longer kernels take than alone, and what a token takes beside them. */
async function decoderFactors(question: RateQuestion, kept: Kept): Promise<Required<Pick<Rates, 'within' | 'start'>>> {
  const { threads, components, clock, signal } = question;
  const model = decoder(headsFor(question));
  const seen = await inspectModel(model, { msd: { components } });
  const { inputs, bytes } = seen;
  const works = [
    { tokens: PROMPT, past: 0 },
    { tokens: 1, past: PROMPT },
  ].map((sizes) => seen.work(sizesOf(inputs, { ...NO_OTHER_SIZES, ...sizes }))[0]!) as [Work, Work];
  seen.close();
  const { warm, cold } = await basicRates({ ...question, weightBytes: bytes.packed, works }, kept);
  const { undisturbedMs, tokenMs } = await measure(
    {
      ...{ model, externalData: [], inputs, threads, engine: 'msd', clock, msd: { components } },
      sizes: { ...NO_OTHER_SIZES, tokens: PROMPT },
      otherBytes: otherBytes(bytes.packed),
    },
    signal,
  );
  const making = { threads: threadCount(threads), components };
  return factorsOf(works, { warm, cold }, making, { promptMs: undisturbedMs, tokenMs: tokenMs! });
}

/** From what a prompt and a token behind it took. */
export function factorsOf(
  [prompt, token]: readonly [Work, Work],
  { warm, cold }: AllRates,
  making: Making,
  { promptMs, tokenMs }: { readonly promptMs: number; readonly tokenMs: number },
): Required<Pick<Rates, 'within' | 'start'>> {
  const beside = 1000 * (tokenMs - expectedOf(token, { ...cold, start: 0 }, { ...making, isCold: true }).ms);
  return {
    within: Math.max(1, promptMs / expectedOf(prompt, warm, making).ms),
    start: Math.max(0, beside / startMicroseconds(token)),
  };
}

/** What onnxruntime-web takes for a made-up model, over what the planner thinks. */
async function priceFactor({ threads, clock, signal }: RateQuestion): Promise<number> {
  const model = floatModel();
  const seen = await inspectModel(model);
  const { inputs } = seen;
  const [work] = seen.work(sizesOf(inputs, { ...NO_OTHER_SIZES, tokens: PROMPT, past: 0 })) as [Work];
  seen.close();
  const { undisturbedMs } = await measure(
    {
      ...{ model, externalData: [], inputs, threads, engine: 'wasm', clock, msd: {}, otherBytes: 0 },
      sizes: { ...NO_OTHER_SIZES, tokens: PROMPT },
    },
    signal,
  );
  return (1000 * undisturbedMs) / work.predictedMicroseconds.ort;
}

/** What was measured of this machine, in a file of the user's cache folder: numbers by what they are of. */
class Kept {
  readonly #key = JSON.stringify({ ...thisMachine(), msd: packageVersion() });
  readonly #values: Record<string, unknown> = readCache('machine', this.#key) ?? {};
  readonly #onMeasure: () => void;

  constructor(onMeasure: () => void) {
    this.#onMeasure = onMeasure;
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined;
  }

  of<T>(name: string): T {
    return this.#values[name] as T;
  }

  set(name: string, value: unknown): void {
    this.#values[name] = value;
    writeCache('machine', this.#key, this.#values);
  }

  async get<T>(name: string, measured: () => Promise<T>): Promise<T> {
    if (!this.has(name)) {
      this.#onMeasure();
      this.set(name, await measured());
    }
    return this.of(name);
  }
}
