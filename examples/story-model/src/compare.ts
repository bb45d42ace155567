/** Measures the two engines on one decoder: accuracy, speed, and each alone in a fresh process. No printing. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { sqnr } from '@msd/core';
import type { DecoderSession } from '../../../packages/cli/src/run/decoder.ts';
import { type Summary, summarize } from '../../../test/bench/samples.ts';
import type { AloneRequest, AloneResult } from './alone.ts';
import { ENGINES, type Engine } from './engines.ts';
import { argMax } from './forward.ts';
import { forcedLogits, greedyRun, tokensPerSecond } from './greedy-run.ts';

export type Both<T> = Readonly<Record<Engine, T>>;
type OnProgress = (detail: string) => void;

/** The first tokens of a process cost twice as much, until the JavaScript engine has compiled what it runs. */
const WARM_UP_MS = 500;

/** What a model says after a prompt when its activations are not quantized. */
export interface ReferenceText {
  readonly ids: readonly number[];
  /** [vocab] per token: the logits it was chosen from. */
  readonly logits: readonly Float32Array[];
}

export interface Accuracy {
  /** Of the logits of all tokens of all prompts. */
  readonly sqnrDb: number;
  /** Tokens in which the greedy texts agree with the reference's from their beginning on; the least of all prompts. */
  readonly identicalTokens: number;
}

/** Follows each reference text with both engines. */
export async function measureAccuracy(
  decoders: Both<DecoderSession>,
  prompts: ReadonlyArray<readonly number[]>,
  references: readonly ReferenceText[],
  onProgress: OnProgress,
): Promise<Both<Accuracy>> {
  const measure = async (engine: Engine): Promise<Accuracy> => {
    const expected: Float32Array[] = [];
    const got: Float32Array[] = [];
    let identicalTokens = Infinity;
    for (const [i, prompt] of prompts.entries()) {
      onProgress(`prompt ${i + 1} of ${prompts.length}`);
      const { ids, logits } = references[i] as ReferenceText;
      const own = await forcedLogits(decoders[engine], prompt, ids);
      const difference = own.findIndex((values, t) => argMax(values) !== ids[t]);
      identicalTokens = Math.min(identicalTokens, difference < 0 ? ids.length : difference);
      expected.push(...logits);
      got.push(...own);
    }
    return { sqnrDb: sqnr(concatenate(expected), concatenate(got)), identicalTokens };
  };
  return { ort: await measure('ort'), msd: await measure('msd') };
}

function concatenate(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The smallest gap between best and second logit: how much rounding the greedy texts can bear. */
export function smallestMargin(references: readonly ReferenceText[]): number {
  return references.reduce(
    (least, { ids, logits }) =>
      logits.reduce((smallest, values, t) => {
        const chosen = ids[t] as number;
        const second = values.reduce((best, value, id) => (id === chosen ? best : Math.max(best, value)), -Infinity);
        return Math.min(smallest, (values[chosen] as number) - second);
      }, least),
    Infinity,
  );
}

export interface Speed {
  readonly tokensPerSecond: Summary;
  /** Per token after the first. */
  readonly msPerToken: Summary;
  /** From the prompt to the first token; the session is warm. */
  readonly firstTokenMs: Summary;
}

/** Writes the prompts' texts again and again, the engines taking turns. */
export async function measureSpeed(
  decoders: Both<DecoderSession>,
  prompts: ReadonlyArray<readonly number[]>,
  tokens: number,
  rounds: number,
  onProgress: OnProgress,
): Promise<Both<Speed>> {
  const samples: Both<{ first: number[]; perToken: number[]; perSecond: number[] }> = {
    ort: { first: [], perToken: [], perSecond: [] },
    msd: { first: [], perToken: [], perSecond: [] },
  };
  onProgress('warming up');
  for (const engine of ENGINES) {
    const end = performance.now() + WARM_UP_MS;
    while (performance.now() < end) await greedyRun(decoders[engine], prompts[0] as readonly number[], tokens);
  }
  for (let round = 0; round < rounds; round++) {
    onProgress(`round ${round + 1} of ${rounds}`);
    const prompt = prompts[round % prompts.length] as readonly number[];
    for (const engine of round % 2 === 0 ? ENGINES : ENGINES.toReversed()) {
      const run = await greedyRun(decoders[engine], prompt, tokens);
      samples[engine].first.push(run.firstTokenMs);
      samples[engine].perToken.push(run.decodeMs / (tokens - 1));
      samples[engine].perSecond.push(tokensPerSecond(tokens, run.decodeMs));
    }
  }
  const speed = ({ first, perToken, perSecond }: (typeof samples)[Engine]): Speed => ({
    tokensPerSecond: summarize(perSecond),
    msPerToken: summarize(perToken),
    firstTokenMs: summarize(first),
  });
  return { ort: speed(samples.ort), msd: speed(samples.msd) };
}

export interface Alone {
  readonly loadMs: Summary;
  /** Loading and the first token after it. */
  readonly coldStartMs: Summary;
  readonly wasmBytes: number;
  readonly arenaBytes: number;
}

/** Starts each engine in processes of its own, in turns. */
export async function measureAlone(
  request: Omit<AloneRequest, 'engine'>,
  rounds: number,
  onProgress: OnProgress,
): Promise<Both<Alone>> {
  const results: Both<AloneResult[]> = { ort: [], msd: [] };
  for (let round = 0; round < rounds; round++) {
    onProgress(`round ${round + 1} of ${rounds}`);
    for (const engine of round % 2 === 0 ? ENGINES : ENGINES.toReversed()) {
      results[engine].push(await runAlone({ ...request, engine }));
    }
  }
  const alone = (all: readonly AloneResult[]): Alone => ({
    loadMs: summarize(all.map(({ loadMs }) => loadMs)),
    coldStartMs: summarize(all.map(({ loadMs, firstTokenMs }) => loadMs + firstTokenMs)),
    wasmBytes: Math.max(...all.map(({ wasmBytes }) => wasmBytes)),
    arenaBytes: Math.max(...all.map(({ arenaBytes }) => arenaBytes)),
  });
  return { ort: alone(results.ort), msd: alone(results.msd) };
}

async function runAlone(request: AloneRequest): Promise<AloneResult> {
  const script = fileURLToPath(new URL('alone.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [script, JSON.stringify(request)]);
  return JSON.parse(stdout) as AloneResult;
}
