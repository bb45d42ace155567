/** A thread that creates a session and times it: its memory goes with it, and the command can be stopped while it works. */
import { parentPort, workerData } from 'node:worker_threads';
import type { InspectedValue } from '@msd/onnx/inspect';
import type { MsdOptions } from '@msd/onnx/register';
import { register, reportOf } from '@msd/onnx/register';
import { type Clock, Player } from '../models/player.ts';
import type { RunSizes } from '../models/sizes.ts';
import { wasmMemoryBytes } from '../models/wasm-memory.ts';
import { disturb, median, undisturbed } from './samples.ts';

/** What is measured. */
export interface MeasureRequest {
  /** A path, a URL or bytes. */
  readonly model: string | Uint8Array;
  readonly externalData: readonly { readonly path: string; readonly data: string | Uint8Array }[];
  readonly inputs: readonly InspectedValue[];
  readonly sizes: Omit<RunSizes, 'past'>;
  readonly msd: MsdOptions;
  readonly threads: number | 'auto';
  readonly engine: 'msd' | 'wasm';
  readonly clock: Clock;
  /** Of what other work reads and writes between two tokens. */
  readonly otherBytes: number;
}

/** What was. */
export interface Measured {
  readonly loadMs: number;
  /** The first run of all, which compiles. */
  readonly firstMs: number;
  /** A run of `tokens`, when everything is warm. */
  readonly promptMs: number;
  /** A run of one token after it, and after other work that used the caches; absent for models without a cache. */
  readonly tokenMs?: number;
  /** The prompt where nothing else disturbs it: to be compared with what is derived from the best samples of kernels. */
  readonly undisturbedMs: number;
  /** All WebAssembly memory: MSD's, and ONNX Runtime's. */
  readonly wasmBytes: number;
  readonly foreignRunsPerCall: number;
}

/** The first runs cost several times as much, until the engine has compiled what they run. */
const WARM_MS = 2500;
const WARM_STEPS = 80;
const PROMPTS = 5;
const STEPS = 16;

async function measure({
  model,
  externalData,
  inputs,
  sizes,
  msd,
  threads,
  engine,
  clock,
  otherBytes,
}: MeasureRequest): Promise<Measured> {
  const ort = await import('onnxruntime-web');
  // ONNX Runtime takes half of the cores, four at most, unless it is told.
  if (threads !== 'auto') ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  register(ort, { ...msd, threads });
  const start = performance.now();
  const options = { executionProviders: [engine], ...(externalData.length > 0 && { externalData }) };
  const session = await ort.InferenceSession.create(model as string, options as object);
  const loadMs = performance.now() - start;
  const player = new Player(session, inputs, sizes, ort.Tensor, clock);
  const { tokens } = sizes;
  const firstMs = await player.run(tokens);
  const end = performance.now() + WARM_MS;
  for (let step = 0; step < WARM_STEPS && performance.now() < end; step++) {
    if (step % 16 === 15 || !player.hasCache) player.reset();
    await player.run(player.hasCache && step % 16 !== 15 ? 1 : tokens);
  }
  const prompts: number[] = [];
  const elsewhere = new Float64Array(otherBytes / 8);
  const steps: number[] = [];
  const last = performance.now() + 2 * WARM_MS;
  for (let round = 0; round < PROMPTS && (round < 2 || performance.now() < last); round++) {
    player.reset();
    prompts.push(await player.run(tokens));
    for (let step = 0; player.hasCache && step < STEPS; step++) {
      disturb(elsewhere);
      steps.push(await player.run(1));
    }
  }
  const measured: Measured = {
    loadMs,
    firstMs,
    promptMs: median(prompts),
    ...(steps.length > 0 && { tokenMs: median(steps) }),
    undisturbedMs: undisturbed(prompts),
    wasmBytes: wasmMemoryBytes(),
    foreignRunsPerCall: reportOf(session)?.foreignRunsPerCall ?? 1,
  };
  await player.release();
  return measured;
}

measure(workerData as MeasureRequest).then(
  (done) => parentPort!.postMessage({ done }),
  (error: unknown) => parentPort!.postMessage({ failed: error instanceof Error ? error.message : String(error) }),
);
