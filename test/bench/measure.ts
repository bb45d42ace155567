/**
 * Timing that compares: everything warmed, then interleaved round by round in changing order, fixed call counts, medians
 * with their spread. A figure means something only next to the others of its own run.
 */
import { type Summary, summarize } from './samples.ts';

/** wall: what a user waits. cpu: what the calling thread computed, where other programs take the cores; some systems count it in steps of 4 ms. */
export type Clock = 'wall' | 'cpu';
/** process: what all threads of the process computed, in finer steps. */
export type SampleClock = Clock | 'process';

/** Milliseconds since some moment. */
export function now(clock: SampleClock): number {
  if (clock === 'wall') return performance.now();
  const thread = clock === 'cpu' ? process.threadCpuUsage?.() : undefined; // Node's since 23.9
  const { user, system } = thread ?? process.cpuUsage();
  return (user + system) / 1000;
}

export interface Call {
  readonly name: string;
  /** Work of one call, M·N·K counted once. */
  readonly macs: number;
  /** A promise is awaited, all else is not looked at. */
  run(): unknown;
}

export interface Timing extends Summary {
  readonly name: string;
  /** M·N·K / median, in 10⁹ per second. */
  readonly gmacs: number;
}

export interface MeasureOptions {
  readonly rounds?: number;
  /** V8 optimises a kernel after some milliseconds of calls, and never within one. */
  readonly warmMs?: number;
  /** Calls per sample are fixed so that a sample takes about this long. */
  readonly sampleMs?: number;
  /** Default: wall. */
  readonly clock?: SampleClock;
}

/** Something that gives one sample when asked: milliseconds per call, a rate. */
export interface Source<Sample = number> {
  readonly name: string;
  sample(): Promise<Sample>;
}

/** @returns the samples of each source, in the order of `sources`; each round starts with another one */
export async function takeTurns<Sample>(sources: readonly Source<Sample>[], rounds: number): Promise<Sample[][]> {
  const samples = sources.map((): Sample[] => []);
  for (let round = 0; round < rounds; round++)
    for (let i = 0; i < sources.length; i++) {
      const turn = (i + round) % sources.length;
      samples[turn]!.push(await sources[turn]!.sample());
    }
  return samples;
}

/** Milliseconds per call of `count` calls. What is no promise is not awaited: a microtask would be part of the time. */
async function millisecondsPerCall(run: () => unknown, count: number, clock: SampleClock): Promise<number> {
  const start = now(clock);
  for (let call = 0; call < count; call++) {
    const pending = run();
    if (pending instanceof Promise) await pending;
  }
  return (now(clock) - start) / count;
}

/** Warms a call and fixes how many of it make a sample. */
export async function callSource(
  { name, run }: Pick<Call, 'name' | 'run'>,
  { warmMs = 60, sampleMs = 4, clock = 'wall' }: MeasureOptions = {},
): Promise<Source> {
  const end = performance.now() + warmMs;
  let ms = Number.POSITIVE_INFINITY; // the least: one that stood still in between would make samples of few calls
  do ms = Math.min(ms, await millisecondsPerCall(run, 1, 'wall'));
  while (performance.now() < end);
  if (ms < sampleMs)
    for (const calls of Array(3).fill(Math.ceil(Math.min(64, sampleMs / Math.max(ms, 1e-3)))))
      ms = Math.min(ms, await millisecondsPerCall(run, calls, 'wall'));
  const count = Math.max(1, Math.round(sampleMs / Math.max(ms, 1e-3)));
  return { name, sample: () => millisecondsPerCall(run, count, clock) };
}

export async function interleave(calls: readonly Call[], options: MeasureOptions = {}): Promise<Timing[]> {
  const sources: Source[] = [];
  for (const call of calls) sources.push(await callSource(call, options));
  const samples = await takeTurns(sources, options.rounds ?? 15);
  return calls.map(({ name, macs }, i) => {
    const summary = summarize(samples[i]!);
    return { ...summary, name, gmacs: macs / summary.median / 1e6 };
  });
}
