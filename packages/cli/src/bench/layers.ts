/**
 * One int4 layer per model, a single MatMulNBits node, in plain onnxruntime-web and through MSD: the same bytes, the same
 * `session.run` calls, one process. Results are checked against each other first; then the two take turns.
 */
import type { QuantizedWeights } from '@msd/core';
import { gaussian as normal, random as seededRandom } from '@msd/core/numerics';
import { dotPeak, readBandwidth } from '@msd/core/peaks';
import { writeModel } from '@msd/onnx/write';
import type * as Ort from 'onnxruntime-web';
import { type Summary, summarize } from './samples.ts';
import type { LayerShape } from './shapes.ts';

const BLOCK_SIZE = 32;
/** Calls are repeated until a sample takes this long, so that the clock's resolution and a stray interrupt do not matter. */
const SAMPLE_MS = 10;
const WARM_UP_MS = 100;
const PEAK_SAMPLE_MS = 3;
/** Two components leave 4e-5 on Gaussian rows (88 dB); both engines' f32 sums add far less. */
const MAX_RELATIVE_ERROR = 2 ** -13;

export type LayerEngine = 'ort' | 'msd';

export interface LayerTiming extends Summary {
  /** Milliseconds per `session.run`; as `median`. */
  readonly ms: number;
  /** 10⁹ multiply-accumulates per second, M·N·K counted once. */
  readonly gmacs: number;
}

export interface LayerResult extends LayerShape {
  readonly M: number;
  readonly ort: LayerTiming;
  readonly msd: LayerTiming;
  /** How many times faster MSD is, by the medians. */
  readonly ratio: number;
  /** MSD's share of what the machine can do: min(dot peak, read bandwidth ÷ bytes per multiply-accumulate). */
  readonly shareOfLimit: number;
  /** |y_msd − y_ort| / |y_ort| over all outputs. */
  readonly relativeError: number;
}

export interface LayerOptions {
  /** The module that `register` of @msd/onnx was called with. */
  readonly ort: typeof Ort;
  readonly shapes: readonly LayerShape[];
  /** Row counts M to measure each shape with. */
  readonly rows: readonly number[];
  readonly rounds: number;
  /** Called before each shape and round with what comes next. */
  readonly onProgress?: (message: string) => void;
}

/**
 * Measures every shape with every M.
 *
 * @throws {@link Error} when the two engines' results differ by more than the decomposition explains.
 */
export async function measureLayers(options: LayerOptions): Promise<LayerResult[]> {
  const results: LayerResult[] = [];
  for (const shape of options.shapes) results.push(...(await measureShape(shape, options)));
  return results;
}

async function measureShape(shape: LayerShape, options: LayerOptions): Promise<LayerResult[]> {
  const { ort, rows, rounds, onProgress = () => {} } = options;
  const label = `${shape.K}×${shape.N}`;
  onProgress(`${label}: loading`);
  const weights = randomWeights(shape, 1);
  const weightBytes = weights.data.byteLength + weights.scales.byteLength;
  const model = layerModel(weights);
  const create = (provider: string): Promise<Ort.InferenceSession> =>
    ort.InferenceSession.create(model, { executionProviders: [provider] });
  const sessions: Record<LayerEngine, Ort.InferenceSession> = { ort: await create('wasm'), msd: await create('msd') };
  const cases: Case[] = [];
  for (const M of rows) {
    onProgress(`${label}, M = ${M}: checking`);
    cases.push(await prepareCase(ort, sessions, shape, M));
  }
  const limits = machineLimits(weightBytes);
  for (let round = 0; round < rounds; round++) {
    onProgress(`${label}: round ${round + 1} of ${rounds}`);
    const order: readonly LayerEngine[] = round % 2 === 0 ? ['ort', 'msd'] : ['msd', 'ort'];
    limits.measure();
    for (const one of cases) {
      for (const engine of order) one.samples[engine].push(await sampleMs(one.calls[engine], one.repeats[engine]));
    }
  }
  await Promise.all([sessions.ort.release(), sessions.msd.release()]);
  return cases.map(({ M, samples, relativeError }) => {
    const timing = (engine: LayerEngine): LayerTiming => {
      const summary = summarize(samples[engine]);
      return { ...summary, ms: summary.median, gmacs: (M * shape.N * shape.K) / (summary.median * 1e6) };
    };
    const [ortTiming, msdTiming] = [timing('ort'), timing('msd')];
    const { dotGmacs, readGBs } = limits.result();
    const limit = Math.min(dotGmacs, (readGBs * M * shape.N * shape.K) / weightBytes);
    return {
      ...shape,
      M,
      ort: ortTiming,
      msd: msdTiming,
      ratio: ortTiming.median / msdTiming.median,
      shareOfLimit: msdTiming.gmacs / limit,
      relativeError,
    };
  });
}

/** One shape with one M: what to call, how often per sample, and what came out. */
interface Case {
  readonly M: number;
  readonly calls: Readonly<Record<LayerEngine, () => Promise<Float32Array>>>;
  readonly repeats: Readonly<Record<LayerEngine, number>>;
  readonly samples: Readonly<Record<LayerEngine, number[]>>;
  readonly relativeError: number;
}

