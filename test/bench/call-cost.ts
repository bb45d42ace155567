/** What calls of one row cost beyond their kernels: a bound call, and `matmul`, which looks at its arguments first. */
import { createBackend, quantizeWeights } from '@msd/core';
import { recordCalls } from './kernel-calls.ts';
import { callSource, type SampleClock, takeTurns } from './measure.ts';
import { gaussian } from './models/random.ts';
import { layerFloats } from './models/weights.ts';
import { summarize } from './samples.ts';

/** Microseconds. */
export interface CallCost {
  readonly format: string;
  readonly size: number;
  /** The gemm kernel alone. */
  readonly gemm: number;
  /** What the rest adds to it: medians of the rounds' own differences. */
  readonly above: {
    /** The other kernel, which makes integers of x. */
    readonly kernels: number;
    /** That, and a bound call. */
    readonly bound: number;
    /** That, and `matmul` with operands in the arena, or with arrays. */
    readonly matmul: number;
    readonly arrays: number;
  };
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
/** Short: what a busy machine adds to samples of one round is alike. */
const SAMPLE_MS = 0.5;
const ABOVE = ['kernels', 'bound', 'matmul', 'arrays'] as const;

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
  const runs = [multiply, kernels, bound, matmul, arrays];
  const sources = [];
  for (const run of runs)
    sources.push(await callSource({ name: '', run }, { sampleMs: SAMPLE_MS, ...(clock && { clock }) }));
  const [alone, ...others] = (await takeTurns(sources, 5 * rounds)) as [number[], ...number[][]];
  const microseconds = (ms: readonly number[]) => Number((1000 * summarize(ms).median).toPrecision(4));
  const above = aboveBy((_, i) => microseconds(others[i]!.map((sample, round) => sample - alone[round]!)));
  const cost = { format, size, gemm: microseconds(alone), above };
  log(
    `${format}, ${size}²: gemm ${cost.gemm} µs, above it ${ABOVE.map((name) => `${name} ${above[name]}`).join(', ')}`,
  );
  return cost;
}

const aboveBy = (of: (name: (typeof ABOVE)[number], i: number) => number): CallCost['above'] =>
  Object.fromEntries(ABOVE.map((name, i) => [name, of(name, i)])) as CallCost['above'];

/** Of the same calls in several processes. */
export function medianCost(costs: readonly CallCost[]): CallCost {
  const [first] = costs as [CallCost];
  const median = (of: (cost: CallCost) => number) => summarize(costs.map(of)).median;
  return { ...first, gemm: median(({ gemm }) => gemm), above: aboveBy((name) => median(({ above }) => above[name])) };
}
