/** What only MSD is asked: weights beyond every cache, the size of an activation block, the matrices of a whole decoder. */
import { type ActivationBlock, dequantizeWeights, quantizeWeights, type WasmBackend } from '@msd/core';
import { PREFILL_TOKENS, type WholeModel } from './engines/llama.ts';
import { createMsd, msdThreads } from './engines/msd.ts';
import { callSource, type Source, takeTurns } from './measure.ts';
import { type GgufWeights, LLAMA, LLAMA_LAYER } from './models/gguf.ts';
import { gaussian } from './models/random.ts';
import { referenceChain } from './models/reference.ts';
import { layerFloats } from './models/weights.ts';
import {
  type ActivationBlockResult,
  type BeyondCacheResult,
  measured,
  type Peaks,
  round,
  type WholeModelResult,
} from './results.ts';
import { decibels } from './samples.ts';
import { peakSources, type Suite, withOutliers, withoutOutliers } from './suite.ts';

const BEYOND = { bytes: 256 * 2 ** 20, K: 4096, N: 4096, inCacheN: 512 };
const BEYOND_FORMATS = ['int8', 'int4', 'mxfp4'] as const;

/** M = 1 through as many 4096² matrices as fill 256 MiB, one after the other, beside one of 4096×512 over and over. */
export async function measureBeyondCache(suite: Suite): Promise<{ peaks: Peaks; results: BeyondCacheResult[] }> {
  const { timings, log, workers } = suite;
  const floats = layerFloats({ name: 'beyond', K: BEYOND.K, N: BEYOND.N }, 1);
  const x = gaussian(BEYOND.K, 2);
  interface Plan {
    readonly label: string;
    readonly weights: string;
    readonly threads: number;
    readonly kernel: string;
    readonly bytes: number;
    readonly macs: number;
    readonly source: Source;
  }
  const plans: { far: Plan; near: Plan }[] = [];
  const backends: WasmBackend[] = [];
  for (const threads of await msdThreads(workers.length > 1 ? [1, 2] : [1]))
    for (const format of BEYOND_FORMATS) {
      log(`beyond cache: ${format}, ${threads} threads`);
      const backend = await createMsd({ threads, initialBytes: 1.25 * BEYOND.bytes });
      backends.push(backend);
      const plan = async (name: string, N: number, total: number): Promise<Plan> => {
        const weights = quantizeWeights(floats.subarray(0, N * BEYOND.K), { N, K: BEYOND.K, format });
        const first = backend.prepare(weights);
        const matrices = [first];
        while (matrices.length * first.byteLength < total) matrices.push(backend.prepare(weights));
        const { arena } = backend;
        const [input, out] = [arena.alloc(4 * BEYOND.K), arena.alloc(4 * N)];
        arena.float32(input).set(x);
        const run = (): void => {
          for (const matrix of matrices) backend.matmul(input, matrix, { out, M: 1 });
        };
        return {
          label: `MSD ${format}`,
          weights: format,
          threads,
          kernel: backend.kernelFor(first, 1),
          bytes: matrices.length * first.byteLength,
          macs: matrices.length * N * BEYOND.K,
          source: await callSource({ name, run }, timings),
        };
      };
      plans.push({
        near: await plan('in cache', BEYOND.inCacheN, 1),
        far: await plan('beyond cache', BEYOND.N, BEYOND.bytes),
      });
    }
  const peaks = peakSources(suite, BEYOND.bytes);
  for (const { sample } of peaks.sources) await sample();
  log('beyond cache: rounds');
  const sources = plans.flatMap(({ far, near }) => [far.source, near.source]);
  const samples = await takeTurns([...sources, ...peaks.sources], timings.rounds);
  const results = plans.map(({ far, near }, i): BeyondCacheResult => {
    const [time, inCacheTime] = [measured(samples[2 * i]!), measured(samples[2 * i + 1]!)];
    return {
      label: far.label,
      weights: far.weights,
      threads: far.threads,
      kernel: far.kernel,
      bytes: far.bytes,
      bytesPerMac: round(far.bytes / far.macs),
      gmacs: round(far.macs / time.median / 1e6),
      time,
      inCacheBytes: near.bytes,
      inCacheGmacs: round(near.macs / inCacheTime.median / 1e6),
      inCacheTime,
    };
  });
  for (const backend of backends) backend.dispose();
  return { peaks: peaks.collect(samples.slice(sources.length)), results };
}

const BLOCKS: readonly ActivationBlock[] = ['row', 256, 32];
const BLOCK_CASE = { K: 2048, N: 2048, rows: [1, 128], outlier: 1000, sqnrRows: 200, sqnrN: 32 };

