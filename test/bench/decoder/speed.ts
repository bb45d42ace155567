/** Tokens per second: all sides in one process, results compared first, then in turns. */
import type * as Ort from 'onnxruntime-web';
import { type Clock, now, type Source, takeTurns } from '../measure.ts';
import type { DecoderShape } from '../models/decoder.ts';
import type { DecoderFiles } from '../models/decoder-files.ts';
import { measured } from '../results.ts';
import { decibels } from '../samples.ts';
import { Reader, randomCache, tokens } from './reader.ts';
import type { DecoderResult, PhaseResult, SideReport } from './report.ts';
import { createSession, openSide, type Side, type SideId, type SideOptions } from './sides.ts';

/** As the story model's tests ask for: two components keep 88 dB in one product, and there are seven in a layer. */
const MIN_DECIBELS = 60;
/** V8 takes some 20 tokens to optimise what a token calls, more of small models. */
const WARM = { calls: 100, ms: 1500 };
const SAMPLE = { tokens: 16, ms: 300 };

export interface SpeedOptions extends SideOptions {
  readonly sides: readonly SideId[];
  readonly rounds: number;
  readonly clock: Clock;
  /** Lengths of the cache before a token. */
  readonly pasts: readonly number[];
  /** Tokens of the prompt. */
  readonly prompt: number;
  readonly log: (message: string) => void;
}

interface Opened {
  readonly side: Side;
  readonly session: Ort.InferenceSession;
}

/** @throws {@link Error} when a side's logits are not close to those of the first one */
export async function measureSpeed(
  files: DecoderFiles,
  options: SpeedOptions,
): Promise<Pick<DecoderResult, 'phases' | 'reports' | 'versions'>> {
  const { sides, pasts, prompt, log } = options;
  const { shape } = files.request;
  const opened: Opened[] = [];
  for (const id of sides) {
    log(`loading ${id}`);
    const side = await openSide(id, options);
    opened.push({ side, session: await createSession(side, files) });
  }
  const phases: PhaseResult[] = [];
  for (const past of pasts) phases.push(await measurePhase(opened, shape, 1, past, options));
  if (prompt > 0) phases.push(await measurePhase(opened, shape, prompt, 0, options));
  const reports: Partial<Record<SideId, SideReport>> = {};
  for (const { side, session } of opened) {
    const report = side.report(session);
    if (report) {
      const { foreignRunsPerCall, foreignSessions, weights, memory } = report;
      reports[side.id] = { foreignRunsPerCall, foreignSessions, ...weights, wasmBytes: memory.wasmBytes };
    }
    await session.release();
  }
  return { phases, reports, versions: { ort: opened[0]?.side.ort.env.versions.web ?? 'unknown' } };
}

async function measurePhase(
  opened: readonly Opened[],
  shape: DecoderShape,
  rows: number,
  past: number,
  { rounds, clock, log }: SpeedOptions,
): Promise<PhaseResult> {
  const name = rows > 1 ? `prompt of ${rows}` : `token after ${past}`;
  const cache = randomCache(shape, past);
  const ids = tokens(rows, shape.vocabSize);
  const decibelsOf: Partial<Record<SideId, number>> = {};
  let expected: Float32Array | undefined;
  const sources: Source[] = [];
  for (const { side, session } of opened) {
    log(`${name}: ${side.id}, check and warm-up`);
    const logits = (await new Reader(side, session, shape, cache).read(ids)).slice();
    if (expected) {
      const close = Number(decibels(expected, logits).toFixed(1));
      if (!(close >= MIN_DECIBELS))
        throw new Error(`decoder: ${name}: ${side.id}, expected logits within ${MIN_DECIBELS} dB, got ${close} dB.`);
      decibelsOf[side.id] = close;
    }
    expected ??= logits;
    sources.push(await warmSource(side, () => new Reader(side, session, shape, cache), ids, clock));
  }
  log(`${name}: ${rounds} rounds`);
  const samples = await takeTurns(sources, rounds);
  const ms = Object.fromEntries(opened.map(({ side }, i) => [side.id, measured(samples[i]!)]));
  return { rows, past, ms, decibels: decibelsOf };
}

/** A sample is some tokens one after the other, or one prompt, as often as fills its time; ms per call. */
async function warmSource({ id }: Side, start: () => Reader, ids: readonly number[], clock: Clock): Promise<Source> {
  const calls = async (chains: number, length: number): Promise<number> => {
    const begin = now(clock);
    for (let chain = 0; chain < chains; chain++) {
      const reader = start();
      for (let call = 0; call < length; call++) await reader.read(ids);
    }
    return (now(clock) - begin) / (chains * length);
  };
  const end = performance.now() + WARM.ms;
  let ms = 0;
  for (let call = 0; call < WARM.calls && performance.now() < end; call++) ms = await calls(1, 1);
  const fitting = Math.max(1, Math.round(SAMPLE.ms / ms));
  const length = ids.length > 1 ? 1 : Math.min(SAMPLE.tokens, fitting);
  return { name: id, sample: () => calls(Math.round(fitting / length), length) };
}
