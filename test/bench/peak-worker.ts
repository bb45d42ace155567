/**
 * A worker (of a page or of node:worker_threads) that runs a peak for a given time: two of them show what a second core
 * adds. Messages: {@link PeakRequest} in, its rate out.
 */

import { dotPeak, readBandwidth, relaxedDotPeak } from '@msd/core/peaks';
import type { Call } from './measure.ts';

export type PeakId = 'dot' | 'relaxedDot' | 'read';

export interface PeakRequest {
  readonly peak: PeakId;
  /** Working set of `read`. */
  readonly bytes: number;
  readonly ms: number;
}

/** GMAC/s, or GB/s; `undefined` where the engine cannot do it. */
export type PeakReply = number | undefined;

const SCRATCH = 256;
let memory = new WebAssembly.Memory({ initial: 1 });
const calls = new Map<string, Call | undefined>();

function callFor({ peak, bytes }: PeakRequest): Call | undefined {
  const key = peak === 'read' ? `read ${bytes}` : peak;
  if (calls.has(key)) return calls.get(key);
  if (peak === 'read' && memory.buffer.byteLength < bytes + SCRATCH) {
    memory = new WebAssembly.Memory({ initial: Math.ceil((bytes + SCRATCH) / 65536) });
    calls.clear();
    // Pages that were never written are one and the same page of zeros.
    new Uint8Array(memory.buffer).fill(1);
  }
  const call =
    peak === 'dot'
      ? dotPeak(memory, 0)
      : peak === 'relaxedDot'
        ? relaxedDotPeak(memory, 0)
        : readBandwidth(memory, SCRATCH, bytes, 0);
  calls.set(key, call);
  return call;
}

/** Runs the peak for `ms`. */
export function peakRate(request: PeakRequest): PeakReply {
  const fresh = calls.size;
  const call = callFor(request);
  if (!call) return undefined;
  if (calls.size !== fresh) for (const end = performance.now() + 30; performance.now() < end; ) call.run();
  const start = performance.now();
  let count = 0;
  let elapsed = 0;
  do {
    call.run();
    count++;
    elapsed = performance.now() - start;
  } while (elapsed < request.ms);
  return (call.macs * count) / elapsed / 1e6;
}

const scope = globalThis as unknown as {
  onmessage: unknown;
  postMessage?: (reply: PeakReply) => void;
  WorkerGlobalScope?: unknown;
};
if (scope.WorkerGlobalScope) {
  scope.onmessage = ({ data }: { data: PeakRequest }) => scope.postMessage?.(peakRate(data));
} else if (typeof process !== 'undefined') {
  const { parentPort } = await import('node:worker_threads');
  parentPort?.on('message', (request: PeakRequest) => parentPort.postMessage(peakRate(request)));
}
