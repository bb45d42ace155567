/**
 * `npm run bench -- kernels --old DIR`: the kernels of this build and of another checkout's, bare, in turns in one process. Both
 * builds have their operands in an arena of their own; results of whole products are compared bit by bit.
 */
import { pathToFileURL } from 'node:url';
import type { ArenaHandle, DecompositionOptions, QuantizedWeights, WasmBackend } from '@msd/core';
import * as core from '@msd/core';
import { type CallCost, measureCallCosts } from './call-cost.ts';
import { carrierOf } from './engines/msd.ts';
import { type CallRecorder, type KernelCall, recordCalls } from './kernel-calls.ts';
import { callSource, type SampleClock, takeTurns } from './measure.ts';
import { gaussian } from './models/random.ts';
import { layerFloats } from './models/weights.ts';
import { type Measured, measured } from './results.ts';
import { summarize } from './samples.ts';
import { type LayerShape, LLM_LAYERS } from './shapes.ts';

type Core = typeof core;
type Carrier = 'i16' | 'i8';

export interface OldNewOptions {
  /** Root of the other checkout, built. */
  readonly old: string;
  readonly rounds: number;
  /** Parts of ids; a case whose id contains all of them is measured. Empty: all. */
  readonly cases: readonly string[];
  /** Default: wall. */
  readonly clock?: SampleClock;
  readonly log: (message: string) => void;
}

export interface OldNewCase {
  readonly id: string;
  readonly weights: string;
  readonly carrier: Carrier;
  readonly components: 1 | 2;
  readonly M: number;
  readonly K: number;
  readonly N: number;
  readonly kernels: { readonly old: string; readonly new: string };
  /** Milliseconds of the gemm kernel. */
  readonly old: Measured;
  readonly new: Measured;
  /** How many times as fast the new build is: the median of the rounds' own ratios. */
  readonly ratio: number;
  /** The same of each side's fastest sample: what a busy machine disturbs least. */
  readonly bestRatio: number;
  readonly sameBits: boolean;
}

export interface OldNewResult {
  readonly cases: readonly OldNewCase[];
  readonly calls: readonly CallCost[];
}

const SHAPES: readonly LayerShape[] = [{ name: 'small', K: 64, N: 64 }, ...LLM_LAYERS];
const ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 128];
/** `/32`: blocks of 32 k; `/K`: the smallest blocks that hold a whole row. */
const WEIGHTS = ['int8', 'int4/32', 'int4/64', 'int4/128', 'int4/K', 'mxfp4'] as const;
/** With i16, one component runs the same kernels as two. */
const PLANS = [
  { carrier: 'i16', components: 2 },
  { carrier: 'i8', components: 2 },
  { carrier: 'i8', components: 1 },
] as const;
/** Short, so that many come through undisturbed on a busy machine. */
const SAMPLE_MS = 1;
/** Rounds that are forgotten: V8 may still be compiling. */
const WARM_ROUNDS = 3;

export async function measureOldNew(options: OldNewOptions): Promise<OldNewResult> {
  const other = (await import(pathToFileURL(`${options.old}/packages/core/dist/index.js`).href)) as Core;
  const recorder = recordCalls();
  const cases: OldNewCase[] = [];
  try {
    for (const shape of SHAPES)
      for (const name of WEIGHTS) cases.push(...(await measureMatrix([other, core], shape, name, recorder, options)));
  } finally {
    recorder.stop();
  }
  return { cases, calls: await measureCallCosts(options) };
}

async function measureMatrix(
  builds: readonly [Core, Core],
  shape: LayerShape,
  name: (typeof WEIGHTS)[number],
  recorder: CallRecorder,
  options: OldNewOptions,
): Promise<OldNewCase[]> {
  const { N, K } = shape;
  const [format, block] = name.split('/') as ['int8' | 'int4' | 'mxfp4', string?];
  const blockSize = block === 'K' ? 2 ** Math.ceil(Math.log2(K)) : Number(block ?? 0);
  const wanted = PLANS.flatMap((plan) => ROWS.map((M) => describe(shape, name, plan, M))).filter(({ id }) =>
    options.cases.every((part) => id.includes(part)),
  );
  if (wanted.length === 0 || (block !== 'K' && blockSize > K)) return [];
  const weights = core.quantizeWeights(layerFloats(shape, 1), { N, K, format, ...(block && { blockSize }) });
  const cases: OldNewCase[] = [];
  for (const one of wanted) {
    const result = await measureCase(builds, weights, one, recorder, options);
    if (result) cases.push(result);
  }
  return cases;
}

