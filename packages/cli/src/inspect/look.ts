/** Everything that `msd inspect` says of one ONNX file, as data. */
import { freemem } from 'node:os';
import { type Inspection, type InspectOptions, inspectModel, type Work } from '@msd/onnx/inspect';
import type { MsdOptions } from '@msd/onnx/register';
import type { Clock } from '../models/player.ts';
import { isPast, type RunSizes, sizesOf } from '../models/sizes.ts';
import { messageOf } from '../shared/errors.ts';
import { isUrl } from '../shared/locate.ts';
import { bytesText } from '../shared/numbers.ts';
import { type Expected, expectedOf, phoneMs, type Rates } from './estimate.ts';
import { measure } from './measure.ts';
import type { Measured } from './measure-worker.ts';
import { type OperatorSummary, summarizeOperators } from './operators.ts';
import { machineRates, threadCount } from './rates.ts';
import { otherBytes } from './samples.ts';

/** What is asked. */
export interface Question {
  readonly name: string;
  /** A path or a URL. */
  readonly location: string;
  readonly msd: MsdOptions;
  readonly threads: number | 'auto';
  readonly sizes: Omit<RunSizes, 'past'>;
  /** Tokens that the model may be fed, if that is known. */
  readonly context: number | undefined;
  readonly measures: boolean;
  readonly clock: Clock;
  readonly comparesPlain: boolean;
  readonly reading: Pick<InspectOptions, 'headers' | 'timeoutMs' | 'onBytes' | 'mayDownload'>;
  readonly signal: AbortSignal;
  readonly onStage: (stage: string) => void;
}

/** One run: multiplications, and how long it takes. */
export interface RunFigures {
  readonly tokens: number;
  /** Tokens in the cache before. */
  readonly past: number;
  readonly macs: number;
  /** The share of them that MSD does. */
  readonly msdShare: number;
  /** The figure to take: measured, or if it was not, `expected.ms`. */
  readonly hereMs: number;
  /** Derived from kernels that were timed on this machine, by the models of @msd/core/theory; and why. */
  readonly expected: Expected;
  readonly phoneMs: number;
  /** Of plain onnxruntime-web, if that was measured. */
  readonly plainMs?: number;
}

/** Of one file. */
export interface Looked {
  readonly name: string;
  readonly location: string;
  readonly inputs: Inspection['inputs'];
  readonly outputs: Inspection['outputs'];
  readonly opsets: Inspection['opsets'];
  readonly nodes: { readonly total: number; readonly msd: number };
  /** What runs where, and why not in MSD. */
  readonly operators: readonly OperatorSummary[];
  /** Multiplications of the prompt, by operator. */
  readonly multiplications: Work['operators'];
  /** Why ONNX Runtime runs all of it. */
  readonly whole?: string;
  readonly foreignRunsPerCall: number;
  readonly prompt: RunFigures;
  /** Of models that write token by token. */
  readonly token?: RunFigures;
  /** `measured`: the graph ran here, with made-up weights if it lies behind a URL. `predicted`: `hereMs` is derived. */
  readonly times: 'measured' | 'predicted';
  /** Why it was not measured. */
  readonly notMeasured?: string;
  readonly loadMs?: number;
  readonly firstRunMs?: number;
  readonly bytes: Inspection['bytes'] & {
    /** All WebAssembly memory after a run, MSD's and ONNX Runtime's. */
    readonly wasm: number;
    readonly kvPer1000Tokens: number;
  };
  /** Does it fit, with keys and values of so many tokens? */
  readonly fits: { readonly tokens: number; readonly in2GB: boolean; readonly in4GB: boolean };
  readonly read: { readonly bytes: number; readonly share: number; readonly isCut: boolean };
}

const GB = 2 ** 30;
/** Of a session that was not measured: kernels and working buffers, and what ONNX Runtime starts with. */
const MSD_ROOM = 4 * 2 ** 20;
const ORT_ROOM = 20 * 2 ** 20;
/** ONNX Runtime keeps weights beside the file that they came in, and packs some of them. */
const ORT_FACTOR = 2;
/** What trying a file takes of it: made-up bytes, packed weights, ONNX Runtime's own. */
const TRIAL_FACTOR = 3.5;
/** Of models that do not say how many tokens they can read. */
const USUAL_CONTEXT = 4096;