/** Time and error with one scale per row, per 256 k and per 32 k. */
export async function measureActivationBlocks({ timings, log }: Suite): Promise<ActivationBlockResult[]> {
  const { K, N, rows, outlier, sqnrRows, sqnrN } = BLOCK_CASE;
  const floats = layerFloats({ name: 'blocks', K, N }, 3);
  const plain = gaussian(sqnrRows * K, 4);
  const { x: spiked, at } = withOutliers(plain, K, outlier);
  const backend = await createMsd({});
  const { arena } = backend;
  const most = Math.max(...rows);
  const [input, out] = [arena.alloc(4 * most * K), arena.alloc(4 * most * N)];
  arena.float32(input).set(gaussian(most * K, 5));
  const plans: { head: Omit<ActivationBlockResult, 'gmacs' | 'time'>; sources: Source[] }[] = [];
  for (const weights of ['int8', 'int4'] as const) {
    log(`activation blocks: ${weights}`);
    const large = backend.prepare(quantizeWeights(floats, { N, K, format: weights }));
    const small = quantizeWeights(floats.subarray(0, sqnrN * K), { N: sqnrN, K, format: weights });
    const real = dequantizeWeights(small);
    const layer = { K, N: sqnrN, row: (n: number) => real.subarray(n * K, (n + 1) * K) };
    const exact = { plain: referenceChain(plain, [layer]), spiked: referenceChain(spiked, [layer]) };
    const rest = withoutOutliers(exact.spiked, spiked, at, layer);
    const prepared = backend.prepare(small);
    for (const components of [2, 1] as const)
      for (const activationBlock of BLOCKS) {
        const options = { components, activationBlock };
        const sources: Source[] = [];
        for (const M of rows)
          sources.push(
            await callSource(
              { name: `M=${M}`, run: () => void backend.matmul(input, large, { ...options, M, out }) },
              timings,
            ),
          );
        plans.push({
          head: {
            weights,
            ...options,
            kernel: backend.kernelFor(large, 1, options),
            gaussian: round(decibels(exact.plain, backend.matmul(plain, prepared, options))),
            outlierRest: round(decibels(exact.spiked, backend.matmul(spiked, prepared, options), rest)),
          },
          sources,
        });
      }
  }
  const samples = await takeTurns(
    plans.flatMap(({ sources }) => sources),
    timings.rounds,
  );
  backend.dispose();
  return plans.map(({ head }, i): ActivationBlockResult => {
    const times = rows.map((M, j) => [M, measured(samples[i * rows.length + j]!)] as const);
    return {
      ...head,
      time: Object.fromEntries(times),
      gmacs: Object.fromEntries(times.map(([M, { median }]) => [M, round((M * K * N) / median / 1e6)])),
    };
  });
}

/** The linear layers of llama.cpp's decoder, with MSD: blocks of 32 as there, nothing between them. */
export async function msdDecoder(
  weights: GgufWeights,
  threads: number,
): Promise<(WholeModel & Pick<WholeModelResult, 'label' | 'weights' | 'threads' | 'engine'>)[]> {
  const format = weights === 'q4_0' ? 'int4' : 'int8';
  const models = [];
  for (const count of await msdThreads(threads > 1 ? [1, threads] : [1])) {
    const backend = await createMsd({ threads: count });
    const { arena } = backend;
    const matrices = LLAMA_LAYER.map((shape, i) =>
      quantizeWeights(layerFloats(shape, i), { ...shape, format, blockSize: 32 }),
    );
    const widest = LLAMA.feedForward;
    const [x, out] = [arena.alloc(4 * PREFILL_TOKENS * widest), arena.alloc(4 * PREFILL_TOKENS * widest)];
    arena.float32(x).set(gaussian(PREFILL_TOKENS * widest, 6));
    const layers = Array.from({ length: LLAMA.layers }, () => matrices.map((matrix) => backend.prepare(matrix))).flat();
    const pass = (M: number): number => {
      const start = performance.now();
      for (const layer of layers) backend.matmul(x, layer, { out, M });
      return performance.now() - start;
    };
    models.push({
      label: `MSD ${format} block 32, linear layers only`,
      weights,
      threads: count,
      engine: 'msd' as const,
      sample: async () => {
        const prefillMs = pass(PREFILL_TOKENS) / PREFILL_TOKENS;
        let decodeMs = 0;
        for (let token = 0; token < 16; token++) decodeMs += pass(1) / 16;
        return { prefillMs, decodeMs };
      },
      prefillTokens: () => PREFILL_TOKENS,
      release: () => backend.dispose(),
    });
  }
  return models;
}
