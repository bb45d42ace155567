/** A thread that measures the machine itself: its peaks, what other work leaves of its bandwidth, kernels at shapes of a model. */
import { parentPort, workerData } from 'node:worker_threads';
import { createWasmBackend, quantizeWeights } from '@msd/core';
import { gaussians, random } from '@msd/core/numerics';
import { type MachinePeaks, measurePeaks, readBandwidth } from '@msd/core/peaks';
import type { PackedProduct } from '@msd/core/theory';
import { disturb, otherBytes } from './samples.ts';

/** What is measured. */
export interface MachineRequest {
  /** Bytes that every run reads. */
  readonly readBytes: number;
  readonly products: readonly PackedProduct[];
  readonly components: 1 | 2;
}

/** What was, on one thread. */
export interface MachineMeasured {
  readonly peaks: MachinePeaks;
  /** Of bytes that are read once after other work has used the caches. */
  readonly coldGigabytes: number;
  /** Of a call of each product, with weights that stay in the caches, in microseconds. */
  readonly microseconds: readonly number[];
}

const PEAK_MS = 80;
const COLD_ROUNDS = 20;

function coldBandwidth(bytes: number): number {
  const memory = new WebAssembly.Memory({ initial: Math.ceil((bytes + SCRATCH) / 65536) });
  new Uint8Array(memory.buffer).fill(1); // pages never written are one page
  const { macs, run } = readBandwidth(memory, SCRATCH, bytes, 0);
  const elsewhere = new Float64Array(otherBytes(bytes) / 8);
  run(); // compiles
  const samples = Array.from({ length: COLD_ROUNDS }, () => {
    disturb(elsewhere);
    const start = performance.now();
    run();
    return performance.now() - start;
  });
  return macs / Math.min(...samples) / 1e6;
}

const SCRATCH = 256;

/** V8 optimises kernels in the background. */
const [WARM_MS, KERNEL_MS, SAMPLE_MS] = [60, 60, 1];

/** Microseconds of a call: the best sample, as that of peaks. */
function timeOf({ M, N, K, format, blockSize }: PackedProduct, components: 1 | 2): number {
  const backend = createWasmBackend();
  const { arena } = backend;
  try {
    const next = random(1);
    const weights = quantizeWeights(gaussians(next, N * K), { N, K, format, blockSize });
    const matrix = backend.prepare(weights);
    const [x, y] = [arena.alloc(4 * M * K), arena.alloc(4 * M * N)];
    arena.float32(x).set(gaussians(next, M * K));
    const work = { kind: 'product', matrices: [matrix], M, components } as const;
    const call = backend.bind(work, [x, undefined, undefined, undefined, y]);
    let [calls, best] = [1, Number.POSITIVE_INFINITY];
    const sample = (): number => {
      const start = performance.now();
      for (let i = 0; i < calls; i++) backend.run(call);
      return (performance.now() - start) / calls;
    };
    for (const end = performance.now() + WARM_MS; performance.now() < end; ) calls = Math.ceil(SAMPLE_MS / sample());
    for (const end = performance.now() + KERNEL_MS; performance.now() < end; ) best = Math.min(best, sample());
    return 1000 * best;
  } finally {
    backend.dispose();
  }
}

function measureMachine({ readBytes, products, components }: MachineRequest): MachineMeasured {
  return {
    peaks: measurePeaks(PEAK_MS, readBytes),
    coldGigabytes: coldBandwidth(readBytes),
    microseconds: products.map((product) => timeOf(product, components)),
  };
}

try {
  parentPort?.postMessage({ done: measureMachine(workerData as MachineRequest) });
} catch (error) {
  parentPort?.postMessage({ failed: error instanceof Error ? error.message : String(error) });
}
