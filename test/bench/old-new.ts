/**
 * `npm run bench -- kernels --old DIR`: the products of this build and of another checkout's, in turns in one process. Both have
 * their operands in an arena of their own; results are compared bit by bit.
 */
import { pathToFileURL } from 'node:url';
import type { ArenaHandle, DecompositionOptions, QuantizedWeights, WasmBackend } from '@msd/core';
import * as core from '@msd/core';
import { carrierOf } from './engines/msd.ts';
import { measureKernel } from './kernels.ts';
import { callSource, takeTurns } from './measure.ts';
import { gaussian } from './models/random.ts';
import { layerFloats } from './models/weights.ts';
import { type Measured, measured } from './results.ts';
import { summarize } from './samples.ts';
import { type LayerShape, LLM_LAYERS } from './shapes.ts';

type Core = typeof core;
type Format = 'int8' | 'int4' | 'mxfp4';
type Carrier = 'i16' | 'i8';

export interface OldNewOptions {
  /** Root of the other checkout, built. */
  readonly old: string;
  readonly rounds: number;
  /** Parts of ids; a case whose id contains one of them is measured. Empty: all. */
  readonly cases: readonly string[];
  readonly log: (message: string) => void;
}

export interface OldNewCase {
  readonly id: string;
  readonly format: Format;
  readonly carrier: Carrier;
  readonly components: 1 | 2;
  readonly M: number;
  readonly K: number;
  readonly N: number;
  readonly kernels: { readonly old: string; readonly new: string };
  /** Milliseconds per `matmul`. */
  readonly old: Measured;
  readonly new: Measured;
  /** How many times as fast the new build is: the median of the rounds' own ratios. */
  readonly ratio: number;
  /** The same of each side's fastest sample: what a busy machine disturbs least. */
  readonly bestRatio: number;
  readonly sameBits: boolean;
}

/** One row of int4 through this build: what a call costs beyond its kernel. Microseconds. */
export interface CallCost {
  readonly format: Format;
  readonly size: number;
  readonly bare: number;
  /** Of a bound call; absent in a build that has none. */
  readonly bound?: number;
  readonly matmul: number;
}

export interface OldNewResult {
  readonly cases: readonly OldNewCase[];
  readonly calls: readonly CallCost[];
}

const SHAPES: readonly LayerShape[] = [{ name: 'small', K: 64, N: 64 }, ...LLM_LAYERS];
const ROWS = [1, 2, 4, 8, 128];
const FORMATS = ['int8', 'int4', 'mxfp4'] as const;
/** With i16, one component runs the same kernels as two. */
const PLANS = [
  { carrier: 'i16', components: 2 },
  { carrier: 'i8', components: 2 },
  { carrier: 'i8', components: 1 },
] as const;
const CALL_SIZES = [64, 896];
/** Short, so that many come through undisturbed on a busy machine. */
const SAMPLE_MS = 1;
/** Rounds that are forgotten: V8 may still be compiling. */
const WARM_ROUNDS = 3;

export async function measureOldNew(options: OldNewOptions): Promise<OldNewResult> {
  const other = (await import(pathToFileURL(`${options.old}/packages/core/dist/index.js`).href)) as Core;
  const cases: OldNewCase[] = [];
  for (const shape of SHAPES)
    for (const format of FORMATS) {
      const wanted = PLANS.flatMap((plan) => ROWS.map((M) => describe(shape, format, plan, M))).filter(({ id }) =>
        options.cases.every((part) => id.includes(part)),
      );
      if (wanted.length === 0) continue;
      const { N, K } = shape;
      const weights = core.quantizeWeights(layerFloats(shape, 1), {
        N,
        K,
        format,
        ...(format === 'int4' && { blockSize: 32 }),
      });
      for (const one of wanted) {
        const result = await measureCase([other, core], weights, one, options);
        if (result) cases.push(result);
      }
    }
  const calls: CallCost[] = [];
  for (const format of ['int8', 'int4'] as const)
    for (const size of CALL_SIZES) calls.push(await callCost(format, size, options));
  return { cases, calls };
}

type CaseHead = Omit<OldNewCase, 'kernels' | 'old' | 'new' | 'ratio' | 'bestRatio' | 'sameBits'>;

function describe({ K, N }: LayerShape, format: Format, plan: (typeof PLANS)[number], M: number): CaseHead {
  const shape = K === N ? `${K}²` : `${K}×${N}`;
  return { id: `${format} ${plan.carrier} P=${plan.components} M=${M} ${shape}`, format, ...plan, M, K, N };
}

interface Prepared {
  readonly backend: WasmBackend;
  readonly kernel: string;
  readonly out: ArenaHandle;
  run(): void;
}

/** @returns undefined for a carrier that this engine lacks, or cannot take these weights with */
async function measureCase(
  builds: readonly [Core, Core],
  weights: QuantizedWeights,
  head: CaseHead,
  { rounds, log }: OldNewOptions,
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
    return { backend, kernel: backend.kernelFor(matrix, M, plan), out, run };
  };
  let sides: Prepared[];
  try {
    sides = await Promise.all(builds.map(prepare));
  } catch (error) {
    if (!(error instanceof Error && error.name === 'BackendUnavailableError')) throw error;
    log(`${head.id}: ${error.message}`);
    return undefined;
  }
  const [before, after] = sides as [Prepared, Prepared];
  if (sides.every(({ kernel }) => carrierOf(kernel) !== carrier)) {
    for (const { backend } of sides) backend.dispose();
    log(`${head.id}: these weights run on ${before.kernel} here.`);
    return undefined;
  }
  const bits = sides.map(({ backend, out }) => backend.arena.float32(out).slice());
  const sameBits = bits[0]!.every((value, i) => Object.is(value, bits[1]![i]));
  const sources = [];
  for (const { run } of sides) sources.push(await callSource({ name: head.id, run }, { sampleMs: SAMPLE_MS }));
  await takeTurns(sources, WARM_ROUNDS);
  const [olds, news] = (await takeTurns(sources, rounds)) as [number[], number[]];
  for (const { backend } of sides) backend.dispose();
  const four = (value: number) => Number(value.toPrecision(4));
  const ratio = four(summarize(olds.map((ms, round) => ms / news[round]!)).median);
  const bestRatio = four(Math.min(...olds) / Math.min(...news));
  const result = {
    ...head,
    kernels: { old: before.kernel, new: after.kernel },
    old: measured(olds),
    new: measured(news),
    ratio,
    bestRatio,
    sameBits,
  };
  log(`${head.id.padEnd(34)} ${ratio.toFixed(3)}, best ${bestRatio.toFixed(3)}${sameBits ? '' : ', other bits'}`);
  return result;
}

async function callCost(format: Format, size: number, { rounds }: OldNewOptions): Promise<CallCost> {
  const { timings } = await measureKernel({ format, M: 1, K: size, N: size }, undefined, rounds);
  const microseconds = (ms: number) => Number((1000 * ms).toPrecision(4));
  return {
    format,
    size,
    bare: microseconds(timings.bare!.median),
    ...(timings.bound && { bound: microseconds(timings.bound.median) }),
    matmul: microseconds(timings.public!.median),
  };
}
