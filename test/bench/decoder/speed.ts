/** Tokens per second: all sides in one process, results compared first, then in turns. */
import type * as Ort from 'onnxruntime-web';
import { type Clock, now, type Source, takeTurns } from '../measure.ts';
import type { DecoderShape } from '../models/decoder.ts';
import type { DecoderFiles } from '../models/decoder-files.ts';
import { measured } from '../results.ts';
import { decibels } from '../samples.ts';
import { fileReader } from './file-stretches.ts';
import { type Matrices, prepareMatrices, productChain } from './matrices.ts';
import { Reader, randomCache, tokens } from './reader.ts';
import type { DecoderResult, PhaseResult, SideReport } from './report.ts';
import { createSession, openSide, type SessionSide, type Side, type SideId, type SideOptions } from './sides.ts';

/** As the story model's tests ask for: two components keep 88 dB in one product, and there are seven in a layer. */
const MIN_DECIBELS = 60;
/** V8 takes some 20 tokens to optimise what a token calls, more of small models. */
const WARM = { calls: 100, ms: 1500 };
const SAMPLE = { tokens: 16, ms: 300 };

export interface SpeedOptions extends SideOptions {
  readonly sides: readonly SideId[];
  readonly rounds: number;
  /** Lengths of the cache before a token. */
  readonly pasts: readonly number[];
  /** Tokens of each prompt. */
  readonly prompts: readonly number[];
  readonly log: (message: string) => void;
}

interface Opened {
  readonly side: Side;
  readonly session: Ort.InferenceSession;
}

/** Milliseconds per call by both clocks, of the same calls. */
type Sample = Readonly<Record<Clock, number>>;

/** @throws {@link Error} when a side's logits are not close to those of the first one */
export async function measureSpeed(
  files: DecoderFiles,
  options: SpeedOptions,
): Promise<Pick<DecoderResult, 'phases' | 'reports' | 'versions'>> {
  const { sides, pasts, prompts, log } = options;
  const opened: Opened[] = [];
  let matrices: Matrices | undefined;
  for (const id of pasts.length + prompts.length > 0 ? sides : []) {
    log(`loading ${id}`);
    if (id === 'products') matrices = await prepareMatrices(files, options.threads, fileReader(files));
    else {
      const side = await openSide(id, options);
      opened.push({ side, session: await createSession(side, files) });
    }
  }
  const phases: PhaseResult[] = [];
  const measure = (rows: number, past: number) =>
    measurePhase(files.request.shape, opened, matrices, rows, past, options);
  for (const past of pasts) phases.push(await measure(1, past));
  for (const prompt of prompts) phases.push(await measure(prompt, 0));
  const reports: Partial<Record<SessionSide, SideReport>> = {};
  for (const { side, session } of opened) {
    const report = side.report(session);
    if (report) {
      const { foreignRunsPerCall, foreignSessions, weights, memory } = report;
      reports[side.id] = { foreignRunsPerCall, foreignSessions, ...weights, wasmBytes: memory.wasmBytes };
    }
    await session.release();
  }
  matrices?.backend.dispose();
  return { phases, reports, versions: { ort: opened[0]?.side.ort.env.versions.web ?? 'unknown' } };
}

async function measurePhase(
  shape: DecoderShape,
  opened: readonly Opened[],
  matrices: Matrices | undefined,
  rows: number,
  past: number,
  { rounds, log }: SpeedOptions,
): Promise<PhaseResult> {
  const name = rows > 1 ? `prompt of ${rows}` : `token after ${past}`;
  const ids = tokens(rows, shape.vocabSize);
  const decibelsOf: Partial<Record<SideId, number>> = {};
  let expected: Float32Array | undefined;
  const sources: (Source<Sample> & { readonly name: SideId })[] = [];
  for (const { side, session } of opened) {
    log(`${name}: ${side.id}, check and warm-up`);
    const start = await startOf(side, session, shape, past);
    const reader = start();
    const logits = (await reader.read(ids)).slice();
    reader.dispose();
    if (expected) {
      const close = Number(decibels(expected, logits).toFixed(1));
      if (!(close >= MIN_DECIBELS))
        throw new Error(`decoder: ${name}: ${side.id}, expected logits within ${MIN_DECIBELS} dB, got ${close} dB.`);
      decibelsOf[side.id] = close;
    }
    expected ??= logits;
    sources.push(await warmSource(side.id, start, ids));
  }
  if (matrices) {
    const multiply = productChain(matrices, shape, rows);
    sources.push(await warmSource('products', () => ({ read: async () => multiply() }), ids));
  }
  log(`${name}: ${rounds} rounds`);
  const samples = await takeTurns(sources, rounds);
  const by = (clock: Clock) =>
    Object.fromEntries(sources.map((source, i) => [source.name, measured(samples[i]!.map((sample) => sample[clock]))]));
  return { rows, past, ms: by('wall'), cpuMs: by('cpu'), decibels: decibelsOf };
}

/**
 * Readers that go on from a cache of `past` keys. Its last key comes from the side itself: what a session gave as `present`
 * is what a caller feeds back.
 */
async function startOf(
  side: Side,
  session: Ort.InferenceSession,
  shape: DecoderShape,
  past: number,
): Promise<() => Reader> {
  const cache = randomCache(shape, Math.max(0, past - 1));
  const first = Reader.from(side, session, shape, cache);
  if (past > 0) await first.read([11]);
  return () => first.fork();
}

/** A sample is some tokens one after the other, or one prompt, as often as fills its time. */
async function warmSource(
  name: SideId,
  start: () => { read(ids: readonly number[]): Promise<unknown>; dispose?(): void },
  ids: readonly number[],
): Promise<Source<Sample> & { readonly name: SideId }> {
  const calls = async (chains: number, length: number): Promise<Sample> => {
    const begin = { wall: now('wall'), cpu: now('cpu') };
    for (let chain = 0; chain < chains; chain++) {
      const reader = start();
      for (let call = 0; call < length; call++) await reader.read(ids);
      reader.dispose?.();
    }
    const per = (clock: Clock) => (now(clock) - begin[clock]) / (chains * length);
    return { wall: per('wall'), cpu: per('cpu') };
  };
  const end = performance.now() + WARM.ms;
  let ms = 0;
  for (let call = 0; call < WARM.calls && performance.now() < end; call++) ms = (await calls(1, 1)).wall;
  const fitting = Math.max(1, Math.round(SAMPLE.ms / ms));
  const length = ids.length > 1 ? 1 : Math.min(SAMPLE.tokens, fitting);
  return { name, sample: () => calls(Math.round(fitting / length), length) };
}