type CaseHead = Omit<OldNewCase, 'kernels' | 'old' | 'new' | 'ratio' | 'bestRatio' | 'sameBits'>;

function describe({ K, N }: LayerShape, weights: string, plan: (typeof PLANS)[number], M: number): CaseHead {
  const shape = K === N ? `${K}²` : `${K}×${N}`;
  return { id: `${weights} ${plan.carrier} P=${plan.components} M=${M} ${shape}`, weights, ...plan, M, K, N };
}

interface Prepared {
  readonly backend: WasmBackend;
  readonly out: ArenaHandle;
  /** Of the product, in order: more than one where columns are computed in ranges. */
  readonly gemm: readonly KernelCall[];
}

/** @returns undefined for a carrier that this engine lacks, or cannot take these weights with */
async function measureCase(
  builds: readonly [Core, Core],
  weights: QuantizedWeights,
  head: CaseHead,
  recorder: CallRecorder,
  { rounds, clock, log }: OldNewOptions,
): Promise<OldNewCase | undefined> {
  const { M, K, components, carrier } = head;
  const x = gaussian(M * K, 2);
  const prepare = async ({ createBackend }: Core): Promise<Prepared> => {
    const backend = await createBackend('wasm', { threads: 1, carrier, initialBytes: 2 * weights.data.byteLength });
    const matrix = backend.prepare(weights);
    const { arena } = backend;
    const [input, out] = [arena.alloc(4 * M * K), arena.alloc(4 * M * weights.N)];
    arena.float32(input).set(x);
    const plan: DecompositionOptions = { components };
    const run = () => void backend.matmul(input, matrix, { ...plan, M, out });
    run();
    return { backend, out, gemm: recorder.callsOf(run).filter(({ id }) => id.startsWith('gemm')) };
  };
  let sides: Prepared[];
  try {
    sides = await Promise.all(builds.map(prepare));
  } catch (error) {
    if (!(error instanceof Error && error.name === 'BackendUnavailableError')) throw error;
    log(`${head.id}: ${error.message}`);
    return undefined;
  }
  const [before, after] = sides.map(({ gemm }) => gemm[0]!.id) as [string, string];
  if (carrierOf(before) !== carrier && carrierOf(after) !== carrier) {
    for (const { backend } of sides) backend.dispose();
    log(`${head.id}: these weights run on ${before} here.`);
    return undefined;
  }
  const bits = sides.map(({ backend, out }) => backend.arena.float32(out).slice());
  const sameBits = bits[0]!.every((value, i) => Object.is(value, bits[1]![i]));
  const sources = [];
  for (const { gemm } of sides)
    sources.push(
      await callSource({ name: head.id, run: inTurn(gemm) }, { sampleMs: SAMPLE_MS, ...(clock && { clock }) }),
    );
  await takeTurns(sources, WARM_ROUNDS);
  const [olds, news] = (await takeTurns(sources, rounds)) as [number[], number[]];
  for (const { backend } of sides) backend.dispose();
  const four = (value: number) => Number(value.toPrecision(4));
  const ratio = four(summarize(olds.map((ms, round) => ms / news[round]!)).median);
  const bestRatio = four(Math.min(...olds) / Math.min(...news));
  const result = {
    ...head,
    kernels: { old: before, new: after },
    old: measured(olds),
    new: measured(news),
    ratio,
    bestRatio,
    sameBits,
  };
  log(`${head.id.padEnd(34)} ${ratio.toFixed(3)}, best ${bestRatio.toFixed(3)}${sameBits ? '' : ', other bits'}`);
  return result;
}

function inTurn(calls: readonly KernelCall[]): () => void {
  const [first] = calls;
  if (calls.length === 1) return first!.again;
  return () => {
    for (const { again } of calls) again();
  };
}
