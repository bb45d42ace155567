/** The peaks of one thread, measured in a fraction of a second. */
import { dotPeak, type Peak, readBandwidth, relaxedDotPeak } from './peaks.ts';

/** Of one thread. */
export interface MachinePeaks {
  /** 10⁹ multiplications of int16 per second. */
  readonly dotGmacs: number;
  /** Of int8 with relaxed SIMD; absent where the engine has none. */
  readonly relaxedDotGmacs?: number;
  /** 10⁹ bytes per second, for the requested number of bytes: by default more than the caches hold. */
  readonly readGigabytes: number;
}

/** More than the last cache of most machines. */
const READ_BYTES = 96 * 2 ** 20;
const LEAST_READ = 65536;
/** Read at once: in a fraction of a millisecond. */
const PIECE = 4 * 2 ** 20;
const SCRATCH_BYTES = 256;
const WARM_MS = 20;

/**
 * Measures what limits products on this machine.
 *
 * @param ms for each of them
 * @param readBytes how many bytes are read repeatedly, for example as many as the weights of a model, which may fit
 * into a cache. Default: 96 MiB
 * @example
 * ```ts
 * const { dotGmacs, readGigabytes } = measurePeaks();
 * ```
 */
export function measurePeaks(ms = 80, readBytes: number = READ_BYTES): MachinePeaks {
  const bytes = Math.min(READ_BYTES, Math.max(LEAST_READ, readBytes));
  const memory = new WebAssembly.Memory({ initial: Math.ceil((bytes + SCRATCH_BYTES) / 65536) });
  // The system maps all pages that were never written to one page of zeros.
  new Uint8Array(memory.buffer).fill(1);
  const relaxed = relaxedDotPeak(memory, 0);
  return {
    dotGmacs: rateOf(dotPeak(memory, 0), ms),
    ...(relaxed && { relaxedDotGmacs: rateOf(relaxed, ms) }),
    readGigabytes: rateOf(readBandwidth(memory, SCRATCH_BYTES, bytes, 0, Math.min(bytes, PIECE)), ms),
  };
}

/** The best of some samples: other work on the machine can only make them slower. */
function rateOf({ macs, run }: Peak, ms: number): number {
  for (const end = performance.now() + WARM_MS; performance.now() < end; ) run();
  let best = 0;
  for (const end = performance.now() + ms; performance.now() < end; ) {
    const start = performance.now();
    run();
    best = Math.max(best, macs / (performance.now() - start));
  }
  return best / 1e6;
}
