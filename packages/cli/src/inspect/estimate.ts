/** What a run is expected to take, by the models of @msd/core/theory: here, and on a phone. */
import type { MachinePeaks } from '@msd/core/peaks';
import { type CallTime, forecastAttention, forecastProduct, type PackedProduct, stepTime } from '@msd/core/theory';
import { PRICED_MACHINE, type Work } from '@msd/onnx/inspect';

/**
 * One thread of a phone of the middle class in a page without cross-origin isolation. Assumed, not measured: the peak of dot products,
 * bytes from memory, and how much longer everything else takes than on a desktop.
 */
export const PHONE = { peaks: { dotGmacs: 16, readGigabytes: 8 }, slowdown: 3 } as const;

/** What times are derived from. */
export interface Rates {
  /** Of one thread; `readGigabytes` is that of all weights, as a run finds them. */
  readonly peaks: MachinePeaks;
  /** Of a kernel with weights at hand, nanoseconds per product. Default: by its operations. */
  readonly nanoseconds?: (product: PackedProduct) => number;
  /** Within a model kernels take so many times as long as alone: others have used the caches. Default 1. */
  readonly within?: number;
  /** So many times the planner's prices. Default: by the dot peaks. */
  readonly prices?: number;
  /** So many times {@link startMicroseconds}. Default: as `prices`. */
  readonly start?: number;
}

/** What a run is made of. Milliseconds, which add up to the total. */
export interface Expected {
  readonly ms: number;
  readonly parts: {
    /** Products: their multiplications, or the weights that they wait for. */
    readonly multiply: number;
    readonly read: number;
    /** Activations that become integers. */
    readonly decompose: number;
    readonly attention: number;
    /** What MSD computes between them. */
    readonly steps: number;
    /** What has measured prices and no model: ONNX Runtime's part, what is handed to it, control flow. */
    readonly rest: number;
    /** What a run takes beside its steps, where other work has used the caches before: see {@link startMicroseconds}. */
    readonly cold: number;
  };
  /** Why, in a sentence. */
  readonly why: string;
}

const WORDS: Readonly<Record<keyof Expected['parts'], string>> = {
  multiply: 'multiplying',
  read: 'waiting for weights from memory',
  decompose: 'turning activations into integers',
  attention: 'attention',
  steps: 'other ops',
  rest: 'ONNX Runtime and JavaScript (measured prices)',
  cold: 'starting with cold caches (a measured price)',
};

/**
 * Prices of a run that finds JavaScript, kernels and tables outside of the caches, and of each of its steps. Measured on the machine of
 * `PRICED_MACHINE`: five decoders of 20 to 47 steps took 0.30 to 0.50 ms longer so than in a loop of nothing else, where their
 * JavaScript takes 0.01 to 0.09 ms. How many times that it is elsewhere, a made-up decoder says (rates.ts).
 */
const COLD = { run: 250, step: 4 } as const;

/** Microseconds of a start with cold caches, on the machine of the prices. */
export function startMicroseconds({ products, attentions, steps }: Work): number {
  const counts = [products, attentions, steps].flatMap((all) => all.map(({ count }) => count));
  return counts.length === 0 ? 0 : counts.reduce((sum, count) => sum + COLD.step * count, COLD.run);
}

/** How a run is made. */
export interface Making {
  readonly threads?: number;
  readonly components?: 1 | 2;
  /** Has other work used the caches before it? */
  readonly isCold?: boolean;
}

/**
 * What the models say of a run, from how fast the machine is.
 *
 * @param work of one run
 */
export function expectedOf(work: Work, rates: Rates, making: Making = {}): Expected {
  const { threads = 1, components = 2, isCold = false } = making;
  const { products, attentions, steps, predictedMicroseconds } = work;
  const { peaks, nanoseconds, within = 1, prices = PRICED_MACHINE.dotGmacs / peaks.dotGmacs, start = prices } = rates;
  const parts = { multiply: 0, read: 0, decompose: 0, attention: 0, steps: 0, rest: 0, cold: 0 };
  for (const { count, ...product } of products) {
    const asked = { ...product, threads, components, nanoseconds: nanoseconds?.(product) };
    const { microseconds, parts: own } = forecastProduct(peaks, asked);
    parts.decompose += count * own.decompose;
    // Of weights that no cache has, multiplying hides less.
    const both = isCold ? own.call + Math.hypot(own.multiply, own.read) : microseconds - own.decompose;
    parts[waits(own) ? 'read' : 'multiply'] += count * both;
  }
  for (const { count, ...attention } of attentions) {
    parts.attention += count * forecastAttention(peaks, { ...attention, type: 'int16', threads }).microseconds;
  }
  for (const { count, ...step } of steps) parts.steps += count * stepTime(peaks, step);
  // Of a token after other work, that is part of its start.
  if (isCold) parts.cold = startMicroseconds(work) * start;
  else for (const name of ['multiply', 'decompose', 'attention', 'steps'] as const) parts[name] *= within;
  parts.rest = predictedMicroseconds.rest * prices;
  const names = Object.keys(parts) as (keyof Expected['parts'])[];
  for (const name of names) parts[name] /= 1000;
  const ms = names.reduce((sum, name) => sum + parts[name], 0);
  const why = names
    .toSorted((a, b) => parts[b] - parts[a])
    .filter((name) => parts[name] > 0 && parts[name] >= LEAST_SHARE * ms)
    .map((name) => `${Math.round((100 * parts[name]) / ms)} % ${WORDS[name]}`);
  return { ms, parts, why: why.join(', ') || 'nothing to compute' };
}

/** Of a run, to be named. */
const LEAST_SHARE = 0.03;

const waits = ({ multiply, read }: CallTime['parts']): boolean => read > multiply;

/**
 * On a phone: products and attention at its rates, and the rest so many times longer than here.
 *
 * @param hereMs what the run takes here
 * @param here what it was expected to take
 * @param within of the rates here: there is nothing better for a phone
 */
export function phoneMs(work: Work, hereMs: number, here: Expected, components: 1 | 2, within = 1): number {
  const there = expectedOf(work, { ...PHONE, within }, { components });
  const rest = Math.max(0, hereMs - (here.ms - here.parts.rest - here.parts.cold));
  return there.ms - there.parts.rest + PHONE.slowdown * rest;
}