/** Looks at one file, and tries it. */
export async function look(question: Question): Promise<Looked> {
  const { name, location, msd, sizes, reading, signal, onStage, context = USUAL_CONTEXT } = question;
  onStage(`Reading ${name}`);
  const seen = await inspectModel(location, { ...reading, signal, msd });
  try {
    let notMeasured = reasonNotToTry(question, seen);
    let trial: Trial | undefined;
    if (notMeasured === undefined) {
      const tried = await tryOut(question, seen);
      if (typeof tried === 'string') notMeasured = tried;
      else trial = tried;
    }
    const { inputs, outputs, opsets, nodes, whole, foreignRunsPerCall, bytes } = seen;
    const { measured } = trial ?? {};
    const promptWork = most(seen.work(sizesOf(inputs, { ...sizes, past: 0 })));
    const hasCache = inputs.some((input) => isPast(input.name));
    const tokenWork = hasCache
      ? least(seen.work(sizesOf(inputs, { ...sizes, tokens: 1, past: sizes.tokens })))
      : undefined;
    const { threads, clock } = question;
    const works = tokenWork ? [promptWork, tokenWork] : [promptWork];
    const { warm, cold } = await machineRates({
      ...{ weightBytes: bytes.packed, works, threads, components: msd.components ?? 2, clock, signal },
      onMeasure: () => onStage('Measuring how fast this machine is, once'),
    });
    const figures = (work: Work, tokens: number, past: number, time: 'promptMs' | 'tokenMs'): RunFigures =>
      // Tokens are measured after other work: nothing of the weights is in a cache then.
      figuresOf(work, { tokens, past }, question, past > 0 ? cold : warm, measured?.[time], trial?.plain?.[time]);
    const tokens = Math.min(context, USUAL_CONTEXT);
    const wasm = measured?.wasmBytes ?? estimatedBytes(seen);
    const full = wasm + bytes.kvPerToken * tokens;
    const used = nodes.filter(({ region }) => region >= 0);
    return {
      ...{ name, location, inputs, outputs, opsets },
      nodes: { total: used.length, msd: used.filter(({ where }) => where === 'msd').length },
      operators: summarizeOperators(seen),
      multiplications: promptWork.operators,
      ...(whole !== undefined && { whole }),
      foreignRunsPerCall: measured?.foreignRunsPerCall ?? foreignRunsPerCall,
      prompt: figures(promptWork, sizes.tokens, 0, 'promptMs'),
      ...(tokenWork && { token: figures(tokenWork, 1, sizes.tokens, 'tokenMs') }),
      times: measured ? 'measured' : 'predicted',
      ...(notMeasured !== undefined && { notMeasured }),
      ...(measured && { loadMs: measured.loadMs, firstRunMs: measured.firstMs }),
      bytes: { ...bytes, wasm, kvPer1000Tokens: 1000 * bytes.kvPerToken },
      fits: { tokens, in2GB: full <= 2 * GB, in4GB: full <= 4 * GB },
      read: { bytes: seen.readBytes, share: seen.readBytes / Math.max(1, bytes.file), isCut: seen.isCut },
    };
  } finally {
    seen.close();
  }
}

/** Of several ways through a model, that of a first run. */
const most = (works: readonly Work[]): Work => works.toSorted((a, b) => b.macs - a.macs)[0] ?? NO_WORK;
/** That of later runs. */
const least = (works: readonly Work[]): Work => works.toSorted((a, b) => a.macs - b.macs)[0] ?? NO_WORK;
const NO_WORK: Work = {
  ...{ taken: [], macs: 0, msdMacs: 0, operators: [], products: [], attentions: [], steps: [] },
  predictedMicroseconds: { msd: 0, ort: 0, rest: 0 },
};

function figuresOf(
  work: Work,
  { tokens, past }: Pick<RunFigures, 'tokens' | 'past'>,
  { threads, msd: { components = 2 } }: Pick<Question, 'threads' | 'msd'>,
  rates: Rates,
  measuredMs: number | undefined,
  plainMs: number | undefined,
): RunFigures {
  const { macs, msdMacs } = work;
  const expected = expectedOf(work, rates, { threads: threadCount(threads), components, isCold: past > 0 });
  const hereMs = measuredMs ?? expected.ms;
  return {
    ...{ tokens, past, macs, msdShare: macs > 0 ? msdMacs / macs : 0, hereMs, expected },
    phoneMs: phoneMs(work, hereMs, expected, components, rates.within),
    ...(plainMs !== undefined && { plainMs }),
  };
}

function reasonNotToTry({ measures, location }: Question, { bytes, inputs }: Inspection): string | undefined {
  if (!measures) return '--no-measure was given';
  if (inputs.length === 0) return 'nothing says what its inputs are';
  const needed = TRIAL_FACTOR * bytes.file;
  const free = freemem();
  if (needed > free) return `a trial takes about ${bytesText(needed)} of memory, and ${bytesText(free)} are free`;
  if (isUrl(location) && bytes.file >= 2 * GB) return 'a trial of a file behind a URL needs it to be below 2 GB';
  return undefined;
}

interface Trial {
  readonly measured: Measured;
  readonly plain: Measured | undefined;
}

/** Runs the graph here. @returns why that was not possible: made-up inputs may have wrong sizes */
async function tryOut(question: Question, seen: Inspection): Promise<Trial | string> {
  const { name, location, msd, threads, sizes, comparesPlain, clock, signal, onStage } = question;
  const run = (engine: 'msd' | 'wasm'): Promise<Measured> => {
    const source = isUrl(location) ? seen.standIn() : { model: location, externalData: [] };
    const other = { otherBytes: otherBytes(seen.bytes.packed) };
    return measure({ ...source, ...other, inputs: seen.inputs, sizes, msd, threads, engine, clock }, signal);
  };
  try {
    onStage(`Trying ${name} on this machine`);
    const measured = await run('msd');
    if (!comparesPlain) return { measured, plain: undefined };
    onStage(`Trying ${name} in plain onnxruntime-web`);
    return { measured, plain: await run('wasm') };
  } catch (error) {
    signal.throwIfAborted();
    return `a trial with made-up inputs failed (${messageOf(error).replace(/\s+/g, ' ').trim()}); set sizes with --size NAME=NUMBER`;
  }
}

function estimatedBytes({ whole, bytes }: Inspection): number {
  const ort = bytes.ort > 0 || whole !== undefined ? ORT_ROOM + ORT_FACTOR * bytes.ort : 0;
  return ort + (whole === undefined ? MSD_ROOM + bytes.packed : 0);
}