/** Checks the results against each other, warms both engines and finds out how many calls make a sample. */
async function prepareCase(
  ort: typeof Ort,
  sessions: Readonly<Record<LayerEngine, Ort.InferenceSession>>,
  { K, N }: LayerShape,
  M: number,
): Promise<Case> {
  const x = new ort.Tensor('float32', gaussian(M * K, 2), [M, K]);
  const call = (engine: LayerEngine) => async (): Promise<Float32Array> =>
    (await sessions[engine].run({ x })).y!.data as Float32Array;
  const calls = { ort: call('ort'), msd: call('msd') };
  const relativeError = distance(await calls.msd(), await calls.ort());
  if (!(relativeError <= MAX_RELATIVE_ERROR)) {
    throw new Error(
      `measureLayers: K = ${K}, N = ${N}, M = ${M}: relative error expected at most ${MAX_RELATIVE_ERROR}, got ${relativeError}.`,
    );
  }
  const repeats = { ort: await warmUp(calls.ort), msd: await warmUp(calls.msd) };
  return { M, calls, repeats, samples: { ort: [], msd: [] }, relativeError };
}

/** @returns the number of calls that fill a sample, judged by the last calls of the warm-up. */
async function warmUp(call: () => Promise<unknown>): Promise<number> {
  const end = performance.now() + WARM_UP_MS;
  let last = 0;
  do last = await sampleMs(call, 2);
  while (performance.now() < end);
  return Math.max(1, Math.ceil(SAMPLE_MS / last));
}

/** Milliseconds per call over `repeats` calls. */
async function sampleMs(call: () => Promise<unknown>, repeats: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repeats; i++) await call();
  return (performance.now() - start) / repeats;
}

/** The machine's own peaks, sampled in the same rounds as the engines. */
interface MachineLimits {
  /** Takes one sample of each. */
  measure(): void;
  /** Of the best samples: 10⁹ int16 multiply-accumulates per second; GB/s read from a working set as large as the weights. */
  result(): { readonly dotGmacs: number; readonly readGBs: number };
}

function machineLimits(bytes: number): MachineLimits {
  const scratchBytes = 256;
  const memory = new WebAssembly.Memory({ initial: Math.ceil((bytes + scratchBytes) / 65536) });
  // Pages that were never written are one and the same page of zeros.
  new Uint8Array(memory.buffer).fill(1);
  const peaks = [dotPeak(memory, 0), readBandwidth(memory, scratchBytes, bytes, 0)].map((variant) => ({
    variant,
    samples: [] as number[],
  }));
  const measure = (): void => {
    for (const { variant, samples } of peaks) {
      let calls = 0;
      const start = performance.now();
      do variant.run();
      while (++calls < 3 || performance.now() - start < PEAK_SAMPLE_MS);
      samples.push((performance.now() - start) / calls);
    }
  };
  measure(); // compiles, and is forgotten
  for (const { samples } of peaks) samples.length = 0;
  return {
    measure,
    result: () => {
      const [dotGmacs = 0, readGBs = 0] = peaks.map(
        ({ variant, samples }) => variant.macs / (Math.min(...samples) * 1e6),
      );
      return { dotGmacs, readGBs };
    },
  };
}

/** Normally distributed. */
function gaussian(length: number, seed: number): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length }, () => normal(random));
}

/** |a − b| / |b|. */
function distance(a: Float32Array, b: Float32Array): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

/** y [M, N] = MatMulNBits(x [M, K]), int4 blocks as in a decoder export. @returns the ONNX file's bytes */
function layerModel({ N, K, data, scales }: QuantizedWeights): Uint8Array {
  const blocks = Math.ceil(K / BLOCK_SIZE);
  return writeModel({
    graph: {
      nodes: [
        {
          opType: 'MatMulNBits',
          domain: 'com.microsoft',
          name: 'layer',
          inputs: ['x', 'w_Q4', 'w_scales'],
          outputs: ['y'],
          attributes: {
            K: { int: K },
            N: { int: N },
            bits: { int: 4 },
            block_size: { int: BLOCK_SIZE },
            accuracy_level: { int: 4 },
          },
        },
      ],
      initializers: [
        { name: 'w_Q4', dtype: 'uint8', dims: [N, blocks, BLOCK_SIZE / 2], data },
        { name: 'w_scales', dtype: 'float32', dims: [N * blocks], data: scales },
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['M', K] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['M', N] }],
    },
  });
}

/** Uniform int4 codes, scales within a factor of three: speed does not depend on what a trained model would hold. */
function randomWeights({ K, N }: LayerShape, seed: number): QuantizedWeights {
  const random = seededRandom(seed);
  const blocks = Math.ceil(K / BLOCK_SIZE);
  const data = Uint8Array.from({ length: N * blocks * (BLOCK_SIZE / 2) }, () => random() * 256);
  const scales = Float32Array.from({ length: N * blocks }, () => 0.005 + 0.01 * random());
  return { format: 'int4', N, K, blockSize: BLOCK_SIZE, data, scales };
}
