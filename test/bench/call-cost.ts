/** What calls of one row cost beyond their kernels: a bound call, and `matmul`, which looks at its arguments first. */
import { createBackend, quantizeWeights } from '@msd/core';
import { recordCalls } from './kernel-calls.ts';
import { callSource, type SampleClock, takeTurns } from './measure.ts';
import { gaussian } from './models/random.ts';
import { layerFloats } from './models/weights.ts';
import { summarize } from './samples.ts';

/** Microseconds per call. */
export interface CallTimes {
  /** The gemm kernel alone. */
  readonly gemm: number;
  /** Both kernels: x becomes integers, and is multiplied. */
  readonly kernels: number;
  /** A bound call. */
  readonly bound: number;
  /** `matmul` with operands in the arena, and with arrays. */
  readonly matmul: number;
  readonly arrays: number;
}

export interface CallCost {
  readonly format: string;
  readonly size: number;
  /** Of the fastest samples, which a busy machine disturbs least; and of the medians. */
  readonly best: CallTimes;
  readonly median: CallTimes;
}

export interface CallCostOptions {
  readonly rounds: number;
  readonly clock?: SampleClock;
  readonly log: (message: string) => void;
}

const FORMATS = ['int4', 'int8'] as const;
/** int8: one scale per row of the matrix. */
const BLOCKS = { int4: { blockSize: 32 }, int8: {} } as const;
const SIZES = [64, 256, 896];
/** Short, so that many come through undisturbed on a busy machine. */
const SAMPLE_MS = 0.5;
const NAMES = ['gemm', 'kernels', 'bound', 'matmul', 'arrays'] as const;

export async function measureCallCosts(options: CallCostOptions): Promise<CallCost[]> {
  const costs: CallCost[] = [];
  for (const format of FORMATS) for (const size of SIZES) costs.push(await callCost(format, size, options));
  return costs;
}

async function prepared(format: (typeof FORMATS)[number], size: number) {
  const shape = { name: '', K: size, N: size };
  const backend = await createBackend('wasm', { threads: 1 });
  const { arena } = backend;
  const matrix = backend.prepare(
    quantizeWeights(layerFloats(shape, 1), { K: size, N: size, format, ...BLOCKS[format] }),
  );
  const values = gaussian(size, 2);
  const [x, y] = [arena.alloc(4 * size), arena.alloc(4 * size)];
  arena.float32(x).set(values);
  const call = backend.bind({ kind: 'product', matrices: [matrix], M: 1 }, [x, undefined, undefined, undefined, y]);
  const out = new Float32Array(size);
  return {
    bound: () => backend.run(call),
    matmul: () => void backend.matmul(x, matrix, { out: y }),
    arrays: () => void backend.matmul(values, matrix, { out }),
  };
}

async function callCost(
  format: (typeof FORMATS)[number],
  size: number,
  { rounds, clock, log }: CallCostOptions,
): Promise<CallCost> {
  // A recorder costs time on each call: the calls that are timed are a backend's that nobody watches.
  const recorder = recordCalls();
  const watched = await prepared(format, size);
  watched.bound();
  const [decompose, gemm] = recorder.callsOf(watched.bound);
  recorder.stop();
  const { bound, matmul, arrays } = await prepared(format, size);
  const [quantize, multiply] = [decompose!.again, gemm!.again];
  const kernels = () => {
    quantize();
    multiply();
  };
  const runs = { gemm: multiply, kernels, bound, matmul, arrays };
  const sources = [];
  for (const name of NAMES)
    sources.push(await callSource({ name, run: runs[name] }, { sampleMs: SAMPLE_MS, ...(clock && { clock }) }));
  const samples = await takeTurns(sources, 5 * rounds);
  const of = (reduce: (ms: readonly number[]) => number) =>
    timesBy((name) => 1000 * reduce(samples[NAMES.indexOf(name)]!));
  const cost = { format, size, best: of((ms) => Math.min(...ms)), median: of((ms) => summarize(ms).median) };
  log(`${format}, ${size}²: ${NAMES.map((name) => `${name} ${cost.best[name]} µs`).join(', ')}`);
  return cost;
}

const timesBy = (of: (name: keyof CallTimes) => number): CallTimes =>
  Object.fromEntries(NAMES.map((name) => [name, Number(of(name).toPrecision(4))])) as unknown as CallTimes;

/** Of the same calls in several processes. */
export function medianCost(costs: readonly CallCost[]): CallCost {
  const [first] = costs as [CallCost];
  const of = (which: 'best' | 'median') => timesBy((name) => summarize(costs.map((cost) => cost[which][name])).median);
  return { ...first, best: of('best'), median: of('median') };
}
